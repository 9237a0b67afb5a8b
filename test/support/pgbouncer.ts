import { afterAll } from 'vitest';
import { serviceProblem } from '../../scripts/services/tree.ts';
import { unprivileged } from '../../src/demo/binaries.ts';
import { type Pooler, type PoolerOptions, poolerProblem, poolerVersion, startPooler } from '../../src/demo/poolers.ts';
import { describeUnless, serviceArgv } from './services.ts';

/** Makes a pooler from within a hook or a test; it is removed after the tests. */
export type MakePooler = (options: PoolerOptions) => Promise<Pooler>;

/**
 * Tests that need PgBouncers, of this distribution. Where there is none they are skipped, with a line that says so; under
 * CI=true that is a failure.
 */
export const describeWithPoolers = (name: string, tests: (makePooler: MakePooler) => void): void =>
  describeWith({ name, problem: poolerProblem(), program: undefined }, tests);

/** As `describeWithPoolers`, with the newer ones of the tree. */
export const describeWithNewPoolers = (name: string, tests: (makePooler: MakePooler) => void): void =>
  describeWith(
    { name, problem: serviceProblem('pgbouncer'), program: serviceArgv('pgbouncer', unprivileged()) },
    tests,
  );

const describeWith = (
  it: { readonly name: string; readonly problem: string | undefined; readonly program: readonly string[] | undefined },
  tests: (makePooler: MakePooler) => void,
): void => {
  const { program } = it;
  const version = it.problem === undefined ? poolerVersion(program) : 'none';
  describeUnless(it.problem, `${it.name}, PgBouncer ${version}`, () => {
    const poolers: Pooler[] = [];
    afterAll(async () => {
      await Promise.all(poolers.map((pooler) => pooler.stopAndRemove()));
    });
    tests(async (options) => {
      const pooler = await startPooler(program === undefined ? options : { ...options, program });
      poolers.push(pooler);
      return pooler;
    });
  });
};
