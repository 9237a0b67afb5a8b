import { expect, test } from 'vitest';
import { several } from '../../src/routers/several.ts';

test('work is done for so many at the same time and no more, and what comes of it is in order', async () => {
  const running = { now: 0, most: 0 };
  const results = await several([5, 1, 4, 2, 3, 0], 3, async (turns) => {
    running.now += 1;
    running.most = Math.max(running.most, running.now);
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    running.now -= 1;
    return `after ${turns}`;
  });
  expect(results).toEqual(['after 5', 'after 1', 'after 4', 'after 2', 'after 3', 'after 0']);
  expect(running.most).toBe(3);
  expect(await several([], 3, () => Promise.resolve())).toEqual([]);
});

test('none is begun after one that failed', async () => {
  const begun: number[] = [];
  const work = several([1, 2, 3, 4, 5], 2, async (item) => {
    begun.push(item);
    await Promise.resolve();
    if (item === 1) throw new Error('the first');
    // Until the failure has gone round.
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  });
  await expect(work).rejects.toThrow('the first');
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
  expect(begun).toEqual([1, 2]);
});
