import { describe, expect, it } from 'vitest';
import { checkAppends } from '../../scripts/chaos/checkers/append.ts';
import { checkBank } from '../../scripts/chaos/checkers/bank.ts';
import { checkRealTime } from '../../scripts/chaos/checkers/real-time.ts';
import { checkRegisters } from '../../scripts/chaos/checkers/register.ts';
import { checkInserts } from '../../scripts/chaos/checkers/unique.ts';
import { type Verdict, type Violation, violationsIn } from '../../scripts/chaos/checkers/verdict.ts';
import type {
  Append,
  CompareAndSet,
  Find,
  Insert,
  ReadBalances,
  ReadList,
  ReadRegister,
  Told,
  Transfer,
} from '../../scripts/chaos/history.ts';

/**
 * Each checker sees a history without a fault, and then the same one with a fault planted: every one of them has to be
 * reported, as the kind that it is. An operation `op` is invoked at 10·op ms and told at 10·op + 5 ms unless it says otherwise.
 */
const told = (op: number, more: Partial<Told> = {}): Told => ({
  op,
  client: 1,
  outcome: 'acknowledged',
  invokedMs: op * 10,
  completedMs: op * 10 + 5,
  code: '',
  isCurrent: true,
  ...more,
});
const FAILED = { outcome: 'failed', code: '25006' } as const;
const UNKNOWN = { outcome: 'unknown', code: 'lost' } as const;

const append = (op: number, more: Partial<Append> = {}): Append => ({ ...told(op), kind: 'append', key: 1, ...more });
const readList = (op: number, items: readonly number[], more: Partial<ReadList> = {}): ReadList => ({
  ...told(op),
  kind: 'read-list',
  key: 1,
  items,
  ...more,
});
const insert = (op: number, more: Partial<Insert> = {}): Insert => ({ ...told(op), kind: 'insert', ...more });
const find = (op: number, id: number, found: number, more: Partial<Find> = {}): Find => ({
  ...told(op),
  kind: 'find',
  id,
  found,
  ...more,
});
const transfer = (op: number, more: Partial<Transfer> = {}): Transfer => ({
  ...told(op),
  kind: 'transfer',
  from: 1,
  to: 2,
  amount: 10,
  ...more,
});
const balances = (op: number, ...held: readonly number[]): ReadBalances => ({
  ...told(op),
  kind: 'read-balances',
  balances: held,
});
const set = (op: number, from: number, more: Partial<CompareAndSet> = {}): CompareAndSet => ({
  ...told(op),
  kind: 'compare-and-set',
  key: 1,
  from,
  isApplied: true,
  ...more,
});
const look = (op: number, version: number, writer: number, more: Partial<ReadRegister> = {}): ReadRegister => ({
  ...told(op),
  kind: 'read-register',
  key: 1,
  version,
  writer,
  ...more,
});

const kindsIn = (verdict: Verdict): readonly Violation[] =>
  (Object.keys(verdict.violations) as Violation[]).filter((kind) => verdict.violations[kind] > 0);

const expectClean = (verdict: Verdict): void => {
  expect({ kinds: kindsIn(verdict), said: verdict.examples }).toEqual({ kinds: [], said: [] });
};

describe('lists', () => {
  const check = (operations: readonly (Append | ReadList)[], ...items: readonly number[]) =>
    checkAppends(operations, new Map([[1, items]]));

  it('accepts a history that is right, and counts it', () => {
    const verdict = check(
      [
        append(1),
        readList(2, [1]),
        append(3),
        append(4, FAILED),
        append(5, UNKNOWN),
        append(6, UNKNOWN),
        readList(7, [1, 3, 5]),
      ],
      1,
      3,
      5,
    );
    expectClean(verdict);
    expect(verdict).toMatchObject({
      acknowledged: 4,
      failed: 1,
      unknown: 2,
      unknownDone: 1,
      reads: 2,
      currentReads: 2,
    });
  });

  it('accepts either order of appends that were under way together', () => {
    expectClean(check([append(1, { completedMs: 100 }), append(2)], 2, 1));
    expectClean(check([append(1, { completedMs: 100 }), append(2)], 1, 2));
  });

  it('accepts an unknown append that takes effect after others', () => {
    expectClean(check([append(1, UNKNOWN), append(2), append(3)], 2, 3, 1));
  });

  it.each<[string, Violation, Verdict]>([
    ['an acknowledged append that is missing', 'lost', check([append(1), append(2)], 2)],
    ['an item that a read saw and that is gone', 'lost', check([append(1, UNKNOWN), readList(2, [1])])],
    ['an append that is there twice', 'duplicated', check([append(1), append(2)], 1, 2, 1)],
    ['an append before one that had been told', 'reordered', check([append(1), append(2)], 2, 1)],
    [
      'a read in another order than the end',
      'reordered',
      check([append(1, { completedMs: 99 }), append(2, { completedMs: 99 }), readList(3, [2, 1])], 1, 2),
    ],
    ['a failed append that is there', 'phantom', check([append(1, FAILED)], 1)],
    ['an item that nobody appended', 'phantom', check([append(1)], 1, 9)],
    ['an item in another list than its own', 'phantom', check([append(1, { key: 2 })], 1)],
    ['a read without an append told before', 'stale', check([append(1), readList(2, [])], 1)],
    ['a read of less than an earlier read', 'stale', check([append(1, UNKNOWN), readList(2, [1]), readList(3, [])], 1)],
    ['a read of an append to come', 'stale', check([readList(1, [2]), append(2)], 2)],
  ])('reports %s', (_, kind, verdict) => {
    expect(kindsIn(verdict)).toContain(kind);
  });

  it('judges a read that was under way while its phase moved for order alone', () => {
    expectClean(check([append(1), readList(2, [], { isCurrent: false })], 1));
    const wrong = check([append(1, { completedMs: 99 }), append(2), readList(3, [2], { isCurrent: false })], 1, 2);
    expect(kindsIn(wrong)).toEqual(['reordered']);
  });
});

