import { displayName, type TableName } from '../domain/table.ts';
import { matches, type Pattern, parsePattern } from './patterns.ts';

/** Something that belongs to one phase: a table, a leaf partition with its root, or a sequence. */
export interface Assignable extends TableName {
  /** The topmost partitioned table of a leaf. A leaf goes where its root goes; its own name is never matched. */
  readonly root?: TableName | null;
}

/** A pattern that took nothing, and why. */
export interface UnmatchedPattern {
  /** Where it stands in the plan: `phases.orders.tables` or `ignore`. */
  readonly where: string;
  readonly pattern: string;
  /**
   * `nothing`: no table has such a name. `taken`: all that it names belongs to an earlier phase (or, in `ignore`, to any).
   * `partition`: it names leaves only, which go with their root.
   */
  readonly reason: 'nothing' | 'taken' | 'partition';
  /** Display names of what it does name, for `taken` and `partition`: at most ten. */
  readonly names: readonly string[];
}

/** Which phase every name belongs to. The three groups are disjoint and together are the whole input, in its order. */
export interface Assignment<T extends Assignable> {
  /** One entry for every phase, in the plan's order, also when it took nothing. */
  readonly byPhase: ReadonlyMap<string, readonly T[]>;
  readonly ignored: readonly T[];
  /** In no phase and not ignored. */
  readonly rest: readonly T[];
  readonly unmatchedPatterns: readonly UnmatchedPattern[];
}

/** The parts of a plan that decide where a table goes. A `Plan` is one. */
export interface AssignmentPlan {
  readonly phases: readonly { readonly name: string; readonly tables: readonly string[] }[];
  readonly ignore: readonly string[];
}

const NAMES_SHOWN = 10;

const rootOf = (item: Assignable): TableName => item.root ?? item;

const show = (tables: readonly TableName[]): readonly string[] =>
  [...new Set(tables.map(displayName))].slice(0, NAMES_SHOWN);

/** Whether a list takes a name: one of its patterns names it and none excludes it, in whatever order they stand. */
const takes = (patterns: readonly Pattern[], table: TableName): boolean =>
  patterns.some((p) => !p.excludes && matches(p, table)) && !patterns.some((p) => p.excludes && matches(p, table));

interface List {
  readonly where: string;
  readonly patterns: readonly Pattern[];
}

/** Why a pattern does no work in its list, or null when it does some. */
const unmatched = (
  pattern: Pattern,
  names: { readonly all: readonly Assignable[]; readonly free: readonly Assignable[] },
): Pick<UnmatchedPattern, 'reason' | 'names'> | null => {
  const namesIt = (item: Assignable): boolean => matches(pattern, rootOf(item));
  if (names.free.some(namesIt)) return null;
  const taken = names.all.filter(namesIt).map(rootOf);
  // An exclude of something that an earlier phase took anyway is harmless, and often written for clarity.
  if (taken.length > 0) return pattern.excludes ? null : { reason: 'taken', names: show(taken) };
  const leaves = names.all.filter((item) => item.root != null && matches(pattern, item));
  if (leaves.length > 0) return { reason: 'partition', names: show(leaves) };
  return { reason: 'nothing', names: [] };
};

/**
 * Shares out names among the phases: each phase takes what its patterns name and no earlier phase took; `ignore` has what
 * is left then, so a table that is in a phase is never ignored. Tables and sequences are shared out by separate calls.
 * Throws kind `usage` for a malformed pattern, which a loaded plan does not have.
 */
export const assignTables = <T extends Assignable>(plan: AssignmentPlan, names: readonly T[]): Assignment<T> => {
  const unmatchedPatterns: UnmatchedPattern[] = [];
  let free = names;
  const take = (list: List): readonly T[] => {
    for (const pattern of list.patterns) {
      const why = unmatched(pattern, { all: names, free });
      if (why !== null) unmatchedPatterns.push({ where: list.where, pattern: pattern.text, ...why });
    }
    const taken = new Set(free.filter((item) => takes(list.patterns, rootOf(item))));
    free = free.filter((item) => !taken.has(item));
    return [...taken];
  };
  const byPhase = new Map(
    plan.phases.map((phase) => {
      const list = { where: `phases.${phase.name}.tables`, patterns: phase.tables.map(parsePattern) };
      return [phase.name, take(list)] as const;
    }),
  );
  const ignored = take({ where: 'ignore', patterns: plan.ignore.map(parsePattern) });
  return { byPhase, ignored, rest: free, unmatchedPatterns };
};
