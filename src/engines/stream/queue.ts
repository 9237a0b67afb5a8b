import { after, monotonicMs, sleep } from '../../platform/clock.ts';
import type { Change } from '../../rows/change.ts';
import type { LaneTable } from './lane-table.ts';

/** A transaction of the origin that ends within a batch. */
export interface Ending {
  /** Where its commit record begins. */
  readonly commitLsn: bigint;
  /** Everything before this is complete once it is applied. */
  readonly endLsn: bigint;
  /** Number of the batch's changes up to its end. */
  readonly until: number;
  /** Sequence number of this lane's marker that it carried, if any. */
  readonly marker: bigint | null;
}

/** Changes to be applied together. */
export interface Batch {
  readonly changes: readonly Change<LaneTable>[];
  readonly endings: readonly Ending[];
  /** When the changes after the last ending are the first or a middle part of a transaction: where its commit record is. */
  readonly open: bigint | null;
}

/** A batch is closed at this many changes or bytes; a transaction that is larger is applied in parts of this size. */
const BATCH_CHANGES = 20_000;
const BATCH_BYTES = 4 * 2 ** 20;
/** The socket is paused above, and resumed below half of it. */
const QUEUED_CHANGES = 40_000;
const QUEUED_BYTES = 8 * 2 ** 20;
/** While more keeps coming a batch may wait this long to grow, at least and at most. */
const SHORT_LINGER_MS = 20;
const LONG_LINGER_MS = 200;
/** Changes per millisecond above which larger batches are worth a wait: below it a target keeps up with small ones. */
const BUSY_CHANGES_PER_MS = 25;
/** Nothing has come for this long: the stream is idle. */
const IDLE_MS = 3;
/**
 * Transactions with nothing of the lane in them wait this long for one that has: servers before 15 send the reader of every
 * slot all of them, and 24 idle lanes made 330 commits a second on the other side, for each other's markers.
 */
const FOREIGN_MS = 5_000;

/**
 * How long a batch may wait to grow, in milliseconds, after one of so many changes. A large batch folds better and costs one
 * commit, a small one arrives sooner: so the wait grows only while waiting brings many changes, and a lane that has caught
 * up with a slow stream of them lags by little more than the shortest. One that is far behind never waits: its batches are full.
 */
export const lingerMs = (lastChanges: number): number =>
  Math.min(LONG_LINGER_MS, Math.max(SHORT_LINGER_MS, lastChanges / BUSY_CHANGES_PER_MS));

/** Cuts the stream into batches of whole transactions, and says when the socket must pause. */
export class ChangeQueue {
  readonly #onRoom: () => void;
  readonly #ready: { readonly batch: Batch; readonly bytes: number }[] = [];
  #changes: Change<LaneTable>[] = [];
  #endings: Ending[] = [];
  /** Bytes and changes of what is being filled, in all and up to its last ending. */
  #bytes = 0;
  #endedBytes = 0;
  #queuedBytes = 0;
  #queuedChanges = 0;
  #commitLsn: bigint | null = null;
  #marker: bigint | null = null;
  #firstEndMs = 0;
  /** Whether what has ended holds a change or a marker of the lane. */
  #hasOwn = false;
  #received = 0;
  /** Of the batch that was handed out last. */
  #lastChanges = 0;
  #isDone = false;
  #failure: unknown;
  #wake: () => void = () => undefined;

  /** `onRoom` is called when the socket may be resumed. */
  constructor(onRoom: () => void) {
    this.#onRoom = onRoom;
  }

  /** Whether the socket has to wait. */
  get isFull(): boolean {
    return this.#queuedBytes > QUEUED_BYTES || this.#queuedChanges > QUEUED_CHANGES;
  }

  /** The batch that `take` hands out next, once it is full. */
  get next(): Batch | undefined {
    return this.#ready[0]?.batch;
  }

  begin(commitLsn: bigint): void {
    this.#received += 1;
    this.#commitLsn = commitLsn;
    this.#marker = null;
  }

