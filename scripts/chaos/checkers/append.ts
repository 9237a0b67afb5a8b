import type { Append, ReadList } from '../history.ts';
import { checkRealTime, type Leveled } from './real-time.ts';
import { type Verdict, Violations, verdictOf } from './verdict.ts';

/** The lists as they stand at the end, by key; a list that was never appended to may be absent. */
export type FinalLists = ReadonlyMap<number, readonly number[]>;

/**
 * Judges the list workload: every acknowledged append is in its list once, failed ones are not, every read is a prefix of
 * the final list (so all reads of a key are prefixes of one order), and both respect real time.
 */
export const checkAppends = (operations: readonly (Append | ReadList)[], finals: FinalLists): Verdict => {
  const found = new Violations();
  const appends = new Map<number, Append>();
  for (const operation of operations) if (operation.kind === 'append') appends.set(operation.op, operation);
  const positions = checkFinals(appends, finals, found);
  let unknownDone = 0;
  for (const append of appends.values()) {
    const isThere = positions.has(append.op);
    if (append.outcome === 'unknown' && isThere) unknownDone += 1;
    if (append.outcome === 'acknowledged' && !isThere) {
      found.add('lost', `append ${append.op}`, `to list ${append.key} was acknowledged and is not there`);
    }
  }
  const reads = operations.filter((o): o is ReadList => o.kind === 'read-list' && o.outcome === 'acknowledged');
  for (const read of reads) checkPrefix(read, finals.get(read.key) ?? [], found);
  checkOrder([...appends.values()], { reads, positions, found });
  return verdictOf({ operations, unknownDone, reads, found });
};

/** The place of each append in its list, from 1. */
const checkFinals = (
  appends: ReadonlyMap<number, Append>,
  finals: FinalLists,
  found: Violations,
): Map<number, number> => {
  const positions = new Map<number, number>();
  for (const [key, items] of finals) {
    items.forEach((op, index) => {
      const append = appends.get(op);
      if (append === undefined || append.key !== key) {
        found.add('phantom', `item ${op}`, `is in list ${key}, and no client appended it there`);
      } else if (append.outcome === 'failed') {
        found.add('phantom', `append ${op}`, `to list ${key} failed (${append.code}) and is there`);
      }
      if (positions.has(op)) found.add('duplicated', `append ${op}`, `is in list ${key} more than once`);
      else positions.set(op, index + 1);
    });
  }
  return positions;
};

const checkPrefix = (read: ReadList, final: readonly number[], found: Violations): void => {
  const wrong = read.items.findIndex((item, index) => final[index] !== item);
  if (wrong < 0) return;
  const there = final.includes(read.items[wrong] ?? 0);
  found.add(
    there ? 'reordered' : 'lost',
    `read ${read.op}`,
    `of list ${read.key} showed ${read.items[wrong]} as item ${wrong + 1}, where the list now has ${final[wrong] ?? 'nothing'}`,
  );
};

const checkOrder = (
  appends: readonly Append[],
  about: {
    readonly reads: readonly ReadList[];
    readonly positions: ReadonlyMap<number, number>;
    readonly found: Violations;
  },
): void => {
  const byKey = new Map<number, Leveled[]>();
  const add = (key: number, leveled: Leveled) => {
    const known = byKey.get(key);
    if (known) known.push(leveled);
    else byKey.set(key, [leveled]);
  };
  for (const { op, key, outcome, invokedMs, completedMs } of appends) {
    const level = about.positions.get(op);
    if (level === undefined) continue;
    const told = outcome === 'acknowledged' ? completedMs : Number.POSITIVE_INFINITY;
    add(key, { op, level, isWrite: true, invokedMs, completedMs: told });
  }
  for (const { op, key, items, isCurrent, invokedMs, completedMs } of about.reads) {
    if (isCurrent) add(key, { op, level: items.length, isWrite: false, invokedMs, completedMs });
  }
  for (const [key, operations] of byKey) {
    for (const { op, why, isRead } of checkRealTime(operations)) {
      about.found.add(isRead ? 'stale' : 'reordered', `operation ${op}`, `on list ${key} ${why}`);
    }
  }
};
