import { beforeAll, expect, test, vi } from 'vitest';
import { enumerateSingles, WORKS } from './crashes.ts';
import { makeStarts, type Starts } from './life.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

const HOUR_MS = 3_600_000;
let starts: Starts;

beforeAll(async () => {
  starts = await makeStarts(['orders']);
});

test.each([WORKS.prepare, WORKS.finalise, WORKS.abort])(
  'a crash at any effect of $name is recovered from',
  { timeout: HOUR_MS },
  async (work) => {
    expect(await enumerateSingles(work, starts)).toEqual([]);
  },
);
