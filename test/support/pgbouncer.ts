import { afterAll, describe, it } from 'vitest';
import { type Pooler, type PoolerOptions, poolerProblem, startPooler } from '../../src/demo/poolers.ts';

/** Makes a pooler from within a hook or a test; it is removed after the tests. */
export type MakePooler = (options: PoolerOptions) => Promise<Pooler>;

/**
 * Tests that need PgBouncers. Where there is none they are skipped, with a line that says so; under CI=true that is a
 * failure.
 */
export const describeWithPoolers = (name: string, tests: (makePooler: MakePooler) => void): void => {
  const missing = poolerProblem();
  const poolers: Pooler[] = [];
  const makePooler: MakePooler = async (options) => {
    const pooler = await startPooler(options);
    poolers.push(pooler);
    return pooler;
  };
  if (missing !== undefined && process.env.CI === 'true') {
    it(`${name} needs PgBouncer`, () => {
      throw new Error(missing);
    });
    return;
  }
  if (missing !== undefined) {
    process.stderr.write(`SKIPPED: no PgBouncer here, so nothing is known about its router: ${missing}\n`);
  }
  describe.skipIf(missing !== undefined)(name, () => {
    afterAll(async () => {
      await Promise.all(poolers.map((pooler) => pooler.stopAndRemove()));
    });
    tests(makePooler);
  });
};
