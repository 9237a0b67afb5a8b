import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
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
import { sleep } from '../../src/platform/clock.ts';

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

const READY_WITHIN_MS = 30_000;
const STEP_MS = 50;

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
  const log = join(directory, 'log');
  // The shell ends it when its own input ends, which is also when we are killed.
  const script = '"$@" >"$0" 2>&1 & echo $!; cat >/dev/null; kill -CONT $!; kill -KILL $!; wait $! 2>/dev/null';
  const guard = spawn('/bin/sh', ['-c', script, log, ...serviceArgv(name, runAs), ...args], {
    cwd: '/',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', ...environment },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [pid] = await once(guard.stdout, 'data');
  const output = (): string => readFileSync(log, 'utf8');
  const stop = async (): Promise<void> => {
    const ended = once(guard, 'exit');
    guard.stdin.end();
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  for (let waitedMs = 0; ; waitedMs += STEP_MS) {
    try {
      await ready();
      return { pid: Number(String(pid)), output, stop };
    } catch (error) {
      if (waitedMs > READY_WITHIN_MS) {
        const said = output();
        await stop();
        throw new Error(`${name} does not answer: ${said}`, { cause: error });
      }
      await sleep(STEP_MS);
    }
  }
};
