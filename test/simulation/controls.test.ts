import { beforeAll, expect, test, vi } from 'vitest';
import { live, makeStarts, type Starts } from './life.ts';
import { CONTROLS } from './mutants.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

let starts: Starts;

beforeAll(async () => {
  starts = await makeStarts(['orders']);
});

/** A simulation that finds nothing may be blind. Each of these bugs is planted, and has to be found. */
test.each(CONTROLS)('planted and found: $name', async ({ name, mutant, life, expected, seeds }) => {
  for (let seed = 0; seed < seeds; seed++) {
    const { violations } = await live(seed, life(seed), starts, { mutant });
    if (violations.length === 0) continue;
    console.log(`${name}: seed ${seed}: ${violations.map(({ id, text }) => `${id} ${text}`).join('; ')}`);
    expect(expected).toContain(violations.find(({ id }) => expected.includes(id))?.id);
    return;
  }
  expect.fail(`"${name}" was not found in ${seeds} seeds`);
});