  add(change: Change<LaneTable>, bytes: number): void {
    this.#received += 1;
    this.#changes.push(change);
    this.#bytes += bytes;
    this.#queuedBytes += bytes;
    this.#queuedChanges += 1;
    if (this.#isLarge()) this.#seal();
  }

  /** This lane's marker, in the transaction at hand. */
  mark(seq: bigint): void {
    this.#marker = seq;
  }

  commit(endLsn: bigint): void {
    this.#received += 1;
    if (this.#commitLsn === null) throw new RangeError('a commit without a begin');
    if (this.#endings.length === 0) this.#firstEndMs = monotonicMs();
    this.#endings.push({ commitLsn: this.#commitLsn, endLsn, until: this.#changes.length, marker: this.#marker });
    this.#hasOwn ||= this.#marker !== null || this.#changes.length > 0;
    this.#endedBytes = this.#bytes;
    this.#commitLsn = null;
    if (this.#isLarge()) this.#seal();
    this.#wake();
  }

  /** No more will come: what has ended is still handed out, then `take` throws the failure or answers null. */
  end(failure?: unknown): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#failure = failure;
    this.#wake();
  }

  /** The next batch, as soon as there is one; null after `end` without a failure. Rejects when the signal is aborted. */
  async take(signal: AbortSignal): Promise<Batch | null> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#ready.length === 0 && this.#endings.length > 0) {
        const isRipe = await this.#isRipe(signal);
        // While we waited a full batch may have been closed.
        if (isRipe && this.#ready.length === 0 && this.#endings.length > 0) this.#seal();
      }
      const next = this.#ready.shift();
      if (next !== undefined) return this.#release(next);
      if (this.#endings.length > 0) continue;
      if (this.#isDone) {
        if (this.#failure !== undefined) throw this.#failure;
        return null;
      }
      await this.#something(signal);
    }
  }

  #isLarge(): boolean {
    return this.#changes.length >= BATCH_CHANGES || this.#bytes >= BATCH_BYTES;
  }

  /** Whether the batch that is being filled should go: it has waited long enough, or nothing more is coming. */
  async #isRipe(signal: AbortSignal): Promise<boolean> {
    const received = this.#received;
    const leftMs = this.#firstEndMs + (this.#hasOwn ? lingerMs(this.#lastChanges) : FOREIGN_MS) - monotonicMs();
    if (this.#isDone || leftMs <= 0) return true;
    if (!this.#hasOwn) {
      await this.#something(signal, leftMs);
      return false;
    }
    await sleep(IDLE_MS, signal);
    return received === this.#received;
  }

  /** Hands over what has ended; without any ending, a part of the transaction at hand. */
  #seal(): void {
    const until = this.#endings.at(-1)?.until;
    const isPart = until === undefined;
    const bytes = isPart ? this.#bytes : this.#endedBytes;
    const changes = isPart ? this.#changes : this.#changes.slice(0, until);
    this.#ready.push({ batch: { changes, endings: this.#endings, open: isPart ? this.#commitLsn : null }, bytes });
    this.#changes = isPart ? [] : this.#changes.slice(until);
    this.#endings = [];
    // All of a transaction may have been handed over before its end comes, and whoever has it waits for that.
    this.#hasOwn = isPart;
    this.#bytes -= bytes;
    this.#endedBytes = 0;
    this.#wake();
  }

  #release(next: { readonly batch: Batch; readonly bytes: number }): Batch {
    this.#queuedBytes -= next.bytes;
    this.#queuedChanges -= next.batch.changes.length;
    this.#lastChanges = next.batch.changes.length;
    if (this.#queuedBytes < QUEUED_BYTES / 2 && this.#queuedChanges < QUEUED_CHANGES / 2) this.#onRoom();
    return next.batch;
  }

  async #something(signal: AbortSignal, withinMs?: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => reject(signal.reason);
    const cancel = withinMs === undefined ? undefined : after(withinMs, resolve);
    this.#wake = resolve;
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await promise;
    } finally {
      cancel?.();
      this.#wake = () => undefined;
      signal.removeEventListener('abort', onAbort);
    }
  }
}
