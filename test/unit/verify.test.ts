import { describe, expect, test } from 'vitest';
import type { KeyText } from '../../src/databases/digests.ts';
import type { Table } from '../../src/domain/table.ts';
import {
  firstRangeRows,
  nextRangeRows,
  type VerifyOptions,
  verifyKeys,
  verifyTables,
} from '../../src/stages/verify.ts';
import { FakeDigests, fakeTable } from '../support/fake-digests.ts';

interface Sides {
  readonly from: FakeDigests;
  readonly to: FakeDigests;
  readonly table: Table;
}

/** Two sides with the same `rows` rows of table `t`. */
const sides = (rows: number, keyed = true): Sides => {
  const from = new FakeDigests();
  const to = new FakeDigests();
  for (let i = 1; i <= rows; i++) from.rows('t').set(String(i), `v${i}`);
  to.become(from);
  return { from, to, table: fakeTable('t', { keyed, rows }) };
};

const options = (s: Sides, overrides: Partial<VerifyOptions> = {}): VerifyOptions => ({
  from: s.from,
  to: s.to,
  tables: [s.table],
  appliedPast: async () => undefined,
  signal: new AbortController().signal,
  ...overrides,
});

const sorted = (keys: readonly KeyText[] | undefined): number[] =>
  (keys ?? []).map(([key]) => Number(key)).sort((a, b) => a - b);

describe('verifyTables', () => {
  test('equal sides are clean, with the rows and the digest of both', async () => {
    const s = sides(250_000);
    const told: unknown[] = [];
    const result = await verifyTables(options(s, { onProgress: (progress) => told.push(progress) }));
    const whole = await s.to.ofRange(s.table, { after: null, upTo: null });
    expect(result).toEqual({
      clean: true,
      tables: [
        {
          table: 'public.t',
          rows: '250000',
          digest: whole.sum,
          ranges: expect.any(Number),
          divergent: [],
          unsettled: [],
          stopped: false,
        },
      ],
    });
    expect(told.at(-1)).toEqual({ table: 'public.t', rows: 250_000, finished: true });
    expect(s.from.reads.get('rowsOf')).toBeUndefined();
  });

  test('a changed, a missing and two additional rows are found, and no others', async () => {
    const s = sides(20_000);
    s.to.rows('t').set('7777', 'flipped');
    s.to.rows('t').delete('12');
    s.to.rows('t').set('0', 'before all').set('30000', 'after all');
    const result = await verifyTables(options(s));
    expect(result.clean).toBe(false);
    expect(sorted(result.tables[0]?.divergent)).toEqual([0, 12, 7777, 30_000]);
    expect(result.tables[0]?.unsettled).toEqual([]);
  });

  test('the sum of two differences that cancel in no way hides them: a swap of two values is two rows', async () => {
    const s = sides(100);
    s.to.rows('t').set('3', 'v4').set('4', 'v3');
    expect(sorted((await verifyTables(options(s))).tables[0]?.divergent)).toEqual([3, 4]);
  });

  test('what is only under way does not count', async () => {
    const s = sides(1_000);
    for (let i = 1; i <= 1_000; i += 10) s.from.rows('t').set(String(i), 'newer');
    for (let i = 5; i <= 1_000; i += 100) s.from.rows('t').delete(String(i));
    let waits = 0;
    const appliedPast = async () => {
      waits += 1;
      s.to.become(s.from);
    };
    expect((await verifyTables(options(s, { appliedPast }))).clean).toBe(true);
    expect(waits).toBe(1);
  });

  test('a row that changes at every look and arrives late is equal, and a planted difference beside it is found', async () => {
    const s = sides(100);
    s.to.rows('t').set('50', 'flipped');
    const versions: string[] = [];
    // The origin has a new value at each of its reads; the other side shows the one from two reads before.
    s.from.onRead = () => {
      versions.push(`hot ${versions.length}`);
      s.from.rows('t').set('9', versions.at(-1) ?? '');
    };
    s.to.onRead = () => void s.to.rows('t').set('9', versions.at(-3) ?? 'v9');
    const appliedPast = () => new Promise<void>((resolve) => setTimeout(resolve, 40));
    const result = await verifyTables(options(s, { appliedPast }));
    expect(sorted(result.tables[0]?.divergent)).toEqual([50]);
    expect(result.tables[0]?.unsettled).toEqual([]);
  });

  test('an update that was lost is divergent, although the origin once had that value', async () => {
    const s = sides(100);
    let waits = 0;
    const appliedPast = async () => {
      waits += 1;
      if (waits === 1) s.from.rows('t').set('9', 'never arrives');
    };
    s.to.rows('t').set('50', 'flipped');
    const result = await verifyTables(options(s, { appliedPast }));
    expect(sorted(result.tables[0]?.divergent)).toEqual([9, 50]);
  });

  test('a row that is never seen equal nor unchanged is unsettled, and the pass is not clean', async () => {
    const s = sides(10);
    let n = 0;
    s.to.onRead = () => void s.to.rows('t').set('5', `noise ${n++}`);
    const result = await verifyTables(options(s));
    expect(result.clean).toBe(false);
    expect(result.tables[0]?.divergent).toEqual([]);
    expect(result.tables[0]?.unsettled).toEqual([['5']]);
  });

  test('more divergent rows than can be of use end the look at that table, not at the next', async () => {
    const s = { ...sides(30_000), table: fakeTable('t', { rows: 30_000, rowBytes: 10_000 }) };
    for (let i = 1; i <= 30_000; i++) s.to.rows('t').set(String(i), 'other');
    s.from.rows('u').set('1', 'x');
    const result = await verifyTables(options(s, { tables: [s.table, fakeTable('u', { rows: 1 })] }));
    expect(result.tables[0]?.stopped).toBe(true);
    expect(result.tables[0]?.divergent.length).toBeGreaterThanOrEqual(1_000);
    expect(result.tables[0]?.divergent.length).toBeLessThan(20_000);
    expect(result.tables[1]?.divergent).toEqual([['1']]);
  });

  test('a table that has grown since its statistics were read is not compared in one statement', async () => {
    const s = { ...sides(60_000), table: fakeTable('t', { rows: 0 }) };
    const seen: number[] = [];
    const ofRange = s.from.ofRange.bind(s.from);
    s.from.ofRange = async (table, range) => {
      const digest = await ofRange(table, range);
      seen.push(Number(digest.rows));
      return digest;
    };
    expect(await verifyTables(options(s))).toMatchObject({ clean: true, tables: [{ rows: '60000' }] });
    expect(seen[0]).toBe(500);
    expect(Math.max(...seen)).toBeLessThan(60_000);
  });

  test('ranges begin small, become as large as the statistics say, and smaller when they take long', () => {
    const known = fakeTable('t', { rows: 1_000_000, rowBytes: 1_000 });
    const empty = fakeTable('t');
    const megabytes = fakeTable('t', { rows: 10_000, rowBytes: 2 ** 20 });
    expect([known, empty, megabytes].map(firstRangeRows)).toEqual([5_000, 500, 500]);
    expect(nextRangeRows(known, { rows: 5_000, seconds: 0.1 })).toBe(20_000);
    expect(nextRangeRows(known, { rows: 20_000, seconds: 0.1 })).toBe(33_554);
    expect(nextRangeRows(known, { rows: 33_554, seconds: 2 })).toBe(33_554);
    expect(nextRangeRows(known, { rows: 33_554, seconds: 6 })).toBe(16_777);
    expect(nextRangeRows(empty, { rows: 500, seconds: 0.1 })).toBe(2_000);
    expect(nextRangeRows(empty, { rows: 90_000, seconds: 0.1 })).toBe(100_000);
    expect(nextRangeRows(empty, { rows: 1, seconds: 90 })).toBe(1);
  });

  test('a table without a key is one range; late it is equal, different it is divergent as a whole', async () => {
    const late = sides(50, false);
    late.from.rows('t').set('3', 'newer');
    const appliedPast = async () => late.to.become(late.from);
    expect(await verifyTables(options(late, { appliedPast }))).toMatchObject({ clean: true, tables: [{ ranges: 1 }] });
    const wrong = sides(50, false);
    wrong.to.rows('t').set('51', 'twice');
    expect(await verifyTables(options(wrong))).toMatchObject({ clean: false, tables: [{ divergent: [[]] }] });
  });

  test('an abort ends it; a failure ends all workers and is thrown', async () => {
    const s = sides(250_000);
    const controller = new AbortController();
    s.to.onRead = () => controller.abort(new Error('stop now'));
    await expect(verifyTables(options(s, { signal: controller.signal }))).rejects.toThrow('stop now');
    const broken = { ...sides(10_000), table: fakeTable('t', { rows: 10_000, rowBytes: 50_000 }) };
    broken.to.onRead = () => {
      throw new Error('connection lost');
    };
    await expect(verifyTables(options(broken))).rejects.toThrow('connection lost');
    expect(broken.from.reads.get('ofRange')).toBeLessThan(4);
    const lane = sides(10);
    lane.to.rows('t').delete('1');
    const appliedPast = () => Promise.reject(new Error('lane halted'));
    await expect(verifyTables(options(lane, { appliedPast }))).rejects.toThrow('lane halted');
  });
});

