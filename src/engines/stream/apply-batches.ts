import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import { runTransaction } from '../../platform/postgres/server.ts';
import type { LaneObserver, LaneProgress, LaneStore } from '../engine.ts';
import type { Applier, Prepared } from './apply.ts';
import type { Batch, Ending } from './queue.ts';
import { TouchedKeys } from './touched.ts';

/** Where batches come from. */
export interface BatchSource {
  /** The next batch; null when no more will come. */
  take(signal: AbortSignal): Promise<Batch | null>;
  /** The batch that `take` would hand out at once, if there is one that is full. */
  readonly next: Batch | undefined;
}

/** What {@link BatchApplier} works with. */
export interface BatchApplierOptions {
  readonly applier: Applier;
  readonly store: LaneStore;
  /** Label of the written side. */
  readonly label: string;
  readonly source: BatchSource;
  readonly observer: Pick<LaneObserver, 'applied'>;
  /** As it is stored. */
  readonly progress: LaneProgress;
}

/** A batch that was folded and encoded while the one before it was applied. */
interface Ahead {
  readonly batch: Batch;
  readonly prepared: Prepared;
  /** All of it is strict if the lane is strict from here. */
  readonly strictFrom: Position | null;
}

/** Applies batches, one per transaction on the other side, with the progress that it makes (S5). */
export class BatchApplier {
  readonly #options: BatchApplierOptions;
  #progress: LaneProgress;
  #ahead: Ahead | null = null;

  constructor(options: BatchApplierOptions) {
    this.#options = options;
    this.#progress = options.progress;
  }

  /**
   * One transaction on the other side: one batch, or all the parts of a transaction that is too large for one. Resolves with
   * false when no more will come.
   */
  async next(signal: AbortSignal, onCommitted: (progress: LaneProgress) => void): Promise<boolean> {
    const { applier, store, label, source, observer } = this.#options;
    const first = await source.take(signal);
    if (first === null) return false;
    let batch = first;
    const touched = new TouchedKeys();
    let changes = 0;
    const progress = await runTransaction(applier.client, label, async (sql) => {
      // The guard comes first: a newer worker's epoch refuses everything that follows (S7).
      const expected = advance(this.#progress, batch.endings);
      await store.record(sql, expected);
      let next = await this.#applyBatch(batch, this.#progress, touched);
      for (changes = batch.changes.length; batch.open !== null; changes += batch.changes.length) {
        touched.detach();
        const part = await source.take(signal);
        if (part === null) throw new SwitchbackError('unreachable', 'a transaction has no end');
        batch = part;
        next = await this.#applyBatch(batch, next, touched);
      }
      if (!isSame(expected, next)) await store.record(sql, next);
      failpoint('apply:commit');
      return next;
    }).catch((error: unknown) => {
      // They may be there all the same, and the next run begins behind them: nobody else would tell of these keys.
      if (isKind(error, 'unknown'))
        observer.applied({ position: this.#progress.position, changes: 0, touched: touched.list() });
      throw error;
    });
    failpoint('apply:committed');
    this.#progress = progress;
    onCommitted(progress);
    observer.applied({
      position: progress.position,
      changes,
      get touched() {
        return touched.list();
      },
    });
    return true;
  }

  /** Applies a batch in one or two stretches: what is before `strictFrom` idempotently, the rest strictly. */
  async #applyBatch(batch: Batch, progress: LaneProgress, touched: TouchedKeys): Promise<LaneProgress> {
    const { applier } = this.#options;
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
    const { applier, source } = this.#options;
    const batch = source.next;
    if (batch === undefined || this.#ahead?.batch === batch) return;
    const first = batch.endings[0]?.commitLsn ?? batch.open ?? 0n;
    if (!isPast(first, strictFrom)) return;
    try {
      this.#ahead = { batch, strictFrom, prepared: applier.prepare(batch.changes, 'strict') };
    } catch {
      // It fails again, and is heard, when it is this batch's turn.
    }
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
