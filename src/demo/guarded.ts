import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { monotonicMs, sleep } from '../platform/clock.ts';
import type { RunAs } from './binaries.ts';

/** How a server is started. */
export interface GuardedOptions {
  /** The program and its arguments. */
  readonly argv: readonly string[];
  /** Path of a file for all that it prints; made anew. */
  readonly log: string;
  readonly cwd?: string;
  readonly environment?: NodeJS.ProcessEnv;
  readonly runAs?: RunAs;
}

/**
 * The shell tells the server's number, and ends the server when its own input ends, which is also when we are killed. A
 * server that was stopped is woken first.
 */
const SCRIPT =
  'log=$1; shift; "$@" >"$log" 2>&1 & echo $!; cat >/dev/null; kill -CONT $!; kill -KILL $!; wait $! 2>/dev/null';
const READY_WITHIN_MS = 30_000;
const STEP_MS = 25;

/** A server of this machine that ends by SIGKILL when we end, in whatever way. */
export class GuardedProcess {
  /** Of the server itself. */
  readonly pid: number;
  readonly #shell: ChildProcess;
  readonly #log: string;

  private constructor(shell: ChildProcess, pid: number, log: string) {
    this.#shell = shell;
    this.pid = pid;
    this.#log = log;
  }

  /** Resolves when it runs, before it answers. */
  static async start({ argv, log, cwd, environment, runAs = {} }: GuardedOptions): Promise<GuardedProcess> {
    const shell = spawn('/bin/sh', ['-c', SCRIPT, 'sh', log, ...argv], {
      ...runAs,
      ...(cwd === undefined ? {} : { cwd }),
      ...(environment === undefined ? {} : { env: environment }),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [pid] = await once(shell.stdout, 'data');
    return new GuardedProcess(shell, Number(String(pid)), log);
  }

  /** What it has printed so far. */
  said(): string {
    return readFileSync(this.#log, 'utf8');
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** Asks until there is an answer. When none comes in time it is ended, and the error says what it has printed. */
  async untilReady(ask: () => Promise<unknown>): Promise<void> {
    const begun = monotonicMs();
    for (;;) {
      try {
        await ask();
        return;
      } catch (error) {
        if (monotonicMs() - begun > READY_WITHIN_MS) {
          await this.stop();
          throw new Error(`no server: ${this.said()}`, { cause: error });
        }
        await sleep(STEP_MS);
      }
    }
  }

  /** Ends it, if it has not ended. */
  async stop(): Promise<void> {
    if (this.#shell.exitCode !== null || this.#shell.signalCode !== null) return;
    const ended = once(this.#shell, 'exit');
    this.#shell.stdin?.end();
    await ended;
  }
}
