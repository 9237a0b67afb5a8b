import { tmpdir } from 'node:os';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { Drain, type DrainOptions, type Reached } from '../../platform/postgres/drain.ts';
import type { FollowOptions, Lane, LaneProgress } from '../engine.ts';
import type { LaneContext } from './context.ts';
import { copyTables } from './copy.ts';
import { startKeylessCopy } from './copy-start.ts';
import { Follower } from './follow.ts';
import { dropSlot } from './slot.ts';
import { SpoolPlace } from './spool.ts';

/** The lane of the stream engine; see {@link Lane}. */
export class StreamLane implements Lane {
  readonly #context: LaneContext;
  readonly #closing = new AbortController();
  readonly #drains = new Set<Drain>();
  readonly #place = new SpoolPlace(tmpdir());
  #follower: Follower | undefined;
  #following: Promise<void> = Promise.resolve();
  #progress: LaneProgress | undefined;
  #reached: Reached | null = null;

  constructor(context: LaneContext) {
    this.#context = context;
  }

  async copy(options: FollowOptions): Promise<void> {
    const snapshot = await startKeylessCopy(this.#context);
    try {
      await copyTables(snapshot === null ? this.#context : { ...this.#context, snapshot }, options);
    } finally {
      await snapshot?.release();
    }
  }

  async follow(options: FollowOptions): Promise<void> {
    const { lane } = this.#context.spec;
    if (this.#follower !== undefined) throw new SwitchbackError('internal', `lane ${lane} follows already`);
    const onProgress = (now: LaneProgress, marker: bigint): void => {
      this.#progress = now;
      this.#reached = { position: now.position, marker };
      for (const drain of this.#drains) drain.check(this.#reached);
    };
    const signal = AbortSignal.any([options.signal, this.#closing.signal]);
    this.#follower = new Follower(this.#context, { ...options, signal, onProgress, place: this.#place });
    const following = this.#run(this.#follower);
    this.#following = following.catch(() => undefined);
    await following;
  }

  async drainTo(position: Position, options: DrainOptions): Promise<void> {
    const { lane } = this.#context.spec;
    if (this.#follower === undefined) throw new SwitchbackError('busy', `lane ${lane} does not follow now`);
    const drain = new Drain(lane, position, this.#reached);
    this.#drains.add(drain);
    try {
      this.#follower.mark().then(
        (seq) => drain.marked(seq),
        (error: unknown) => drain.fail(error),
      );
      await drain.wait(options);
    } finally {
      this.#drains.delete(drain);
    }
  }

  async applied(): Promise<LaneProgress> {
    const { spec, to } = this.#context;
    const progress = this.#progress ?? (await spec.store.progress(to));
    if (progress === null) throw new SwitchbackError('internal', `lane ${spec.lane} has not been opened`);
    return progress;
  }

  async close(options: { readonly drop: boolean }): Promise<void> {
    this.#closing.abort();
    await this.#following;
    if (options.drop) await dropSlot(this.#context.from, this.#context.spec.slot);
  }

  async #run(follower: Follower): Promise<void> {
    const { lane } = this.#context.spec;
    let reason: unknown = new SwitchbackError('aborted', `lane ${lane} has stopped following`);
    try {
      await follower.run();
    } catch (error) {
      reason = error;
      throw error;
    } finally {
      this.#follower = undefined;
      this.#reached = null;
      for (const drain of this.#drains) drain.fail(reason);
    }
  }
}
