import type pg from 'pg';
import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { claimProgress } from '../../platform/postgres/claim.ts';
import type { LaneRun, LaneRunOptions } from '../../platform/postgres/lane-runs.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import { MarkerWriter } from '../../platform/postgres/marker.ts';
import { runTransaction } from '../../platform/postgres/server.ts';
import type { FollowOptions, Lane, LaneProgress } from '../engine.ts';
import type { NativeContext } from './context.ts';
import { assertSameHistory } from './history.ts';
import { markerTable } from './names.ts';
import { latest } from './slot.ts';
import { startSubscription } from './start.ts';
import { disableSubscription, dissolve, laneGuard, readSubscription } from './subscription.ts';
import { notesKeys, takeKeys } from './touched.ts';
import { readSeen, type Seen, Supervisor } from './watch.ts';

/** Between two looks at the written side: while nobody waits for a marker, and while somebody does. */
const LOOK_EVERY_MS = 100;
const HURRY_MS = 5;
/** The stored progress is renewed this often, also when nothing has come: it tells whether we are still the owner. */
const RECORD_EVERY_MS = 1_000;
const BEFORE_ANEW_MS = 200;
const SILENT_MS = 30_000;
/** A worker that fails where the stream engine's lane does not is begun anew so often before a person has to look. */
const MAX_EXAMINED = 3;
const SCHEMA_CHANGED = 'lane/schema-changed';
const NOWHERE: LaneProgress = { position: '0/0' as Position, strictFrom: null, marker: 0n };

/** What a follower is made from. */
export interface NativeFollowerOptions extends FollowOptions, LaneRunOptions {
  /** The stream engine's lane of the same spec, for what has to be applied idempotently. */
  readonly inner: Lane;
  /** Whether somebody waits for a marker. */
  readonly isAwaited: () => boolean;
}

/**
 * One run of a lane. Chunks of a copy were read at different times, so until the stored progress has passed `strictFrom` only an
 * idempotent apply will do, and the stream engine's lane does it. Then the written side's server takes over by a subscription
 * to the same slot, from exactly there, and we look at how it fares.
 */
export class NativeFollower implements LaneRun {
  readonly #context: NativeContext;
  readonly #options: NativeFollowerOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #markers = Promise.withResolvers<MarkerWriter>();
  #progress: LaneProgress = NOWHERE;
  #arrived = 0n;
  #client: pg.Client | undefined;
  #recordedMs = 0;
  #nap = new AbortController();

  constructor(context: NativeContext, options: NativeFollowerOptions) {
    this.#context = context;
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
  }

