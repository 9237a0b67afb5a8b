import { tmpdir } from 'node:os';
import type { Position } from '../../domain/position.ts';
import type { DrainOptions } from '../../platform/postgres/drain.ts';
import { LaneRuns } from '../../platform/postgres/lane-runs.ts';
import type { FollowOptions, Lane, LaneProgress } from '../engine.ts';
import type { LaneContext } from './context.ts';
import { copyTables } from './copy.ts';
import { startKeylessCopy } from './copy-start.ts';
import { Follower } from './follow.ts';
import type { ReadyLanes } from './ready.ts';
import { dropSlot } from './slot.ts';
import { SpoolPlace } from './spool.ts';

/** The lane of the stream engine; see {@link Lane}. */
export class StreamLane implements Lane {
  readonly #context: LaneContext;
  readonly #place = new SpoolPlace(tmpdir());
  readonly #runs: LaneRuns;
  readonly #ready: ReadyLanes | null;
  /** Sessions of earlier runs that are being ended. */
  #goodbyes: Promise<unknown> = Promise.resolve();

  /** What the engine keeps ready for slots may be null. */
  constructor(context: LaneContext, ready: ReadyLanes | null) {
    this.#context = context;
    this.#ready = ready;
    this.#runs = new LaneRuns(context.spec);
  }

  async copy(options: FollowOptions): Promise<void> {
    const snapshot = await startKeylessCopy(this.#context);
    try {
      await copyTables(snapshot === null ? this.#context : { ...this.#context, snapshot }, options);
    } finally {
      await snapshot?.release();
    }
  }

  async follow({ signal, observer }: FollowOptions): Promise<void> {
    const onGoodbye = (goodbye: Promise<void>): void => {
      this.#goodbyes = Promise.all([this.#goodbyes, goodbye]);
    };
    const own = { observer, place: this.#place, ready: this.#ready, onGoodbye };
    await this.#runs.follow(signal, (options) => new Follower(this.#context, { ...own, ...options }));
  }

  async drainTo(position: Position, options: DrainOptions): Promise<void> {
    await this.#runs.drainTo(position, options);
  }

  async applied(): Promise<LaneProgress> {
    return await this.#runs.applied(this.#context.to);
  }

  async close(options: { readonly drop: boolean }): Promise<void> {
    await this.#runs.close();
    await this.#goodbyes;
    if (options.drop) await dropSlot(this.#context.from, this.#context.spec.slot);
  }
}
