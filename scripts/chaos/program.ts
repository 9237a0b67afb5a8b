import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Event } from '../../src/domain/event.ts';
import type { Side } from '../../src/domain/position.ts';
import { monotonicMs } from '../../src/platform/clock.ts';
import { ROWS_PROCESS } from '../../src/platform/heap.ts';
import type { Stage } from './stage.ts';

/** Where a process of the program runs, and by which ways it reaches the servers. */
export interface Place {
  readonly urls: Readonly<Record<Side, string>>;
  /** Words before the program's own, such as those that enter a network namespace. */
  readonly prefix: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** What a command printed as its last JSON line, how it ended and what it took. */
export interface Answer {
  readonly exitCode: number;
  readonly json: Readonly<Record<string, unknown>>;
  /** The last of everything it printed, for people. */
  readonly text: string;
  readonly ms: number;
  /** It did not end in the time given and was killed. */
  readonly isLate: boolean;
}

const KEPT_TEXT = 4_000;

const start = (stage: Stage, place: Place, args: readonly string[]): ChildProcess => {
  const words = [...place.prefix, process.execPath, ...ROWS_PROCESS.flags, stage.script, ...args, '--json'];
  const [program = process.execPath, ...rest] = words;
  return spawn(program, rest, {
    env: {
      ...process.env,
      ...ROWS_PROCESS.variables,
      ...ROWS_PROCESS.variables,
      ...place.environment,
      OLD_DATABASE_URL: place.urls.source,
      NEW_DATABASE_URL: place.urls.target,
    },
    // A group of its own, so that Ctrl-C in a terminal reaches us alone and we end it in order.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
};

const endOf = async (child: ChildProcess): Promise<number> =>
  await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(signal === null ? (code ?? 1) : 128));
  });

/** Every process that has not ended, so that none outlives us. */
const running = new Set<ChildProcess>();

const track = (child: ChildProcess): void => {
  running.add(child);
  child.once('close', () => running.delete(child));
  child.once('error', () => running.delete(child));
};

/** Kills whatever still runs. */
export const killAll = (): void => {
  for (const child of running) {
    child.kill('SIGCONT');
    child.kill('SIGKILL');
  }
};

/** A command of the program as a process of its own. */
export class Command {
  readonly #child: ChildProcess;
  readonly answer: Promise<Answer>;

  constructor(
    stage: Stage,
    options: { readonly place: Place; readonly args: readonly string[]; readonly withinMs: number },
  ) {
    const begun = monotonicMs();
    this.#child = start(stage, options.place, options.args);
    track(this.#child);
    let out = '';
    let all = '';
    let isLate = false;
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      all = (all + chunk.toString()).slice(-KEPT_TEXT);
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      all = (all + chunk.toString()).slice(-KEPT_TEXT);
      out += chunk.toString();
    });
    const late = setTimeout(() => {
      isLate = true;
      this.#child.kill('SIGKILL');
    }, options.withinMs);
    this.answer = endOf(this.#child).then((exitCode) => {
      clearTimeout(late);
      return { exitCode, json: lastObject(out), text: all.trim(), ms: monotonicMs() - begun, isLate };
    });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

const lastObject = (out: string): Readonly<Record<string, unknown>> => {
  for (const line of out.trim().split('\n').reverse()) {
    try {
      const value: unknown = JSON.parse(line);
      if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
    } catch {
      // A line for people; the one before it may be the answer.
    }
  }
  return {};
};

/** The worker as a process, what it tells, and the signals that it can be sent. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #log: WriteStream;
  readonly #end: Promise<number>;
  #exitCode: number | undefined;
  /** The step of a switch that was told of last; empty before the first and between switches. */
  step = '';

  constructor(
    stage: Stage,
    options: { readonly place: Place; readonly log: string; readonly onEvent: (event: Event) => void },
  ) {
    this.#log = createWriteStream(options.log, { flags: 'a' });
    this.#child = start(stage, options.place, ['run', stage.plan]);
    track(this.#child);
    this.#log.write(`--- worker ${this.#child.pid} at ${Math.round(monotonicMs())} ms\n`);
    this.#end = endOf(this.#child).then((exitCode) => {
      this.#exitCode = exitCode;
      this.#log.end(`--- worker ${this.#child.pid} ended with ${exitCode} at ${Math.round(monotonicMs())} ms\n`);
      return exitCode;
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => this.#log.write(chunk));
    if (this.#child.stdout) {
      createInterface({ input: this.#child.stdout }).on('line', (line) => {
        this.#log.write(`${Math.round(monotonicMs())} ${line}\n`);
        if (line.startsWith('{"type"')) this.#take(JSON.parse(line) as Event, options.onEvent);
      });
    }
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#exitCode === undefined;
  }

  /** Undefined while it runs. */
  get exitCode(): number | undefined {
    return this.#exitCode;
  }

  /** Resolves with the exit code when it has ended; 128 when a signal ended it. */
  async ended(): Promise<number> {
    return await this.#end;
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL' | 'SIGINT'): void {
    if (this.isRunning) this.#child.kill(signal);
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.#end;
  }

  #take(event: Event, onEvent: (event: Event) => void): void {
    if (event.type === 'step' && /^(cutover|failback)-/.test(event.scope)) this.step = event.step;
    onEvent(event);
  }
}
