import { beforeAll, describe, expect, test } from 'vitest';
import type { ClusterRouters } from './cluster.ts';
import { type Life, live, makeStarts, type Recovery, type Starts, type Strike } from './life.ts';
import type { Moment } from './network.ts';

/** A piece of work whose every effect is a place to die at. */
export type Work = Pick<Life, 'start' | 'command'> & { readonly name: string };

/** Every kind of work. */
export const WORKS = {
  cutover: { name: 'cutover', start: 'ready', command: 'cutover' },
  failback: { name: 'failback', start: 'soaking', command: 'failback' },
  prepare: { name: 'prepare', start: 'fresh' },
  finalise: { name: 'finalise', start: 'soaking', command: 'finalise' },
  abort: { name: 'abort', start: 'ready', command: 'abort' },
  readers: { name: 'readers', start: 'ready', command: 'cutover --reads' },
} as const satisfies Record<string, Work>;

const MOMENTS: readonly Moment[] = ['before', 'after', 'replied'];
const RECOVERIES: readonly Recovery[] = ['resume', 'abort', 'second worker', 'sleeper wakes'];

/** The seed of every enumerated life: up to its strike, each goes as the one in which effects were counted. */
const SEED = 11;

const NEVER: Strike = { index: Number.POSITIVE_INFINITY, moment: 'before', how: 'kill' };

/** One enumerated crash, or two. */
export interface Case {
  readonly work: Work;
  readonly strikes: readonly Strike[];
  readonly recovery: Recovery;
  /** Clients write seldom. */
  readonly isCalm?: boolean;
}

const lifeOf = ({ work, strikes, recovery, isCalm = false }: Case): Life => ({
  isCalm,
  start: work.start,
  ...(work.command ? { command: work.command } : {}),
  point: null,
  fault: null,
  strikes,
  recovery,
});

const howOf = (recovery: Recovery): Strike['how'] => (recovery === 'sleeper wakes' ? 'sleep' : 'kill');

/** How many effects a work has. */
export const countEffects = async (work: Work, starts: Starts): Promise<number> => {
  const { effects, violations } = await live(SEED, lifeOf({ work, strikes: [NEVER], recovery: 'resume' }), starts);
  if (violations.length > 0) throw new Error(`${work.name} without a crash: ${JSON.stringify(violations)}`);
  return effects[0] ?? 0;
};

/** Every single crash of a work: each effect, before it, after it, after its answer, with each way to recover. */
export const singlesOf = (work: Work, effects: number): readonly Case[] =>
  RECOVERIES.flatMap((recovery) =>
    MOMENTS.flatMap((moment) =>
      Array.from(
        { length: effects },
        (_, index): Case => ({ work, strikes: [{ index, moment, how: howOf(recovery) }], recovery }),
      ),
    ),
  );

/**
 * Every pair: a crash in the work, and one in its recovery by `resume`. What is left by a crash before an effect is what a
 * crash after the one before it leaves, so the first crash comes after each effect, and the second before and after each.
 * Effects of a recovery are counted when its turn comes.
 */
export async function* pairsOf(work: Work, starts: Starts, isWanted: (n: number) => boolean): AsyncGenerator<Case> {
  const common = { work, recovery: 'resume', isCalm: true } as const;
  const { effects } = await live(SEED, lifeOf({ ...common, strikes: [NEVER] }), starts);
  let n = 0;
  for (let index = 0; index < (effects[0] ?? 0); index++) {
    const first: Strike = { index, moment: 'after', how: 'kill' };
    const counted = await live(SEED, lifeOf({ ...common, strikes: [first, NEVER] }), starts);
    for (let second = 0; second < (counted.effects[1] ?? 0); second++) {
      for (const moment of ['before', 'after'] as const) {
        n += 1;
        if (isWanted(n)) yield { ...common, strikes: [first, { index: second, moment, how: 'kill' }] };
      }
    }
  }
}

/** Whether everything is enumerated, or a part of it: `CI=true` or `SWITCHBACK_SIMULATION_CRASHES=all`. */
const isAll = process.env.CI === 'true' || process.env.SWITCHBACK_SIMULATION_CRASHES === 'all';

const HOUR_MS = 3_600_000;

/**
 * The tests of works: each must be recovered from a crash at any effect, and from a second one in the recovery. The
 * phase has these routers.
 */
export const crashTests = (works: readonly Work[], routers: ClusterRouters = {}): void => {
  let starts: Starts;
  beforeAll(async () => {
    starts = await makeStarts(['orders'], routers);
  });
  describe.each(works)('$name', (work) => {
    test('a crash at any effect is recovered from', { timeout: HOUR_MS }, async () => {
      expect(await enumerateSingles(work, starts)).toEqual([]);
    });

    test('so is a second crash at any effect of the recovery', { timeout: HOUR_MS }, async () => {
      expect(await enumeratePairs(work, starts)).toEqual([]);
    });
  });
};

/** Enumerates the single crashes of a work; one in eleven of them unless all are asked for. Returns what they broke. */
const enumerateSingles = async (work: Work, starts: Starts): Promise<readonly string[]> => {
  const effects = await countEffects(work, starts);
  const cases = singlesOf(work, effects).filter((_, i) => isAll || i % 11 === 0);
  return await enumerate(`${work.name}: singles at ${effects} effects`, cases, starts);
};

/** Enumerates pairs of crashes; one in 97 of them unless all are asked for. Returns what they broke. */
const enumeratePairs = async (work: Work, starts: Starts): Promise<readonly string[]> =>
  await enumerate(
    `${work.name}: pairs`,
    pairsOf(work, starts, (n) => isAll || n % 97 === 0),
    starts,
  );

const enumerate = async (
  name: string,
  cases: Iterable<Case> | AsyncIterable<Case>,
  starts: Starts,
): Promise<readonly string[]> => {
  const broken: string[] = [];
  const begun = process.cpuUsage();
  let count = 0;
  for await (const one of cases) {
    const said = await judgeCase(one, starts);
    if (said !== null) broken.push(said);
    count += 1;
  }
  const { user, system } = process.cpuUsage(begun);
  console.log(
    `crash enumeration, ${name}: ${count} cases, ${((user + system) / 1000 / Math.max(1, count)).toFixed(1)} ms each`,
  );
  return broken.slice(0, 10);
};

const unstruck = ({ work, strikes, recovery }: Case, struck: readonly string[]): string => {
  const { index, moment } = strikes[struck.length] as Strike;
  const after = struck.length === 0 ? '' : `, struck ${struck.join(', then ')}`;
  return `${work.name}${after}: never came ${moment} effect ${index}, recovery by ${recovery}`;
};

/** What a case broke, as a line; null when it broke nothing. */
export const judgeCase = async (one: Case, starts: Starts): Promise<string | null> => {
  const { violations, struck } = await live(SEED, lifeOf(one), starts);
  // A crash that did not come was not survived.
  if (violations.length === 0 && struck.length < one.strikes.length) return unstruck(one, struck);
  if (violations.length === 0) return null;
  const what = violations.map(({ id, text }) => `${id} ${text}`).join('; ');
  return `${one.work.name}, struck ${struck.join(', then ')}, recovery by ${one.recovery}: ${what}`;
};
