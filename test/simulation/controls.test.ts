import { readFile } from 'node:fs/promises';
import { beforeAll, expect, test, vi } from 'vitest';
import { live, makeStarts, type Starts } from './life.ts';
import { CONTROLS, type Control } from './mutants.ts';
import type { Violation } from './world.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

let starts: Starts;

beforeAll(async () => {
  starts = await makeStarts(['orders']);
});

/** What the first life that breaks anything breaks. */
const firstViolations = async ({ name, mutant, life, seeds }: Control): Promise<readonly Violation[]> => {
  for (let seed = 0; seed < seeds; seed++) {
    const { violations } = await live(seed, life(seed), starts, { mutant });
    if (violations.length === 0) continue;
    console.log(`${name}: seed ${seed}: ${violations.map(({ id, text }) => `${id} ${text}`).join('; ')}`);
    return violations;
  }
  return [];
};

/** A simulation that finds nothing may be blind. Each of these bugs is planted, and has to be found by what it breaks. */
test.each(CONTROLS)('planted and found: $name', async (control) => {
  const undo = control.mutant.product?.();
  try {
    const ids = (await firstViolations(control)).map(({ id }) => id);
    expect([...new Set(ids)]).toEqual(control.expected);
  } finally {
    undo?.();
  }
});

test('docs/reliability.md lists the controls as they are', async () => {
  const page = await readFile(new URL('../../docs/reliability.md', import.meta.url), 'utf8');
  const rows = page.slice(page.indexOf('| planted in the simulation |')).split('\n\n')[0]?.split('\n').slice(2);
  expect(rows).toEqual(CONTROLS.map(({ name, expected }) => `| ${name} | ${expected.join(', ')} |`));
});
