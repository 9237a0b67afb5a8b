import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestRun } from './run.ts';

/** A command as a person sees it. */
export interface Terminal {
  readonly process: ChildProcess;
  /** Everything it has printed so far, both streams. */
  text(): string;
  /** Resolves when it has printed something that matches; rejects when it ends before. */
  says(what: RegExp): Promise<void>;
  /** Its exit code; 128 when a signal ended it. */
  readonly ended: Promise<number>;
}

/** Runs the command line without `--json`. */
export const openTerminal = (
  self: TestRun['self'],
  { args, directory }: { readonly args: readonly string[]; readonly directory: string },
): Terminal => {
  const child = spawn(process.execPath, [self.script, ...args], {
    cwd: directory,
    env: { ...self.environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  let wake = Promise.withResolvers<void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      wake.resolve();
      wake = Promise.withResolvers();
    });
  }
  let over = false;
  const ended = once(child, 'close').then(([code, signal]) => {
    over = true;
    wake.resolve();
    return signal === null ? Number(code) : 128;
  });
  return {
    process: child,
    text: () => said,
    says: async (what) => {
      while (!what.test(said)) {
        if (over) throw new Error(`it ended without saying ${what}: ${said}`);
        await wake.promise;
      }
    },
    ended,
  };
};
