import { test, vi } from 'vitest';
import { expectUnbroken, SHARDS, seedsPerShard } from './lives.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

test('no fault at any point of a cutover, or of its undoing, breaks a promise', { timeout: 1_200_000 }, async () => {
  await expectUnbroken(SHARDS.cutover, { seeds: seedsPerShard() });
});