describe('inserts', () => {
  it('accepts a history that is right', () => {
    const operations = [
      insert(1),
      insert(2, FAILED),
      insert(3, UNKNOWN),
      insert(4, UNKNOWN),
      find(5, 1, 1),
      find(6, 2, 0),
    ];
    const verdict = checkInserts(operations, [1, 4]);
    expectClean(verdict);
    expect(verdict).toMatchObject({ acknowledged: 3, failed: 1, unknown: 2, unknownDone: 1, reads: 2 });
  });

  it.each<[string, Violation, Verdict]>([
    ['an acknowledged one that is missing', 'lost', checkInserts([insert(1), insert(2)], [1])],
    ['one that is there twice', 'duplicated', checkInserts([insert(1)], [1, 1])],
    ['an unknown one that is there twice', 'duplicated', checkInserts([insert(1, UNKNOWN)], [1, 1])],
    ['a look that found two', 'duplicated', checkInserts([insert(1), find(2, 1, 2)], [1])],
    ['a failed one that is there', 'phantom', checkInserts([insert(1, FAILED)], [1])],
    ['an id that nobody inserted', 'phantom', checkInserts([insert(1)], [1, 7])],
    ['a look that found a failed one', 'phantom', checkInserts([insert(1, FAILED), find(2, 1, 1)], [])],
    ['a look that found one to come', 'phantom', checkInserts([find(1, 2, 1), insert(2)], [2])],
    ['a look that did not find one told before', 'stale', checkInserts([insert(1), find(2, 1, 0)], [1])],
  ])('reports %s', (_, kind, verdict) => {
    expect(kindsIn(verdict)).toEqual([kind]);
  });

  it('does not judge the recency of a look that was under way while its phase moved, or that began before', () => {
    expectClean(checkInserts([insert(1), find(2, 1, 0, { isCurrent: false })], [1]));
    expectClean(checkInserts([insert(1, { completedMs: 100 }), find(2, 1, 0)], [1]));
  });
});

describe('bank', () => {
  const row = (op: number, amount = 10) => ({ op, from: 1, to: 2, amount });

  it('accepts a history that is right', () => {
    const operations = [
      transfer(1),
      balances(2, 90, 110),
      transfer(3, FAILED),
      transfer(4, UNKNOWN),
      transfer(5, UNKNOWN),
    ];
    const verdict = checkBank(operations, { balances: [80, 120], transfers: [row(1), row(5)] }, 100);
    expectClean(verdict);
    expect(verdict).toMatchObject({ acknowledged: 2, failed: 1, unknown: 2, unknownDone: 1, reads: 1 });
  });

  it.each<[string, readonly Violation[], Verdict]>([
    [
      'an acknowledged transfer that is missing',
      ['lost'],
      checkBank([transfer(1), transfer(2)], { balances: [90, 110], transfers: [row(1)] }, 100),
    ],
    [
      'a transfer that is there twice',
      ['duplicated'],
      checkBank([transfer(1)], { balances: [80, 120], transfers: [row(1), row(1)] }, 100),
    ],
    [
      'a failed transfer that is there',
      ['phantom'],
      checkBank([transfer(1, FAILED)], { balances: [90, 110], transfers: [row(1)] }, 100),
    ],
    ['a transfer that nobody made', ['phantom'], checkBank([], { balances: [90, 110], transfers: [row(1)] }, 100)],
    [
      'a transfer that says something else',
      ['phantom'],
      checkBank([transfer(1)], { balances: [80, 120], transfers: [row(1, 20)] }, 100),
    ],
    [
      'half a transfer, seen by a read',
      ['unbalanced'],
      checkBank([transfer(1), balances(2, 90, 100)], { balances: [90, 110], transfers: [row(1)] }, 100),
    ],
    [
      'half a transfer, at the end',
      ['unbalanced'],
      checkBank([transfer(1)], { balances: [90, 100], transfers: [row(1)] }, 100),
    ],
    [
      'rows without their effect on the balances',
      ['unbalanced'],
      checkBank([transfer(1)], { balances: [100, 100], transfers: [row(1)] }, 100),
    ],
  ])('reports %s', (_, kinds, verdict) => {
    expect(kindsIn(verdict)).toEqual(kinds);
  });
});

