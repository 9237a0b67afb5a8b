import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { displayName, type TableName } from '../../domain/table.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { claimProgress } from '../../platform/postgres/claim.ts';
import type { DrainOptions } from '../../platform/postgres/drain.ts';
import type { LaneRun, LaneRunOptions } from '../../platform/postgres/lane-runs.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import { MarkerWriter } from '../../platform/postgres/marker.ts';
import type { FollowOptions, LaneProgress } from '../engine.ts';
import type { Applier } from './apply.ts';
import { BatchApplier } from './apply-batches.ts';
import { type LaneArchiving, openArchiving } from './archive/lane.ts';
import type { ArchiveLimits } from './archive/writer.ts';
import { type LaneContext, SHARED_MARKER } from './context.ts';
import { type ReaderOptions, SlotReader } from './reader.ts';
import { getReady, type ReadyLanes } from './ready.ts';
import { evictReader, inspectSlot } from './slot.ts';
import { SpoolPlace } from './spool.ts';

/** A session of ours that broke may still stream from the slot; after this long it is ended, after the second we give up. */
const EVICT_AFTER_MS = 3_000;
const READABLE_WITHIN_MS = 30_000;
const RETRY_MS = 200;

const NOWHERE: LaneProgress = { position: '0/0' as Position, strictFrom: null, marker: 0n };

/** What {@link Follower} tells its lane. */
export interface FollowerOptions extends FollowOptions, LaneRunOptions {
  /** See {@link SlotReader}. */
  readonly place: SpoolPlace;
  /** What was got ready when the slot was made; null where nothing is. */
  readonly ready: ReadyLanes | null;
  readonly archiveLimits: ArchiveLimits;
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
  #archiving: LaneArchiving | null = null;

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
      const batches = await this.#open();
      for (;;) await batches.next(this.#signal, (progress) => this.#committed(progress));
    } catch (error) {
      this.#markers.reject(error);
      if (this.#options.signal.aborted && !isKind(error, 'halted')) return;
      if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
      throw this.#explain(error);
    } finally {
      const closing = this.#opening?.then((markers) => markers.close()).catch(() => undefined);
      // It is in no transaction any more; dropping its stages takes the server some milliseconds, and clients may be waiting.
      if (this.#applier !== undefined) this.#options.onGoodbye(this.#applier.close());
      // The origin may forget what this makes durable, and is told so by the reader's last status.
      await this.#archiving?.writer.end();
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

  /** Waits until everything before a position is archived, where the lane is; see {@link ArchiveWriter.reach}. */
  async archived(position: Position, options: DrainOptions): Promise<void> {
    await this.#archiving?.writer.reach(position, options);
  }

  async #open(): Promise<BatchApplier> {
    const { spec, from, to } = this.#context;
    const { applier, written } = this.#options.ready?.take(spec.slot) ?? (await getReady(this.#context));
    this.#applier = applier;
    this.#progress = await claimProgress(this.#context, this.#applier.client, this.#signal);
    this.#options.onProgress(this.#progress, this.#arrived);
    this.#opening = this.#openMarkers();
    this.#opening.catch(() => undefined);
    const marker = displayName(this.#marker);
    const tables = { tables: new Map(spec.tables.map((t) => [displayName(t), t])), written, marker, side: to.label };
    await this.#openArchive();
    const startMs = monotonicMs();
    for (;;) {
      await inspectSlot(from, spec.slot, async () => this.#progress.position);
      const { lane, publication, slot } = spec;
      const { position: applied } = this.#progress;
      const { place } = this.#options;
      const archive = this.#archiveOfReader();
      const names = { lane, publication, slot };
      const reader = new SlotReader({ ...names, server: from, from: this.#durable(), applied, tables, place, archive });
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
    const { observer } = this.#options;
    const source = this.#reader;
    return new BatchApplier({
      applier,
      store: spec.store,
      label: to.label,
      source,
      observer,
      progress: this.#progress,
    });
  }

  async #openArchive(): Promise<void> {
    const { archive } = this.#context.spec;
    if (archive === undefined) return;
    const { observer, archiveLimits: limits } = this.#options;
    this.#archiving = await openArchiving(this.#context, {
      archive,
      progress: this.#progress,
      limits,
      // Its own: what does not fit there says nothing of what is streamed.
      place: new SpoolPlace(this.#options.place.directory),
      onDurable: () => this.#reader?.confirm(this.#durable()),
      onRoom: () => this.#reader?.room(),
      onFailure: (error) => this.#stop.abort(error),
      onPaced: (text) => observer.paced?.(text),
    });
  }

  #archiveOfReader(): ReaderOptions['archive'] {
    if (this.#archiving === null) return undefined;
    const { tap, writer } = this.#archiving;
    return {
      tap,
      get isFull() {
        return writer.isFull;
      },
    };
  }

  /** Everything before this is applied, and archived where the lane is: the origin may forget it (S6). */
  #durable(): Position {
    const { position } = this.#progress;
    if (this.#archiving === null) return position;
    const archived = Lsn.format(this.#archiving.writer.durable);
    return Lsn.reached(position, archived) ? archived : position;
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
    this.#reader?.confirm(this.#durable());
    this.#options.onProgress(progress, this.#arrived);
  }

  #explain(error: unknown): unknown {
    // An unknown outcome of COMMIT needs no care here: the next run begins with the progress that is stored.
    if (isKind(error, 'unknown')) return new SwitchbackError('unreachable', error.message, { cause: error });
    return this.#context.to.wrap(error);
  }
}
