import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { displayName, type TableName } from '../../domain/table.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { claimProgress } from '../../platform/postgres/claim.ts';
import type { LaneRun, LaneRunOptions } from '../../platform/postgres/lane-runs.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import { MarkerWriter } from '../../platform/postgres/marker.ts';
import { runTransaction } from '../../platform/postgres/server.ts';
import type { FollowOptions, LaneProgress } from '../engine.ts';
import type { Applier, Prepared } from './apply.ts';
import { type LaneContext, SHARED_MARKER } from './context.ts';
import type { Batch, Ending } from './queue.ts';
import { SlotReader } from './reader.ts';
import { getReady, type ReadyLanes } from './ready.ts';
import { evictReader, inspectSlot } from './slot.ts';
import type { SpoolPlace } from './spool.ts';
import { TouchedKeys } from './touched.ts';

/** A session of ours that broke may still stream from the slot; after this long it is ended, after the second we give up. */
const EVICT_AFTER_MS = 3_000;
const READABLE_WITHIN_MS = 30_000;
const RETRY_MS = 200;

const NOWHERE: LaneProgress = { position: '0/0' as Position, strictFrom: null, marker: 0n };

/** A batch that was folded and encoded while the one before it was applied. */
interface Ahead {
  readonly batch: Batch;
  readonly prepared: Prepared;
  /** All of it is strict if the lane is strict from here. */
  readonly strictFrom: Position | null;
}

/** What {@link Follower} tells its lane. */
export interface FollowerOptions extends FollowOptions, LaneRunOptions {
  /** See {@link SlotReader}. */
  readonly place: SpoolPlace;
  /** What was got ready when the slot was made; null where nothing is. */
  readonly ready: ReadyLanes | null;
  /** Told of the end of a session that a run does not wait for. */
  readonly onGoodbye: (goodbye: Promise<void>) => void;
}

/**
 * One run of the change path: reads the slot from the stored progress on and applies it, one batch per transaction on the
 * other side, with the progress that it makes (S5). While a batch is applied the next one comes in.
 */
export class Follower implements LaneRun {
  readonly #context: LaneContext;
  readonly #options: FollowerOptions;
  /** Aborted by the caller, or by a part of us that failed. */
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #marker: TableName;
  #progress: LaneProgress = NOWHERE;
  #applier: Applier | undefined;
  #reader: SlotReader | undefined;
  /** At work on its session while the slot is not read yet. */
  #opening: Promise<MarkerWriter> | undefined;
  /** Whether there are markers that may be older than whoever asks for one now. */
  #isMarking = false;
  readonly #markers = Promise.withResolvers<MarkerWriter>();
  #arrived = 0n;
  #ahead: Ahead | null = null;

  constructor(context: LaneContext, options: FollowerOptions) {
    this.#context = context;
    this.#marker = context.marker ?? SHARED_MARKER;
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
  }