describe('registers', () => {
  const check = (operations: readonly (CompareAndSet | ReadRegister)[], version: number, writer: number) =>
    checkRegisters(operations, [{ key: 1, version, writer }]);

  it('accepts a history that is right', () => {
    const verdict = check(
      [
        look(1, 0, 0),
        set(2, 0),
        set(3, 0, { isApplied: false }),
        set(4, 1, FAILED),
        set(5, 1, { ...UNKNOWN, isApplied: false }),
        look(6, 2, 5),
        set(7, 2, { ...UNKNOWN, isApplied: false }),
      ],
      2,
      5,
    );
    expectClean(verdict);
    expect(verdict).toMatchObject({
      acknowledged: 4,
      failed: 1,
      unknown: 2,
      unknownDone: 1,
      reads: 2,
      currentReads: 2,
    });
  });

  it('accepts a version that only an unknown write can have made', () => {
    expectClean(check([set(1, 0, { ...UNKNOWN, isApplied: false }), set(2, 1)], 2, 2));
  });

  it.each<[string, Violation, Verdict]>([
    ['an acknowledged write past the end', 'lost', check([set(1, 0), set(2, 1)], 1, 1)],
    ['a register that is gone', 'lost', checkRegisters([set(1, 0)], [])],
    ['two writers of one version: an earlier write was lost', 'duplicated', check([set(1, 0), set(2, 0)], 1, 2)],
    [
      'a register that is there twice',
      'duplicated',
      checkRegisters(
        [],
        [
          { key: 1, version: 0, writer: 0 },
          { key: 1, version: 0, writer: 0 },
        ],
      ),
    ],
    ['a write told before a smaller one began', 'reordered', check([set(1, 1), set(2, 0)], 2, 1)],
    ['a failed write that is there', 'phantom', check([set(1, 0, FAILED)], 1, 1)],
    ['a write that changed nothing and is there', 'phantom', check([set(1, 0, { isApplied: false })], 1, 1)],
    ['a read of a value that nobody wrote', 'phantom', check([set(1, 0), look(2, 1, 9)], 1, 1)],
    ['a version without a writer', 'phantom', check([set(1, 1)], 2, 1)],
    ['a read of the version before one told', 'stale', check([set(1, 0), look(2, 0, 0)], 1, 1)],
    [
      'a read that goes back behind an earlier one of another client',
      'stale',
      check([set(1, 0, { ...UNKNOWN, isApplied: false }), look(2, 1, 1), look(3, 0, 0, { client: 2 })], 1, 1),
    ],
    ['a read of a version to come', 'stale', check([look(1, 1, 2), set(2, 0)], 1, 2)],
  ])('reports %s', (_, kind, verdict) => {
    expect(kindsIn(verdict)).toContain(kind);
    expect(violationsIn(verdict)).toBeGreaterThan(0);
  });

  it('judges a read that was under way while its phase moved for its value alone', () => {
    expectClean(check([set(1, 0), look(2, 0, 0, { isCurrent: false })], 1, 1));
    expect(kindsIn(check([set(1, 0), look(2, 1, 7, { isCurrent: false })], 1, 1))).toContain('phantom');
  });
});

describe('real time', () => {
  const leveled = (
    op: number,
    level: number,
    isWrite: boolean,
    [invokedMs, completedMs]: readonly [number, number],
  ) => ({
    op,
    level,
    isWrite,
    invokedMs,
    completedMs,
  });

  it('lets operations that overlap take any order, and no others', () => {
    const write = leveled(1, 1, true, [0, 100]);
    expect(checkRealTime([write, leveled(2, 0, false, [50, 60])])).toEqual([]);
    expect(checkRealTime([write, leveled(2, 1, false, [50, 60])])).toEqual([]);
    expect(checkRealTime([write, leveled(2, 1, false, [50, 60]), leveled(3, 0, false, [70, 80])])).toMatchObject([
      { op: 3, isRead: true },
    ]);
    expect(checkRealTime([write, leveled(2, 0, false, [101, 110])])).toMatchObject([{ op: 2, isRead: true }]);
    expect(checkRealTime([leveled(1, 2, true, [0, 10]), leveled(2, 1, true, [20, 30])])).toMatchObject([
      { op: 2, isRead: false },
    ]);
  });
});
