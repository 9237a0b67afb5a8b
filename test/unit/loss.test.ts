import { describe, expect, it } from 'vitest';
import { findLoss, lossText } from '../../src/stages/snapshots/loss.ts';
import { FakeDigests, fakeTable } from '../support/fake-digests.ts';

const { signal } = new AbortController();

/** A primary and what was restored, both with the same rows of table `t`. */
const sides = (rows: number) => {
  const primary = new FakeDigests();
  for (let id = 1; id <= rows; id++) primary.rows('t').set(String(id), `row ${id}`);
  const restored = new FakeDigests();
  restored.become(primary);
  return { primary, restored };
};

describe('what going back loses', () => {
  it('is nothing where all rows are equal', async () => {
    const losses = await findLoss({ ...sides(100), tables: [fakeTable('t', { rows: 100 })], signal });
    expect(losses).toEqual([]);
    expect(lossText(losses)).toBe('no row differs from the target');
  });

  it('is counted by what became of each row', async () => {
    const { primary, restored } = sides(12_000);
    for (let id = 12_001; id <= 12_300; id++) primary.rows('t').set(String(id), 'inserted since');
    for (let id = 1; id <= 40; id++) primary.rows('t').set(String(id), 'updated since');
    for (let id = 500; id < 507; id++) primary.rows('t').delete(String(id));
    const losses = await findLoss({ primary, restored, tables: [fakeTable('t', { rows: 12_000 })], signal });
    expect(losses).toEqual([{ table: 'public.t', missing: 300, differing: 40, extra: 7, isExact: true }]);
    expect(lossText(losses)).toBe(
      'lost are 300 rows that are on the target only, 40 that have newer values there, 7 that were deleted there and come back (public.t)',
    );
  });

  it('is looked for and counted one table after another, so that the keys of one only are held', async () => {
    const { primary, restored } = sides(0);
    const names = ['t', 'u', 'v'];
    for (const name of names) for (let id = 1; id <= 300; id++) primary.rows(name).set(String(id), 'inserted since');
    const asked: string[] = [];
    const [nextRange, hashesOf] = [primary.nextRange.bind(primary), primary.hashesOf.bind(primary)];
    primary.nextRange = async (table, after, rows) => {
      asked.push(table.name);
      return await nextRange(table, after, rows);
    };
    primary.hashesOf = async (table, keys) => {
      asked.push(table.name);
      return await hashesOf(table, keys);
    };
    const tables = names.map((name) => fakeTable(name, { rows: 300 }));
    const losses = await findLoss({ primary, restored, tables, signal });
    expect(losses.map(({ table, missing }) => [table, missing])).toEqual(names.map((name) => [`public.${name}`, 300]));
    expect(asked.filter((name, i) => name !== asked[i - 1])).toEqual(names);
  });

  // Clients may be held meanwhile, and no lane brings what differs: a second look would only take time.
  it('is told at the first look of rows that change all the time', async () => {
    const { primary, restored } = sides(100);
    let writes = 0;
    primary.onRead = () => void primary.rows('t').set('7', `write ${writes++}`);
    const losses = await findLoss({ primary, restored, tables: [fakeTable('t', { rows: 100 })], signal });
    expect(losses).toEqual([{ table: 'public.t', missing: 0, differing: 1, extra: 0, isExact: true }]);
    expect([primary.reads.get('hashesOf'), restored.reads.get('hashesOf')]).toEqual([1, 1]);
  });

  it('is the least that it can be of a table without a key', async () => {
    const { primary, restored } = sides(50);
    primary.rows('t').set('51', 'inserted since');
    const losses = await findLoss({ primary, restored, tables: [fakeTable('t', { keyed: false })], signal });
    expect(losses).toEqual([{ table: 'public.t', missing: 1, differing: 0, extra: 0, isExact: false }]);
    expect(lossText(losses)).toContain('lost are at least 1 rows');
  });
});