  /** Follows until the signal is aborted. Rejects with kind `halted`, `unreachable`, `busy` or `deposed`. */
  async run(): Promise<void> {
    // Whoever waits for it hears why; at the end nobody may.
    this.#markers.promise.catch(() => undefined);
    try {
      await this.#open();
      for (;;) await this.#applyNext();
    } catch (error) {
      this.#markers.reject(error);
      if (this.#options.signal.aborted && !isKind(error, 'halted')) return;
      if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
      throw this.#explain(error);
    } finally {
      const closing = this.#opening?.then((markers) => markers.close()).catch(() => undefined);
      // It is in no transaction any more; dropping its stages takes the server some milliseconds, and clients may be waiting.
      if (this.#applier !== undefined) this.#options.onGoodbye(this.#applier.close());
      await Promise.all([this.#reader?.stop(), closing]);
    }
  }

  async mark(): Promise<bigint> {
    try {
      // The first one is written after now then, and a second would only come later.
      const isFirst = !this.#isMarking;
      const markers = await this.#markers.promise;
      return await (isFirst ? markers.first : markers.write());
    } catch (error) {
      if (!this.#options.signal.aborted) throw this.#context.from.wrap(error);
      throw new SwitchbackError('aborted', `lane ${this.#context.spec.lane} has stopped following`);
    }
  }

  async #open(): Promise<void> {
    const { spec, from, to } = this.#context;
    const { applier, written } = this.#options.ready?.take(spec.slot) ?? (await getReady(this.#context));
    this.#applier = applier;
    this.#progress = await claimProgress(this.#context, this.#applier.client, this.#signal);
    this.#options.onProgress(this.#progress, this.#arrived);
    this.#opening = this.#openMarkers();
    this.#opening.catch(() => undefined);
    const marker = displayName(this.#marker);
    const tables = { tables: new Map(spec.tables.map((t) => [displayName(t), t])), written, marker, side: to.label };
    const startMs = monotonicMs();
    for (;;) {
      await inspectSlot(from, spec.slot, async () => this.#progress.position);
      const { lane, publication, slot } = spec;
      const { position } = this.#progress;
      const { place } = this.#options;
      const reader = new SlotReader({ server: from, lane, publication, slot, from: position, tables, place });
      this.#reader = reader;
      try {
        await reader.start();
        break;
      } catch (error) {
        await reader.stop();
        if (!isKind(error, 'busy') || monotonicMs() - startMs > READABLE_WITHIN_MS) throw error;
      }
      if (monotonicMs() - startMs > EVICT_AFTER_MS) await evictReader(from, spec.slot);
      await sleep(RETRY_MS, this.#signal);
    }
    const markers = await this.#opening;
    this.#markers.resolve(markers);
  }

  async #openMarkers(): Promise<MarkerWriter> {
    const { spec, from } = this.#context;
    const session = await from.connect('marker');
    // In the same breath: nobody can ask for a marker between this and the first one.
    this.#isMarking = true;
    const options = {
      server: from,
      lane: spec.lane,
      table: this.#marker,
      onLag: (seconds: number) => this.#options.observer.lag(seconds),
      onFailure: (error: unknown) => this.#stop.abort(error),
    };
    return new MarkerWriter(options, session);
  }

  /** One transaction on the other side: one batch, or all the parts of a transaction that is too large for one. */
  async #applyNext(): Promise<void> {
    const { applier, reader } = this.#parts();
    const { store } = this.#context.spec;
    let batch = await reader.take(this.#signal);
    const touched = new TouchedKeys();
    let changes = 0;
    const progress = await runTransaction(applier.client, this.#context.to.label, async (sql) => {
      // The guard comes first: a newer worker's epoch refuses everything that follows (S7).
      const expected = advance(this.#progress, batch.endings);
      await store.record(sql, expected);
      let next = await this.#applyBatch(batch, this.#progress, touched);
      for (changes = batch.changes.length; batch.open !== null; changes += batch.changes.length) {
        touched.detach();
        batch = await reader.take(this.#signal);
        next = await this.#applyBatch(batch, next, touched);
      }
      if (!isSame(expected, next)) await store.record(sql, next);
      failpoint('apply:commit');
      return next;
    }).catch((error: unknown) => {
      // They may be there all the same, and the next run begins behind them: nobody else would tell of these keys.
      if (isKind(error, 'unknown'))
        this.#options.observer.applied({ position: this.#progress.position, changes: 0, touched: touched.list() });
      throw error;
    });
    failpoint('apply:committed');
    this.#committed(progress);
    this.#options.observer.applied({
      position: progress.position,
      changes,
      get touched() {
        return touched.list();
      },
    });
  }

  /** Applies a batch in one or two stretches: what is before `strictFrom` idempotently, the rest strictly. */
  async #applyBatch(batch: Batch, progress: LaneProgress, touched: TouchedKeys): Promise<LaneProgress> {
    const { applier } = this.#parts();
    let next = progress;
    let done = 0;
    // The open transaction at the end of a batch has no ending yet.
    const stretches = [
      ...batch.endings.map((e) => ({ commitLsn: e.commitLsn, until: e.until })),
      ...(batch.open === null ? [] : [{ commitLsn: batch.open, until: batch.changes.length }]),
    ];
    for (let i = 0; i < stretches.length; ) {
      const isStrict = (at: number): boolean => isPast(stretches[at]?.commitLsn ?? 0n, next.strictFrom);
      const strict = isStrict(i);
      let last = i;
      while (last + 1 < stretches.length && isStrict(last + 1) === strict) last += 1;
      const until = stretches[last]?.until ?? done;
      const changes = done === 0 && until === batch.changes.length ? batch.changes : batch.changes.slice(done, until);
      const ahead = this.#takeAhead(batch, changes, next.strictFrom);
      const prepared = ahead ?? applier.prepare(changes, strict ? 'strict' : 'idempotent');
      const { strictFrom: from } = next;
      const strictFrom = await applier.applyPrepared(prepared, touched, () => this.#prepareAhead(from));
      if (strictFrom !== null && next.strictFrom !== null) {
        next = { ...next, strictFrom: Lsn.max(next.strictFrom, strictFrom) };
      }
      done = until;
      i = last + 1;
    }
    return advance(next, batch.endings);
  }

  #takeAhead(batch: Batch, changes: Batch['changes'], strictFrom: Position | null): Prepared | null {
    const ahead = this.#ahead;
    if (ahead?.batch !== batch) return null;
    this.#ahead = null;
    return changes === batch.changes && ahead.strictFrom === strictFrom ? ahead.prepared : null;
  }

  /**
   * Folds and encodes the next batch if it is full already, so that the server need not wait for that. Only a strict one:
   * of others a row that is read again decides how they are applied.
   */
  #prepareAhead(strictFrom: Position | null): void {
    const { applier, reader } = this.#parts();
    const batch = reader.next;
    if (batch === undefined || this.#ahead?.batch === batch) return;
    const first = batch.endings[0]?.commitLsn ?? batch.open ?? 0n;
    if (!isPast(first, strictFrom)) return;
    try {
      this.#ahead = { batch, strictFrom, prepared: applier.prepare(batch.changes, 'strict') };
    } catch {
      // It fails again, and is heard, when it is this batch's turn.
    }
  }

  #committed(progress: LaneProgress): void {
    const isMarked = progress.marker !== this.#progress.marker;
    this.#progress = progress;
    if (isMarked) {
      this.#arrived = progress.marker;
      void this.#markers.promise.then(
        (markers) => markers.arrived(progress.marker),
        () => undefined,
      );
    }
    this.#reader?.confirm(progress.position);
    this.#options.onProgress(progress, this.#arrived);
  }

  #parts(): { readonly applier: Applier; readonly reader: SlotReader } {
    if (this.#applier === undefined || this.#reader === undefined) throw new SwitchbackError('internal', 'not open');
    return { applier: this.#applier, reader: this.#reader };
  }

  #explain(error: unknown): unknown {
    // An unknown outcome of COMMIT needs no care here: the next run begins with the progress that is stored.
    if (isKind(error, 'unknown')) return new SwitchbackError('unreachable', error.message, { cause: error });
    return this.#context.to.wrap(error);
  }
}

/** Progress once these endings are durable. */
const advance = (progress: LaneProgress, endings: readonly Ending[]): LaneProgress => {
  const last = endings.at(-1);
  if (last === undefined) return progress;
  const markers = endings.flatMap((ending) => (ending.marker === null ? [] : [ending.marker]));
  return { ...progress, position: Lsn.format(last.endLsn), marker: markers.at(-1) ?? progress.marker };
};

const isSame = (a: LaneProgress, b: LaneProgress): boolean =>
  a.position === b.position && a.strictFrom === b.strictFrom && a.marker === b.marker;

const isPast = (commitLsn: bigint, strictFrom: Position | null): boolean =>
  strictFrom !== null && commitLsn >= Lsn.parse(strictFrom);
