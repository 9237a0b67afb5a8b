import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { SWITCH_STEPS } from '../../src/domain/protocol.ts';
import { CLAIMS, type Claim, INVARIANTS, type Invariant, MUTANTS, type Mutant } from './mutants.ts';
import { missingPrograms, runCheck } from './spin.ts';

/**
 * The switch as a model (cutover.pml) that Spin searches through: every interleaving of two workers, their lanes, clients, a
 * target that crashes. The clean model must hold in full; each mutant must be found, and by the invariant that it breaks.
 */

const missing = missingPrograms();
const must = process.env.CI === 'true';
if (missing.length > 0 && !must) {
  console.log(`MODEL NOT CHECKED: ${missing.join(' and ')} not on PATH (Debian: apt-get install spin gcc libc6-dev)`);
}

const SAFETY = ['WRITES=2', 'SWITCHES=2', 'TAKES=2', 'TARGET_CRASHES=1'];
/** A check takes up to a minute and a half on a slow machine; this is to end one that hangs. */
const TIMEOUT_MS = 900_000;

const claimOf = (name: Claim): string => name.split(',')[0] ?? name;
const isClaim = (breaks: Invariant | Claim): breaks is Claim => breaks in CLAIMS;

const checkOf = ({ define, steps, breaks }: Mutant) => ({
  define: [...(isClaim(breaks) ? CLAIMS[breaks] : SAFETY), ...(define === undefined ? [] : [define])],
  steps: steps ?? SWITCH_STEPS,
  ...(isClaim(breaks) ? { claim: claimOf(breaks) } : {}),
});

test('every step of the window that leaves a trace names the step that undoes it', () => {
  const undoing = SWITCH_STEPS.filter(({ part }) => part === 'undoing').map(({ name }) => name as string);
  const undone = SWITCH_STEPS.flatMap(({ undoneBy }) => (undoneBy === null ? [] : [undoneBy as string]));
  expect([...new Set(undone)].sort()).toEqual(undoing.toSorted());
});

test('docs/design.md lists the mutants as they are', async () => {
  const page = await readFile(new URL('../../docs/design.md', import.meta.url), 'utf8');
  const rows = page.slice(page.indexOf('| mistake | found by |')).split('\n\n')[0]?.split('\n').slice(2);
  expect(rows).toEqual(MUTANTS.map(({ name, breaks }) => `| ${name} | ${breaks} |`));
});

describe.skipIf(missing.length > 0 && !must)('the model of the switch', { timeout: TIMEOUT_MS }, () => {
  test('spin and a C compiler are there', () => expect(missing).toEqual([]));

  test('holds every invariant', async () => {
    const verdict = await runCheck({ define: SAFETY, steps: SWITCH_STEPS });
    console.log(`model, safety: ${verdict.states} states, ${verdict.seconds} s`);
    expect(verdict).toMatchObject({ errors: 0, violated: null, complete: true });
    // A model that cannot move would hold everything.
    expect(verdict.states).toBeGreaterThan(1_000_000);
  });

  test.each(Object.entries(CLAIMS))('keeps what it promises: %s', async (name, define) => {
    const verdict = await runCheck({ define, steps: SWITCH_STEPS, claim: claimOf(name as Claim) });
    console.log(`model, ${name}: ${verdict.states} states, ${verdict.seconds} s`);
    expect(verdict).toMatchObject({ errors: 0, violated: null, complete: true });
    expect(verdict.states).toBeGreaterThan(10_000);
  });

  test.each(MUTANTS)('finds the mutant: $name', async (mutant) => {
    const verdict = await runCheck(checkOf(mutant));
    expect(verdict.errors).toBe(1);
    const { breaks } = mutant;
    // Of all pieces only the one of the invariant that is named: one assertion may print the words of another.
    const said = Object.entries({ ...INVARIANTS, claim: 'acceptance cycle' })
      .filter(([, piece]) => verdict.violated?.includes(piece))
      .map(([name]) => name);
    expect(said, verdict.violated ?? '').toEqual([isClaim(breaks) ? 'claim' : breaks]);
  });
});