  /** Follows until the signal is aborted. Rejects with kind `halted`, `unreachable`, `busy`, `refused` or `deposed`. */
  async run(): Promise<void> {
    this.#markers.promise.catch(() => undefined);
    try {
      await this.#open();
      while (!isPassed(this.#progress)) await this.#stream(isPassed);
      await this.#watch();
    } catch (error) {
      this.#markers.reject(error);
      await this.#end(error);
    } finally {
      const closing = this.#markers.promise.then((markers) => markers.close()).catch(() => undefined);
      await Promise.all([closing, this.#client?.end().catch(() => undefined)]);
    }
  }

  async mark(): Promise<bigint> {
    this.#nap.abort();
    try {
      const markers = await this.#markers.promise;
      return await markers.write();
    } catch (error) {
      if (!this.#options.signal.aborted) throw this.#context.from.wrap(error);
      throw new SwitchbackError('aborted', `lane ${this.#context.spec.lane} has stopped following`);
    }
  }

  async #open(): Promise<void> {
    const { spec, from, to } = this.#context;
    this.#client = await to.connect('native', { silentMs: SILENT_MS });
    this.#advance(await claimProgress(this.#context, this.#client, this.#signal));
    await assertSameHistory(this.#context, this.#options.observer);
    const markers = await MarkerWriter.open({
      server: from,
      lane: spec.lane,
      table: markerTable(spec.publication, spec.direction),
      onLag: (seconds) => this.#options.observer.lag(seconds),
      onFailure: (error) => this.#stop.abort(error),
    });
    this.#markers.resolve(markers);
  }

  /** The stream engine's lane, until it has come far enough; it stops after the batch in hand, at a commit boundary. */
  async #stream(isEnough: (progress: LaneProgress) => boolean): Promise<void> {
    const { inner, observer } = this.#options;
    await dissolve(this.#context);
    await this.#collect();
    const handOver = new AbortController();
    const look = async (): Promise<void> => {
      const progress = await inner.applied();
      this.#advance(progress);
      if (isEnough(progress)) handOver.abort();
    };
    await inner.follow({
      signal: AbortSignal.any([this.#signal, handOver.signal]),
      observer: {
        ...observer,
        lag: () => undefined,
        applied: (applied) => {
          observer.applied(applied);
          void look();
        },
      },
    });
    this.#signal.throwIfAborted();
    this.#advance(await inner.applied());
  }

  async #watch(): Promise<void> {
    for (let examined = 0; ; ) {
      try {
        await this.#subscribe();
        const supervisor = new Supervisor(this.#context);
        for (;;) {
          const { seen, moved } = await this.#look();
          if (moved) examined = 0;
          if ((await supervisor.judge(seen, moved)) === 'failed') {
            await sleep(BEFORE_ANEW_MS, this.#signal);
            await this.#subscribe();
          }
          await this.#rest();
        }
      } catch (error) {
        if (!isExaminable(error)) throw error;
        await this.#examine();
        examined += 1;
        if (error.findings[0]?.id === SCHEMA_CHANGED || examined >= MAX_EXAMINED) throw error;
      }
    }
  }

  /**
   * A server does not say which row it cannot apply, and a change of schema is seen while changes from before it may still be on
   * their way, which need the tables as they were. The stream engine's lane applies strictly: it goes on to where the origin is
   * now, and halts before the first change that cannot be applied, with its row.
   */
  async #examine(): Promise<void> {
    const { rows } = await this.#context.from.query('SELECT pg_current_wal_insert_lsn()::text AS head');
    const head = (rows[0]?.head ?? '') as Position;
    await this.#stream(({ position }) => Lsn.reached(position, head));
  }

  async #subscribe(): Promise<void> {
    const progress = await startSubscription(this.#context, this.#progress, this.#signal);
    // A marker from before proves nothing.
    const { marker } = await readSeen(this.#executor(), this.#context);
    this.#progress = { ...progress, marker };
    this.#options.onProgress(this.#progress, this.#arrived);
  }

  async #rest(): Promise<void> {
    this.#signal.throwIfAborted();
    this.#nap = new AbortController();
    const ms = this.#options.isAwaited() ? HURRY_MS : LOOK_EVERY_MS;
    await sleep(ms, AbortSignal.any([this.#signal, this.#nap.signal])).catch(() => undefined);
    this.#signal.throwIfAborted();
  }

  /** What has arrived is stored and told, keys first; only then a drain may end by it. */
  async #look(): Promise<{ readonly seen: Seen; readonly moved: boolean }> {
    const seen = await readSeen(this.#executor(), this.#context);
    const next = {
      ...this.#progress,
      position: latest(this.#progress.position, seen.position),
      marker: seen.marker,
    };
    const moved = next.position !== this.#progress.position || next.marker !== this.#progress.marker;
    if (moved || monotonicMs() - this.#recordedMs > RECORD_EVERY_MS) await this.#record(next);
    return { seen, moved };
  }

  /** Stores how far a subscription came that has ended, and tells the keys that it left: nobody may drain before. */
  async #collect(): Promise<void> {
    const { spec, held, to } = this.#context;
    const progress = await to.transaction(async (sql) => {
      const stored = await held.progress(sql);
      if (stored === null || !(await notesKeys(sql, spec))) return null;
      await spec.store.record(sql, stored);
      this.#options.observer.applied({ position: stored.position, ...(await takeKeys(sql, spec)) });
      return stored;
    });
    if (progress === null) return;
    // What is stored of markers may be behind what was seen; a run that has not begun has seen none.
    this.#advance(this.#progress === NOWHERE ? progress : { ...progress, marker: this.#progress.marker });
  }

  async #record(next: LaneProgress): Promise<void> {
    const { spec, to } = this.#context;
    await runTransaction(this.#parts(), to.label, async (sql) => {
      await spec.store.record(sql, next);
      const taken = await takeKeys(sql, spec);
      this.#options.observer.applied({ position: next.position, ...taken });
    });
    this.#recordedMs = monotonicMs();
    this.#advance(next);
  }

  #advance(next: LaneProgress): void {
    const isMarked = next.marker !== this.#progress.marker && this.#progress !== NOWHERE;
    this.#progress = next;
    if (isMarked) {
      this.#arrived = next.marker;
      void this.#markers.promise.then(
        (markers) => markers.arrived(next.marker),
        () => undefined,
      );
    }
    this.#options.onProgress(next, this.#arrived);
  }

  /** Whatever ended the run: a subscription that nobody looks after must not go on, but for what may pass by itself. */
  async #end(error: unknown): Promise<void> {
    const { options, context } = { options: this.#options, context: this.#context };
    const isHalted = isKind(error, 'halted');
    if (isKind(error, 'deposed')) throw error;
    if (options.signal.aborted || isHalted) {
      const stopped = await this.#stopSubscription().catch((failure: unknown) => failure);
      const failure = stopped === undefined ? undefined : context.to.wrap(stopped);
      // One that goes on is not halted yet: the next run sees what this one saw, and tries to end it again.
      if (isHalted && !(failure instanceof SwitchbackError && failure.policy === 'retry')) throw error;
      if (failure !== undefined) throw failure;
      return;
    }
    if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
    if (isKind(error, 'unknown')) throw new SwitchbackError('unreachable', error.message, { cause: error });
    throw context.to.wrap(error);
  }

  /** Stops it, whoever began it, after the transaction in hand, and stores and tells what has come; the origin may be down. */
  async #stopSubscription(): Promise<undefined> {
    const { spec, held, to } = this.#context;
    if ((await readSubscription(to, spec.slot)) === null) return undefined;
    await disableSubscription(to, spec.slot, laneGuard(held));
    await this.#collect();
    return undefined;
  }

  #executor(): SqlExecutor {
    const client = this.#parts();
    return {
      async query(text, params) {
        const { rows, rowCount } = await client.query<Record<string, string | null>>(text, params ? [...params] : []);
        return { rows, rowCount: rowCount ?? 0 };
      },
    };
  }

  #parts(): pg.Client {
    if (this.#client === undefined) throw new SwitchbackError('internal', 'not open');
    return this.#client;
  }
}

/** Whether the stream engine's lane can say more of it. */
const isExaminable = (error: unknown): error is SwitchbackError =>
  isKind(error, 'halted') && [SCHEMA_CHANGED, 'lane/apply-failed'].includes(error.findings[0]?.id ?? '');

/** Whether everything up to `strictFrom` is applied, so that the next change is the first that is applied strictly. */
const isPassed = ({ position, strictFrom }: LaneProgress): boolean =>
  strictFrom !== null && Lsn.reached(position, strictFrom);
