import { createHash } from 'node:crypto';
import { redactText } from '../platform/redact.ts';
import type { Json } from './document.ts';

/** One difference between two plans, as text for people. */
export interface PlanDifference {
  /** `switch.window`, `phases.orders.tables`. Phases go by name, not by number. */
  readonly path: string;
  readonly before: string;
  readonly after: string;
}

type JsonMap = { readonly [key: string]: Json };

const isMap = (value: Json | undefined): value is JsonMap =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const byKey = ([a]: readonly [string, Json], [b]: readonly [string, Json]): number => (a < b ? -1 : a > b ? 1 : 0);

/** The same value with the keys of every mapping in one order. Lists keep theirs, since it means something. */
export const canonicalOf = (value: Json): Json => {
  if (Array.isArray(value)) return value.map(canonicalOf);
  if (!isMap(value)) return value;
  const sorted = Object.entries(value).sort(byKey);
  return Object.fromEntries(sorted.map(([key, inner]) => [key, canonicalOf(inner)]));
};

/** SHA-256 in hex of the canonical form. */
export const hashOf = (canonical: Json): string => createHash('sha256').update(JSON.stringify(canonical)).digest('hex');

const NOT_SET = '(not set)';

const shown = (value: Json | undefined): string => {
  if (value === undefined) return NOT_SET;
  if (typeof value === 'string') return redactText(value);
  return redactText(JSON.stringify(value));
};

/** A list of mappings that all have a name, as a mapping by name, or null when the value is anything else. */
const byName = (value: Json | undefined): JsonMap | null => {
  if (!Array.isArray(value) || value.length === 0) return null;
  const entries: [string, Json][] = [];
  for (const item of value as readonly Json[]) {
    if (!isMap(item) || typeof item.name !== 'string') return null;
    entries.push([item.name, item]);
  }
  return Object.fromEntries(entries);
};

const differences = (path: string, before: Json | undefined, after: Json | undefined): readonly PlanDifference[] => {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  const inner = (key: string): string => (path === '' ? key : `${path}.${key}`);
  const named = [byName(before), byName(after)] as const;
  if (named[0] !== null && named[1] !== null) {
    const order = Object.keys(named[0]).join(', ');
    const newOrder = Object.keys(named[1]).join(', ');
    const inside = differences(path, canonicalOf(named[0]), canonicalOf(named[1]));
    return inside.length > 0 ? inside : [{ path: inner('(order)'), before: order, after: newOrder }];
  }
  if (!isMap(before) || !isMap(after)) return [{ path, before: shown(before), after: shown(after) }];
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return keys.flatMap((key) => differences(inner(key), before[key], after[key]));
};

/** What changed between two canonical forms: the smallest parts that differ, in the order of their paths. */
export const diffPlans = (before: Json, after: Json): readonly PlanDifference[] =>
  differences('', canonicalOf(before), canonicalOf(after));

/** `switch.window: 5s → 10s`. */
export const differenceText = (difference: PlanDifference): string =>
  `${difference.path}: ${difference.before} → ${difference.after}`;
