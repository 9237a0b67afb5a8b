import { expect, test } from 'vitest';
import type { Table } from '../../src/domain/table.ts';
import { TouchedKeys } from '../../src/stages/touched.ts';

const table = (name: string, keyed: boolean): Table => ({
  schema: 'public',
  name,
  columns: [],
  key: keyed ? { index: `${name}_pkey`, columns: ['id'] } : null,
  replicaIdentity: 'default',
  root: null,
  estimatedRows: 0,
  bytes: 0,
});

test('nothing is known before a verification has begun, nor after it failed', () => {
  const touched = new TouchedKeys();
  expect(touched.complete).toBe(false);
  touched.add([{ table: 'public.a', keys: [['1']] }]);
  expect(touched.peek()).toEqual([]);
  touched.restart();
  touched.add([{ table: 'public.a', keys: [['1'], ['1'], ['2']] }]);
  expect([touched.complete, touched.size]).toEqual([true, 2]);
  touched.invalidate();
  expect([touched.complete, touched.size, touched.peek()]).toEqual([false, 0, []]);
});

test('a whole table swallows its keys, and is told apart by whether it has any', () => {
  const touched = new TouchedKeys();
  touched.restart();
  touched.add([
    { table: 'public.a', keys: [['1']] },
    { table: 'public.b', keys: 'all' },
  ]);
  touched.add([{ table: 'public.a', keys: 'all' }]);
  touched.add([{ table: 'public.a', keys: [['2']] }]);
  expect([touched.size, touched.peek()]).toEqual([
    0,
    [
      { table: 'public.a', keys: 'all' },
      { table: 'public.b', keys: 'all' },
    ],
  ]);
  expect(touched.hasWholeKeyedTable([table('b', false)])).toBe(false);
  expect(touched.hasWholeKeyedTable([table('a', true), table('b', false)])).toBe(true);
});

test('more keys than can be proven in time make it incomplete rather than wrong', () => {
  const touched = new TouchedKeys();
  touched.restart();
  for (let batch = 0; batch < 5; batch++) {
    touched.add([{ table: 'public.a', keys: Array.from({ length: 50_000 }, (_, i) => [`${batch}-${i}`]) }]);
  }
  expect(touched.complete).toBe(false);
});
