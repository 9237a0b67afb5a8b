import { expect, test, vi } from 'vitest';
import { makeStarts } from './life.ts';
import { describeBroken, runShard, SHARDS, seedsPerShard } from './lives.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

test('no fault at any point of a prepare, a copy, a soak or a failback breaks a promise', {
  timeout: 1_200_000,
}, async () => {
  const shard = SHARDS.others;
  const seeds = seedsPerShard();
  const { broken, unvisited, cells, events, seedMs } = await runShard(shard, await makeStarts(['orders']), seeds);
  console.log(
    `simulation, ${shard.name}: ${seeds} seeds, ${events} events, ${cells - unvisited.length} of ${cells} cells, ${seedMs.toFixed(1)} ms each`,
  );
  expect(broken.map((one) => describeBroken(shard, one)).join('\n')).toBe('');
  // Fewer seeds than cells are for a quick look, and cannot visit all of them.
  if (seeds >= cells) expect(unvisited).toEqual([]);
});
