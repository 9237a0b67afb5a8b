import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'vitest';
import {
  insideTree,
  SERVICES,
  type ServiceName,
  serviceProblem,
  servicesDirectory,
} from '../../scripts/services/tree.ts';
import type { RunAs } from '../../src/demo/binaries.ts';
import { GuardedProcess } from '../../src/demo/guarded.ts';

/** A server of the tree that runs for a test. */
export interface RunningService {
  /** Of the server itself. */
  readonly pid: number;
  /** What it has said so far. */
  output(): string;
  stop(): Promise<void>;
}

/** How a server of the tree is started. */
export interface ServiceOptions {
  readonly name: ServiceName;
  readonly args: readonly string[];
  /** Whom it runs as; root where nothing is said. */
  readonly runAs?: RunAs;
  readonly environment?: NodeJS.ProcessEnv;
  /** Resolves when it answers; it is tried again while it rejects. */
  ready(): Promise<unknown>;
}

/** The words by which a program of the tree is run: its arguments follow them. Files in temporary directories have the same names inside. */
export const serviceArgv = (name: ServiceName, runAs: RunAs = {}): readonly string[] => [
  ...insideTree(servicesDirectory(), runAs),
  `/${SERVICES[name]}`,
];

/** Tests that are skipped where something is missing, with a line that says so; under CI=true that is a failure. */
export const describeUnless = (missing: string | undefined, name: string, tests: () => void): void => {
  if (missing !== undefined && process.env.CI === 'true') {
    it(`${name}: what it needs is here`, () => {
      throw new Error(missing);
    });
    return;
  }
  if (missing !== undefined) process.stderr.write(`SKIPPED: ${name}: ${missing}\n`);
  describe.skipIf(missing !== undefined)(name, tests);
};

/** Tests that need programs of the tree that `npm run services` makes; where one is missing, as `describeUnless`. */
export const describeWithServices = (name: string, programs: readonly ServiceName[], tests: () => void): void =>
  describeUnless(
    programs.map(serviceProblem).find((problem) => problem !== undefined),
    name,
    tests,
  );

/** Starts a server of the tree from within a hook or a test. The caller stops it; when this process dies it ends by itself. */
export const startService = async ({
  name,
  args,
  runAs,
  environment = {},
  ready,
}: ServiceOptions): Promise<RunningService> => {
  const directory = mkdtempSync(join(tmpdir(), `switchback-${name}-`));
  const server = await GuardedProcess.start({
    argv: [...serviceArgv(name, runAs), ...args],
    log: join(directory, 'log'),
    cwd: '/',
    environment: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', ...environment },
  });
  const stop = async (): Promise<void> => {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  };
  await server.untilReady(ready).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return { pid: server.pid, output: () => server.said(), stop };
};
