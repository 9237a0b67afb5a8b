import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { Drain, type DrainOptions, type Reached } from '../../platform/postgres/drain.ts';
import type { FollowOptions, Lane, LaneProgress } from '../engine.ts';
import type { NativeContext } from './context.ts';
import { NativeFollower } from './follow.ts';
import { dissolve, leave } from './subscription.ts';

/** The lane of the native engine; see {@link Lane}. `inner` is the stream engine's lane of the same spec. */
export class NativeLane implements Lane {
  readonly #context: NativeContext;
  readonly #inner: Lane;
  readonly #closing = new AbortController();
  readonly #drains = new Set<Drain>();
  #follower: NativeFollower | undefined;
  #following: Promise<void> = Promise.resolve();
  #progress: LaneProgress | undefined;
  #reached: Reached | null = null;

  constructor(context: NativeContext, inner: Lane) {
    this.#context = context;
    this.#inner = inner;
  }

  async copy(options: FollowOptions): Promise<void> {
    await this.#inner.copy(options);
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
    const isAwaited = (): boolean => this.#drains.size > 0;
    this.#follower = new NativeFollower(this.#context, {
      ...options,
      signal,
      inner: this.#inner,
      onProgress,
      isAwaited,
    });
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
    await (options.drop ? dissolve(this.#context) : leave(this.#context));
    await this.#inner.close(options);
  }

  async #run(follower: NativeFollower): Promise<void> {
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
