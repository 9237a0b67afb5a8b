import { beforeAll, expect, test, vi } from 'vitest';
import { live, makeStarts, type Starts } from './life.ts';
import { cellsOf, lifeOf, SHARDS, startsOf } from './lives.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

let starts: Starts;

beforeAll(async () => {
  starts = await makeStarts(['orders']);
});

test('a seed replays exactly: the same events at the same times, in the same order', async () => {
  // Another process would have made the same beginnings.
  const again = await makeStarts(['orders']);
  for (const shard of [SHARDS.cutover, SHARDS.others]) {
    const cells = await cellsOf(shard, starts);
    for (let seed = 3; seed < cells.length; seed += 97) {
      const first = await live(seed, lifeOf(seed, cells), starts, { keepTrace: true });
      const second = await live(seed, lifeOf(seed, cells), again, { keepTrace: true });
      expect(first.trace.length).toBeGreaterThan(300);
      expect(second.trace).toEqual(first.trace);
      expect(second.digest).toBe(first.digest);
    }
  }
});

test('another seed gives another trace', async () => {
  const life = { start: 'ready', command: 'cutover', point: 'cutover: drain', fault: 'target crash' } as const;
  const digests = new Set<number>();
  for (let seed = 0; seed < 5; seed++) digests.add((await live(seed, life, starts)).digest);
  expect(digests.size).toBe(5);
});

const wanted = /^(\w+):(\d+)$/.exec(process.env.SWITCHBACK_SIMULATION_REPLAY ?? '');

test.runIf(wanted !== null)('the seed that was asked for', async () => {
  const shard = SHARDS[wanted?.[1] as keyof typeof SHARDS];
  const seed = Number(wanted?.[2]);
  const own = await startsOf(shard);
  const result = await live(seed, lifeOf(seed, await cellsOf(shard, own)), own, { keepTrace: true });
  console.log(result.trace.join('\n'));
  expect(result.violations).toEqual([]);
});
