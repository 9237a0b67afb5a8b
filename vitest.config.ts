import { defineConfig } from 'vitest/config';

// Scenario tests start real servers, so they run a file at a time on a small machine; unit tests share the same run.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    pool: 'forks',
  },
});
