import fc from 'fast-check';
import { expect, test } from 'vitest';
import { oneOrder } from '../../src/domain/router-order.ts';

test.each([
  [[['app']], ['app']],
  [
    [
      ['pooler', 'dns'],
      ['dns', 'proxy'],
    ],
    ['pooler', 'dns', 'proxy'],
  ],
  [
    [['dns'], ['pooler', 'dns']],
    ['pooler', 'dns'],
  ],
  [
    [['b'], ['a']],
    ['b', 'a'],
  ],
  [[], []],
])('%j act as %j', (lists, order) => {
  expect(oneOrder(lists)).toEqual(order);
});

test.each([
  [
    [
      ['a', 'b'],
      ['b', 'a'],
    ],
  ],
  [
    [
      ['a', 'b'],
      ['b', 'c'],
      ['c', 'a'],
    ],
  ],
])('%j contradict each other', (lists) => {
  expect(oneOrder(lists)).toBeNull();
});

test('an order keeps that of every list, and has each name once', () => {
  // Lists that are cut out of one order never contradict each other.
  const whole = fc.uniqueArray(fc.constantFrom<string>('a', 'b', 'c', 'd', 'e'), { minLength: 1 });
  const lists = whole.chain((order) =>
    fc.array(fc.subarray([...order], { minLength: 1 }), { minLength: 1, maxLength: 5 }),
  );
  fc.assert(
    fc.property(lists, (some) => {
      const found = oneOrder(some);
      expect(found).not.toBeNull();
      expect([...(found ?? [])].toSorted()).toEqual([...new Set(some.flat())].toSorted());
      for (const list of some) expect(found?.filter((name) => list.includes(name))).toEqual(list);
    }),
  );
});
