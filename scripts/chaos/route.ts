import { readFileSync } from 'node:fs';
import type { Side } from '../../src/domain/position.ts';

/** Where clients of a phase are led, as the route file says it at this moment. */
export interface RouteNow {
  readonly primary: Side;
  readonly held: boolean;
  /** The whole entry, with the epoch of its last change: two equal ones mean that nothing has moved in between. */
  readonly text: string;
}

/**
 * Reads the route of a phase from the file itself, each time: a client that trusted a copy of it could read from a side that
 * had been left without noticing. Undefined while there is no such route.
 */
export const routeNow = (path: string, phase: string): RouteNow | undefined => {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
  const entry = isRecord(content) ? content[phase] : undefined;
  if (!isRecord(entry)) return undefined;
  const { primary, held } = entry;
  if (primary !== 'source' && primary !== 'target') return undefined;
  return { primary, held: held === true, text: JSON.stringify(entry) };
};

/** The route files of a run's plan. */
export interface RouteFiles {
  /** Of the routers of every phase, in the order in which they act. */
  readonly writers: readonly [string, ...string[]];
  /** Of the router of every phase's readers; undefined when the plan has none. */
  readonly readers: string | undefined;
}

/**
 * Where all routers of a phase lead: held while one of them holds. Undefined while they do not agree, as in the middle of a
 * repoint: clients of the one may write then where those of the other do not look.
 */
export const agreedRoute = (paths: RouteFiles['writers'], phase: string): RouteNow | undefined => {
  const routes = paths.flatMap((path) => routeNow(path, phase) ?? []);
  const [first] = routes;
  if (first === undefined || routes.length < paths.length) return undefined;
  if (routes.some(({ primary }) => primary !== first.primary)) return undefined;
  const held = routes.some((route) => route.held);
  return { primary: first.primary, held, text: routes.map(({ text }) => text).join('\n') };
};

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