describe('verifyKeys', () => {
  const keys = (...numbers: readonly number[]): KeyText[] => numbers.map((n) => [String(n)]);

  test('on sides that stand still the first look decides', async () => {
    const s = sides(100);
    s.to.rows('t').set('3', 'flipped');
    s.to.rows('t').delete('4');
    s.from.rows('t').delete('5');
    s.to.rows('t').set('90', 'flipped, not asked for');
    const appliedPast = () => Promise.reject(new Error('nothing to wait for'));
    const proof = { ...options(s, { appliedPast }), table: s.table, isStatic: true };
    expect(await verifyKeys({ ...proof, keys: keys(1, 2, 3, 4, 5, 6, 700) })).toEqual({
      divergent: keys(3, 4, 5),
      unsettled: [],
    });
    expect(await verifyKeys({ ...proof, keys: keys(1, 2, 700) })).toEqual({ divergent: [], unsettled: [] });
    expect(await verifyKeys({ ...proof, keys: [] })).toEqual({ divergent: [], unsettled: [] });
  });

  test('while rows change, what is under way does not count', async () => {
    const s = sides(100);
    s.from.rows('t').set('3', 'newer');
    s.to.rows('t').set('4', 'flipped');
    const appliedPast = async () => void s.to.rows('t').set('3', 'newer');
    const proof = { ...options(s, { appliedPast }), table: s.table, isStatic: false };
    expect(await verifyKeys({ ...proof, keys: keys(1, 3, 4) })).toEqual({ divergent: keys(4), unsettled: [] });
  });
});
