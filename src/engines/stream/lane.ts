import { tmpdir } from 'node:os';
import type { Position } from '../../domain/position.ts';
import { monotonicMs } from '../../platform/clock.ts';
import type { DrainOptions } from '../../platform/postgres/drain.ts';
import { LaneRuns } from '../../platform/postgres/lane-runs.ts';
import type { FollowOptions, Lane, LaneProgress } from '../engine.ts';
import type { ArchiveLimits } from './archive/writer.ts';
import type { LaneContext } from './context.ts';
import { copyTables } from './copy.ts';
import { startKeylessCopy } from './copy-start.ts';
import { Follower, type FollowerOptions } from './follow.ts';
import type { ReadyLanes } from './ready.ts';
import { dropSlot } from './slot.ts';
import { SpoolPlace } from './spool.ts';

/** What a lane has from its engine. */
export type StreamLaneOptions = Pick<FollowerOptions, 'ready' | 'archiveLimits'>;

/** The lane of the stream engine; see {@link Lane}. */
export class StreamLane implements Lane {
  readonly #context: LaneContext;
  readonly #place = new SpoolPlace(tmpdir());
  readonly #runs: LaneRuns;
  readonly #ready: ReadyLanes | null;
  readonly #archiveLimits: ArchiveLimits;
  #follower: Follower | undefined;
  /** Sessions of earlier runs that are being ended. */
  #goodbyes: Promise<unknown> = Promise.resolve();

  /** What the engine keeps ready for slots may be null. */
  constructor(context: LaneContext, { ready, archiveLimits }: StreamLaneOptions) {
    this.#context = context;
    this.#ready = ready;
    this.#archiveLimits = archiveLimits;
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
    const archiveLimits = this.#archiveLimits;
    const own = { observer, place: this.#place, ready: this.#ready, archiveLimits, onGoodbye };
    await this.#runs.follow(signal, (options) => {
      this.#follower = new Follower(this.#context, { ...own, ...options });
      return this.#follower;
    });
  }

  async drainTo(position: Position, { budgetMs, signal }: DrainOptions): Promise<void> {
    const deadlineMs = monotonicMs() + budgetMs;
    await this.#runs.drainTo(position, { budgetMs, signal });
    // What is drained is durable in the archive as well: a switch links the next lane to this end.
    await this.#follower?.archived(position, { budgetMs: Math.max(1, deadlineMs - monotonicMs()), signal });
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
