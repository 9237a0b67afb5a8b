import type { Position } from '../../domain/position.ts';
import type { DrainOptions } from '../../platform/postgres/drain.ts';
import { LaneRuns } from '../../platform/postgres/lane-runs.ts';
import type { FollowOptions, Lane, LaneProgress } from '../engine.ts';
import type { NativeContext } from './context.ts';
import { NativeFollower } from './follow.ts';
import { dissolve, leave } from './subscription.ts';

/** The lane of the native engine; see {@link Lane}. `inner` is the stream engine's lane of the same spec. */
export class NativeLane implements Lane {
  readonly #context: NativeContext;
  readonly #inner: Lane;
  readonly #runs: LaneRuns;

  constructor(context: NativeContext, inner: Lane) {
    this.#context = context;
    this.#inner = inner;
    this.#runs = new LaneRuns(context.spec);
  }

  async copy(options: FollowOptions): Promise<void> {
    await this.#inner.copy(options);
  }

  async follow({ signal, observer }: FollowOptions): Promise<void> {
    const own = { observer, inner: this.#inner, isAwaited: () => this.#runs.isAwaited };
    await this.#runs.follow(signal, (options) => new NativeFollower(this.#context, { ...own, ...options }));
  }

  async drainTo(position: Position, options: DrainOptions): Promise<void> {
    await this.#runs.drainTo(position, options);
  }

  async applied(): Promise<LaneProgress> {
    return await this.#runs.applied(this.#context.to);
  }

  async close(options: { readonly drop: boolean }): Promise<void> {
    await this.#runs.close();
    await (options.drop ? dissolve(this.#context) : leave(this.#context));
    await this.#inner.close(options);
  }
}
