import type { KeepRules } from '../../plan/snapshot-plan.ts';

const DAY_MS = 86_400_000;
/** Monday, 5 January 1970: weeks begin on Mondays. */
const FIRST_MONDAY_MS = 4 * DAY_MS;

/** What is known of a snapshot that may be removed. */
export interface KeepCandidate {
  readonly id: string;
  readonly state: 'creating' | 'available' | 'failed' | 'deleting';
  /** ISO 8601. */
  readonly at: string;
  readonly isOurs: boolean;
}

/** Whether one stays, and why. */
export interface KeepVerdict {
  readonly id: string;
  readonly keeps: boolean;
  readonly why: string;
}

/** Of the newest `count` days or weeks that have any, the newest of each; `items` are newest first. */
const newestOfEach = (
  items: readonly KeepCandidate[],
  count: number,
  periodOf: (ms: number) => number,
): ReadonlySet<string> => {
  const kept = new Map<number, string>();
  for (const { id, at } of items) {
    const period = periodOf(Date.parse(at));
    if (!kept.has(period) && kept.size < count) kept.set(period, id);
  }
  return new Set(kept.values());
};

/**
 * Which snapshots stay, in the order given. Whatever the rules say: those that are not ours, that are not available, that a run
 * refers to (`referred`, with the reason), and the newest available one; what an earlier prune has begun to remove goes. A function
 * of its arguments alone.
 */
export const judge = (
  all: readonly KeepCandidate[],
  rules: KeepRules,
  referred: ReadonlyMap<string, string>,
): readonly KeepVerdict[] => {
  const items = all
    .filter((one) => one.isOurs && one.state === 'available')
    .toSorted((a, b) => Date.parse(b.at) - Date.parse(a.at) || (a.id < b.id ? 1 : -1));
  const last = new Set(items.slice(0, rules.last).map(({ id }) => id));
  const daily = newestOfEach(items, rules.daily, (ms) => Math.floor(ms / DAY_MS));
  const weekly = newestOfEach(items, rules.weekly, (ms) => Math.floor((ms - FIRST_MONDAY_MS) / (7 * DAY_MS)));
  const reasonOf = ({ id, state, isOurs }: KeepCandidate): string | null => {
    if (!isOurs) return 'not one of this plan and its database';
    if (state === 'deleting') return null;
    if (state !== 'available') return `${state}, not available`;
    if (id === items[0]?.id) return 'the newest';
    const reference = referred.get(id);
    if (reference !== undefined) return reference;
    if (last.has(id)) return `among the last ${rules.last}`;
    if (daily.has(id)) return 'the newest of its day';
    return weekly.has(id) ? 'the newest of its week' : null;
  };
  return all.map((one) => {
    const why = reasonOf(one);
    const goes = one.state === 'deleting' ? 'its removal was begun' : 'no rule keeps it';
    return { id: one.id, keeps: why !== null, why: why ?? goes };
  });
};
