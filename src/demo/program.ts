import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { SwitchbackError } from '../domain/errors.ts';
import type { Event } from '../domain/event.ts';
import { ROWS_PROCESS } from '../platform/heap.ts';

/** How our own command line is called as another process: the same program that runs this one. */
export interface Self {
  /** The script that Node was started with. */
  readonly script: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** What a command printed as its last JSON line, and how it ended. */
export interface Answer {
  readonly exitCode: number;
  readonly json: Readonly<Record<string, unknown>>;
}

const start = (self: Self, args: readonly string[]): ChildProcess =>
  spawn(process.execPath, [...ROWS_PROCESS.flags, self.script, ...args, '--json'], {
    env: { ...self.environment, ...ROWS_PROCESS.variables },
    stdio: ['ignore', 'pipe', 'pipe'],
  });

const endOf = async (child: ChildProcess): Promise<number> =>
  await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(signal === null ? (code ?? 1) : 128));
  });

/** Runs a command to its end. Throws kind `internal` with what it said when its exit code is not 0 and that matters. */
export const runCommand = async (
  self: Self,
  args: readonly string[],
  options: { readonly anyExitCode: boolean } = { anyExitCode: false },
): Promise<Answer> => {
  const child = start(self, args);
  let out = '';
  let err = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  const exitCode = await endOf(child);
  const last = out.trim().split('\n').at(-1) ?? '';
  if (exitCode !== 0 && !options.anyExitCode) {
    throw new SwitchbackError('internal', `switchback ${args.join(' ')} ended with ${exitCode}: ${last} ${err}`.trim());
  }
  return { exitCode, json: JSON.parse(last) as Record<string, unknown> };
};

/** The worker as another process, and what it tells. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #end: Promise<number>;
  #error = '';
  #peakBytes = 0;

  constructor(self: Self, options: { readonly plan: string; readonly onEvent: (event: Event) => void }) {
    this.#child = start(self, ['run', options.plan]);
    this.#end = endOf(this.#child);
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#error = (this.#error + chunk.toString()).slice(-4_000);
    });
    if (this.#child.stdout) {
      createInterface({ input: this.#child.stdout }).on('line', (line) => {
        this.#measure();
        if (line.startsWith('{"type"')) options.onEvent(JSON.parse(line) as Event);
        else this.#error = (this.#error + line).slice(-4_000);
      });
    }
  }

  /** Largest resident memory so far in bytes, from the kernel; 0 where it does not tell. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** Its process id, while it runs. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Ends it as a crash would, and waits until it has gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#end;
  }

  /** Rejects when the worker ends before it was told to. */
  async ended(): Promise<never> {
    const exitCode = await this.#end;
    throw new SwitchbackError('internal', `the worker ended with ${exitCode}: ${this.#error}`);
  }

  /** Ends it as Ctrl-C would. */
  async stop(): Promise<void> {
    this.#measure();
    this.#child.kill('SIGINT');
    await this.#end;
  }

  #measure(): void {
    try {
      const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
      const peak = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
      this.#peakBytes = Math.max(this.#peakBytes, peak);
    } catch {
      // Not Linux, or the process has ended: the last measurement stands.
    }
  }
}
