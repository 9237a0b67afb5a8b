import { defineConfig } from 'vitest/config';

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
  },
});
