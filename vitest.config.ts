import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes minutes, the longest first: begun last, one of them would run on alone. Others go by their size. */
const LONGEST = [
  'scenario/crash-points.test.ts',
  'scenario/runbook.test.ts',
  'contract/stream-lane.test.ts',
  'contract/native-lane.test.ts',
  'model/model.test.ts',
  'scenario/rebuild.test.ts',
  'scenario/from-snapshot.test.ts',
  'simulation/crashes-failback.test.ts',
  'simulation/crashes-cutover.test.ts',
  'simulation/lives-cutover.test.ts',
  'simulation/lives-others.test.ts',
] as const;

const rankOf = ({ moduleId }: TestSpecification): number => {
  const rank = LONGEST.findIndex((name) => moduleId.endsWith(`/test/${name}`));
  return rank === -1 ? LONGEST.length : rank;
};

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).toSorted((a, b) => rankOf(a) - rankOf(b));
  }
}

// Made for two cores: tests on real servers wait more than they compute, and the simulation only computes.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 3,
    // What is waited for comes, only late, where others compute on the same machine. One second is the default.
    expect: { poll: { timeout: 60_000 } },
    pool: 'forks',
    sequence: { sequencer: LongestFirst },
  },
});
