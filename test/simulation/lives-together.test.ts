import { test, vi } from 'vitest';
import { expectUnbroken, SHARDS, seedsPerShard } from './lives.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

// The grid is walked with one phase; here two switch together, under one fence, one window and one commit record.
test('no fault breaks a promise when two phases switch together', { timeout: 1_200_000 }, async () => {
  await expectUnbroken(SHARDS.together, { seeds: Math.ceil(seedsPerShard() / 5) });
});
