import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import type { LaneProgress, LaneSpec } from '../../engines/engine.ts';
import { Drain, type DrainOptions, type Reached } from './drain.ts';
import type { PostgresServer } from './server.ts';

/** One run of a lane. */
export interface LaneRun {
  /** Follows until its signal is aborted. */
  run(): Promise<void>;
  /** Writes a marker on the origin, as soon as that is reached; its number. */
  mark(): Promise<bigint>;
}

/** What a run is made with. */
export interface LaneRunOptions {
  /** Aborted by the caller of `follow`, or when the lane is closed. */
  readonly signal: AbortSignal;
  /** At the beginning and after each change, with the newest marker that has arrived in this run. */
  readonly onProgress: (progress: LaneProgress, arrived: bigint) => void;
}

/**
 * The runs of a lane, of which there is one at a time, and whoever waits for what they bring: that part of `Lane` which is the
 * same whatever brings the changes.
 */
export class LaneRuns {
  readonly #spec: LaneSpec;
  readonly #closing = new AbortController();
  readonly #drains = new Set<Drain>();
  #run: LaneRun | undefined;
  #ended: Promise<void> = Promise.resolve();
  #progress: LaneProgress | undefined;
  #reached: Reached | null = null;

  constructor(spec: LaneSpec) {
    this.#spec = spec;
  }

  /** Whether somebody waits for a marker. */
  get isAwaited(): boolean {
    return this.#drains.size > 0;
  }

  /** Makes a run and follows until the signal is aborted; kind `internal` while there is one. */
  async follow(until: AbortSignal, make: (options: LaneRunOptions) => LaneRun): Promise<void> {
    if (this.#run !== undefined) throw new SwitchbackError('internal', `lane ${this.#spec.lane} follows already`);
    const onProgress = (now: LaneProgress, marker: bigint): void => {
      this.#progress = now;
      this.#reached = { position: now.position, marker };
      for (const drain of this.#drains) drain.check(this.#reached);
    };
    this.#run = make({ signal: AbortSignal.any([until, this.#closing.signal]), onProgress });
    const following = this.#follow(this.#run);
    this.#ended = following.catch(() => undefined);
    await following;
  }

  /** See `Lane.drainTo`. */
  async drainTo(position: Position, options: DrainOptions): Promise<void> {
    const { lane } = this.#spec;
    if (this.#run === undefined) throw new SwitchbackError('busy', `lane ${lane} does not follow now`);
    const drain = new Drain(lane, position, this.#reached);
    this.#drains.add(drain);
    try {
      this.#run.mark().then(
        (seq) => drain.marked(seq),
        (error: unknown) => drain.fail(error),
      );
      await drain.wait(options);
    } finally {
      this.#drains.delete(drain);
    }
  }

  /** Progress as a run has told it last, or as it is stored on the written side; kind `internal` when there is none. */
  async applied(to: PostgresServer): Promise<LaneProgress> {
    const progress = this.#progress ?? (await this.#spec.store.progress(to));
    if (progress === null) throw new SwitchbackError('internal', `lane ${this.#spec.lane} has not been opened`);
    return progress;
  }

  /** Ends the run, and every one that would come after it. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#ended;
  }

  async #follow(run: LaneRun): Promise<void> {
    let reason: unknown = new SwitchbackError('aborted', `lane ${this.#spec.lane} has stopped following`);
    try {
      await run.run();
    } catch (error) {
      reason = error;
      throw error;
    } finally {
      this.#run = undefined;
      this.#reached = null;
      for (const drain of this.#drains) drain.fail(reason);
    }
  }
}
