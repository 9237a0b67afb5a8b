import { beforeAll, expect, test, vi } from 'vitest';
import { enumeratePairs, enumerateSingles, WORKS } from './crashes.ts';
import { makeStarts, type Starts } from './life.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

const HOUR_MS = 3_600_000;
let starts: Starts;

beforeAll(async () => {
  starts = await makeStarts(['orders']);
});

test('a crash at any effect of a cutover is recovered from', { timeout: HOUR_MS }, async () => {
  expect(await enumerateSingles(WORKS.cutover, starts)).toEqual([]);
});

test('so is a second crash at any effect of the recovery', { timeout: HOUR_MS }, async () => {
  expect(await enumeratePairs(WORKS.cutover, starts)).toEqual([]);
});
