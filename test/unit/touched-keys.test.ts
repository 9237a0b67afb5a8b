import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import type { LaneTable } from '../../src/engines/stream/lane-table.ts';
import { TouchedKeys } from '../../src/engines/stream/touched.ts';
import { tupleOf } from '../../src/rows/tuple.ts';

const formOf = (keyAt: readonly number[] | null): LaneTable => ({
  name: 'public.t',
  keyAt,
  columns: [],
  table: {
    schema: 'public',
    name: 't',
    columns: [],
    key: null,
    replicaIdentity: 'default',
    root: null,
    estimatedRows: 0,
    bytes: 0,
  },
});
const table = formOf([0]);
const add = (touched: TouchedKeys, key: string, body: Buffer = Buffer.from('x'), form = table): void =>
  touched.addChanges([{ kind: 'insert', table: form, after: tupleOf([Buffer.from(key), body]) }]);

describe('keys of a transaction that is applied in parts', () => {
  test('are the same, in order, whether its rows were let go of in between or not', () => {
    const touched = new TouchedKeys();
    add(touched, '1');
    touched.detach();
    add(touched, '2');
    // The same table, whose columns have another order by now.
    touched.addChanges([{ kind: 'insert', table: formOf([1]), after: tupleOf([Buffer.from('x'), Buffer.from('3')]) }]);
    touched.detach();
    touched.detach();
    add(touched, '4');
    expect(touched.list()).toEqual([{ table: 'public.t', keys: [['1'], ['2'], ['3'], ['4']] }]);
  });

  test('are not told one by one when all parts together have too many', () => {
    const touched = new TouchedKeys();
    for (let i = 0; i <= 20_000; i++) {
      add(touched, String(i));
      if (i % 5_000 === 0) touched.detach();
    }
    touched.detach();
    add(touched, 'one more');
    expect(touched.list()).toEqual([{ table: 'public.t', keys: 'all' }]);
  });

  // A transaction of 2 GB in rows of a megabyte once stayed in memory as a whole: there were only 2,000 keys.
  test('do not keep its rows in memory', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const touched = new TouchedKeys();
    collect();
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 64; i++) add(touched, String(i), Buffer.alloc(2 ** 20));
    touched.detach();
    // Freed by another thread some time after it was found to be garbage.
    const keptMiB = (): number => {
      collect();
      return (process.memoryUsage().arrayBuffers - before) / 2 ** 20;
    };
    await expect.poll(keptMiB, { timeout: 10_000 }).toBeLessThan(16);
    expect(touched.list()).toHaveLength(1);
  });
});
