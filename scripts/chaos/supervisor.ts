import { join } from 'node:path';
import type { Event } from '../../src/domain/event.ts';
import { monotonicMs, sleep } from '../../src/platform/clock.ts';
import { type Place, WorkerProcess } from './program.ts';
import { count, type RunRecord } from './record.ts';
import type { Stage } from './stage.ts';

const RESTART_AFTER_MS = 500;

/** What the supervisor keeps running, and where. */
export interface SupervisorOptions {
  readonly stage: Stage;
  readonly place: Place;
  readonly record: RunRecord;
}

/** The service manager: keeps one worker running, starts it again when it has ended, and hears what it tells. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #listeners = new Set<(event: Event) => void>();
  #worker: WorkerProcess | undefined;
  /** Earlier ones that sleep or are on their way out. */
  readonly #former = new Set<WorkerProcess>();
  #isOn = false;
  #loop: Promise<void> = Promise.resolve();
  #isServing = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** The newest worker; undefined before the first. */
  get worker(): WorkerProcess | undefined {
    return this.#worker;
  }

  /** Whether the newest worker runs and has come as far as following a lane. */
  get isServing(): boolean {
    return this.#worker?.isRunning === true && this.#isServing;
  }

  /** Begins to keep a worker running. */
  turnOn(): void {
    if (this.#isOn) return;
    this.#isOn = true;
    this.#loop = this.#keep();
  }

  /** Starts no worker any more; the one that runs goes on. */
  async turnOff(): Promise<void> {
    this.#isOn = false;
    await this.#loop;
  }

  /** Sets the worker aside, asleep or not, so that the next one is started beside it. */
  replace(): WorkerProcess | undefined {
    const former = this.#worker;
    if (former?.isRunning) this.#former.add(former);
    this.#worker = undefined;
    return former;
  }

  /** Calls the listener with every event of every worker until the returned function is called. */
  listen(listener: (event: Event) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Ends every worker as Ctrl-C does, and by force when that takes long. */
  async stop(): Promise<void> {
    await this.turnOff();
    const workers = [this.#worker, ...this.#former].filter((worker) => worker !== undefined);
    for (const worker of workers) {
      worker.signal('SIGCONT');
      worker.signal('SIGINT');
    }
    const late = setTimeout(() => {
      for (const worker of workers) worker.signal('SIGKILL');
    }, 15_000);
    await Promise.all(workers.map((worker) => worker.ended()));
    clearTimeout(late);
  }

  async #keep(): Promise<void> {
    while (this.#isOn) {
      if (this.#worker?.isRunning !== true) {
        this.#start();
        await sleep(RESTART_AFTER_MS);
      }
      await sleep(50);
    }
  }

  #start(): void {
    const { stage, place, record } = this.#options;
    this.#isServing = false;
    const worker = new WorkerProcess(stage, {
      place,
      log: join(stage.directory, `worker-${Math.round(monotonicMs())}.log`),
      onEvent: (event) => {
        if (event.type === 'lag' && worker === this.#worker) this.#isServing = true;
        for (const listener of [...this.#listeners]) listener(event);
      },
    });
    this.#worker = worker;
    void worker.ended().then((exitCode) => {
      count(record.workerExits, String(exitCode));
      this.#former.delete(worker);
    });
  }
}
