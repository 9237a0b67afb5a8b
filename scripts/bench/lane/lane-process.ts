import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SwitchbackError } from '../../../src/domain/errors.ts';
import type { Side } from '../../../src/domain/position.ts';
import { ROWS_PROCESS } from '../../../src/platform/heap.ts';

/** The lane that a process is to follow: every table of the source's database. */
export interface LaneOrder {
  readonly urls: Readonly<Record<Side, string>>;
  readonly slot: string;
  readonly publication: string;
  /** Where the slot starts. */
  readonly position: string;
}

/** What the process is told. */
export type LaneWord =
  | { readonly type: 'open'; readonly order: LaneOrder }
  | { readonly type: 'follow' }
  | { readonly type: 'stop' };

/** What it answers. Processor time is in seconds and since it began to follow, memory in bytes resident. */
export type LaneTold =
  | { readonly type: 'ready' }
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'stopped'; readonly cpuSeconds: number; readonly peakBytes: number };

const CHILD = fileURLToPath(new URL('lane-child.ts', import.meta.url));

/** The stream engine's lane in a process of its own, as the worker has it, so that it shares nothing with what measures it. */
export class LaneProcess {
  readonly #child: ChildProcess;
  readonly #failure = Promise.withResolvers<never>();
  readonly #ready = Promise.withResolvers<void>();
  readonly #stopped = Promise.withResolvers<LaneTold & { type: 'stopped' }>();

  /** Starts the process and opens the lane; it does not follow yet. */
  static async open(order: LaneOrder): Promise<LaneProcess> {
    const lane = new LaneProcess();
    lane.#child.send({ type: 'open', order } satisfies LaneWord);
    await Promise.race([lane.#ready.promise, lane.failed()]);
    return lane;
  }

  private constructor() {
    this.#child = fork(CHILD, {
      execArgv: [...ROWS_PROCESS.flags],
      env: { ...process.env, ...ROWS_PROCESS.variables },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#failure.promise.catch(() => undefined);
    this.#stopped.promise.catch(() => undefined);
    this.#child.on('message', (told: LaneTold) => this.#take(told));
    this.#child.on('error', (error) => this.#failure.reject(error));
    this.#child.on('exit', (code) => this.#failure.reject(failure(`its process ended with ${code}`)));
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Begins to follow. */
  follow(): void {
    this.#child.send({ type: 'follow' } satisfies LaneWord);
  }

  /** Rejects when the lane fails, or its process ends. */
  async failed(): Promise<never> {
    return await this.#failure.promise;
  }

  /** Stops following after the batch in hand, and ends the process. */
  async stop(): Promise<LaneTold & { readonly type: 'stopped' }> {
    this.#child.send({ type: 'stop' } satisfies LaneWord);
    return await Promise.race([this.#stopped.promise, this.failed()]);
  }

  /** Ends the process at once; nothing when it has ended. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #take(told: LaneTold): void {
    switch (told.type) {
      case 'ready':
        this.#ready.resolve();
        break;
      case 'failed':
        this.#failure.reject(failure(told.message));
        break;
      case 'stopped':
        this.#stopped.resolve(told);
    }
  }
}

const failure = (message: string): SwitchbackError => new SwitchbackError('internal', `the lane: ${message}`);
