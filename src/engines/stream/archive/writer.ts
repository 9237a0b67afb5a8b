import { isKind, messageOf, SwitchbackError } from '../../../domain/errors.ts';
import type { Direction, Position } from '../../../domain/position.ts';
import { after, monotonicMs, sleep } from '../../../platform/clock.ts';
import { failpoint } from '../../../platform/failpoint.ts';
import { Lsn } from '../../../platform/postgres/lsn.ts';
import type { LaneArchive } from '../../engine.ts';
import type { SpoolPlace } from '../spool.ts';
import { type Header, type Item, itemOf } from './item.ts';
import { putItem } from './open.ts';
import { Segment } from './segment.ts';
import type { TapSink } from './tap.ts';

/** When a segment is closed. */
export interface ArchiveLimits {
  /** At so many bytes of messages. */
  readonly bytes: number;
  /** So long after the first transaction in it began to wait. */
  readonly ageMs: number;
  /** So long after it was begun, with no transaction in it: only so that the slot moves on. */
  readonly idleMs: number;
}

/** Half a minute of changes is what a lost origin costs besides; an idle lane writes one object every five minutes. */
export const ARCHIVE_LIMITS: ArchiveLimits = { bytes: 16 * 2 ** 20, ageMs: 30_000, idleMs: 300_000 };

/** The socket is paused while more than this waits to be written to the temporary file. */
const WAITING_BYTES = 4 * 2 ** 20;
const RETRY_MS = [200, 500, 1_000, 2_000, 5_000] as const;
/** A lane that stops waits so long for what is under way; what is not durable then is sent again. */
const LAST_MS = 5_000;

/** What a writer needs and tells. */
export interface ArchiveWriterOptions {
  readonly archive: LaneArchive;
  readonly direction: Direction;
  /** The newest object of the chain, which this lane goes on from. */
  readonly tail: Item;
  readonly limits: ArchiveLimits;
  readonly place: SpoolPlace;
  /** More is durable. */
  readonly onDurable: () => void;
  /** The socket may be resumed. */
  readonly onRoom: () => void;
  /** Something keeps it from taking more for good, kind `busy`. */
  readonly onFailure: (error: unknown) => void;
  /** It waits, and why; or goes on. */
  readonly onPaced: (text: string) => void;
}

/**
 * Writes the transactions of one run of a lane to the archive, a segment at a time: while one is stored the next one fills. What
 * cannot be stored is tried again until it can, and the socket is paused meanwhile: a slot that grows is seen, a hole is not.
 */
export class ArchiveWriter implements TapSink {
  readonly #options: ArchiveWriterOptions;
  readonly #stop = new AbortController();
  #tail: Item;
  #segment: Segment;
  #storing: Promise<void> | null = null;
  #isDue = false;
  /** What was told of why it waits; null while it does not. */
  #failing: string | null = null;
  /** Nothing more is taken: what the segment in hand has of a transaction that is not whole is left out. */
  #isLast = false;
  #isEnded = false;
  /** A segment is lost, so nothing that comes after it may be stored: the slot would be confirmed past a gap (S6). */
  #isBroken = false;
  #cancel: () => void = () => undefined;
  readonly #waiters = new Set<() => void>();

  constructor(options: ArchiveWriterOptions) {
    this.#options = options;
    this.#tail = options.tail;
    this.#segment = this.#begin(options.tail.until);
  }

  /** Everything before this is durable in the archive. */
  get durable(): bigint {
    return this.#tail.until;
  }

  /** Whether the socket has to wait. */
  get isFull(): boolean {
    const isBehind = this.#storing !== null && this.#segment.bytes >= this.#options.limits.bytes;
    return this.#failing !== null || isBehind || this.#segment.waiting > WAITING_BYTES;
  }

  get segment(): object {
    return this.#segment;
  }

  add(parts: readonly Buffer[], changes: number): void {
    if (!this.#isLast) this.#segment.add(parts, changes);
  }

  commit(until: bigint, newestMs: number): void {
    if (this.#isLast) return;
    const isFirst = this.#segment.transactions === 0;
    this.#segment.commit(until, newestMs);
    const { bytes, transactions } = this.#segment;
    if (isFirst && transactions > 0) this.#sealAfter(this.#options.limits.ageMs);
    if (this.#isDue || bytes >= this.#options.limits.bytes) this.#seal();
    this.#tell();
  }

  /** Ends the segment in hand, and resolves when everything before a position is durable. Kind `aborted` as a drain is. */
  async reach(
    position: Position,
    { budgetMs, signal }: { readonly budgetMs: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const lsn = Lsn.parse(position);
    const deadlineMs = monotonicMs() + budgetMs;
    while (this.durable < lsn) {
      signal.throwIfAborted();
      if (this.#isEnded || this.#isBroken) throw this.#stopped();
      if (monotonicMs() >= deadlineMs) throw this.#late(position);
      if (this.#segment.until >= lsn) this.#seal();
      await this.#something(deadlineMs - monotonicMs(), signal);
    }
  }

  /**
   * Stores what is whole, if that can be done soon, and ends. Clients may be waiting for that, so an object without a transaction is
   * not worth it: the next run of the lane begins where the last one ends, and reads a little again. Never rejects.
   */
  async end(): Promise<void> {
    this.#isLast = true;
    const options = { budgetMs: LAST_MS, signal: this.#stop.signal };
    const { transactions, from, until } = this.#segment;
    const last = Lsn.format(transactions === 0 ? from : until);
    if (this.#failing === null) await this.reach(last, options).catch(() => undefined);
    this.#isEnded = true;
    this.#cancel();
    this.#stop.abort();
    // What hangs is left alone: if it arrives after all, it stands beside what is written instead.
    await this.#segment.close();
    this.#tell();
  }

  #begin(from: bigint): Segment {
    const { place, limits, onFailure } = this.#options;
    this.#sealAfter(limits.idleMs);
    return new Segment(from, place, (error) => {
      if (error === undefined) this.#room();
      else if (!this.#isEnded) onFailure(error);
    });
  }

  #sealAfter(ms: number): void {
    this.#cancel();
    this.#cancel = after(ms, () => this.#seal());
  }

  /** Closes the segment in hand and stores it: after the one that is being stored, and after the transaction at hand. */
  #seal(): void {
    if (this.#isEnded || this.#isBroken) return;
    const segment = this.#segment;
    if (this.#isLast && segment.transactions === 0) return;
    this.#isDue = this.#storing !== null || (segment.isWithin && !this.#isLast);
    if (this.#isDue) return;
    this.#segment = this.#begin(segment.until);
    if (segment.until === segment.from) return;
    this.#storing = this.#store(segment).finally(() => {
      this.#storing = null;
      if (this.#isDue) this.#seal();
      this.#room();
      this.#tell();
    });
  }

  /** Never rejects. */
  async #store(segment: Segment): Promise<void> {
    try {
      const header: Header = { ...this.#headerAfter(this.#tail, segment), ...(await segment.header()) };
      const stored = await this.#put(segment, header);
      if (stored === null) return;
      this.#tail = stored;
      failpoint('archive:stored');
      this.#options.onDurable();
    } catch (error) {
      this.#isBroken = true;
      if (!this.#isEnded) this.#options.onFailure(error);
    } finally {
      await segment.close();
    }
  }

  #headerAfter(tail: Item, { from, until }: Segment): Omit<Header, 'transactions' | 'changes' | 'newestMs' | 'body'> {
    const { archive, direction } = this.#options;
    return {
      format: 1,
      kind: 'segment',
      run: archive.run,
      phase: archive.phase,
      seq: tail.seq + 1,
      epoch: String(archive.epoch()),
      direction,
      from: Lsn.format(from),
      until: Lsn.format(until),
      ended: null,
      previous: tail.hash,
    };
  }

  /** Until it is stored; null when the lane stops before. */
  async #put(segment: Segment, header: Header): Promise<Item | null> {
    const { archive, onPaced } = this.#options;
    for (let failures = 0; ; failures++) {
      try {
        failpoint('archive:store');
        const item = await putItem(archive, itemOf(header), () => segment.object(header));
        if (this.#failing !== null) onPaced(`the archive in ${archive.objects.label} takes changes again`);
        this.#failing = null;
        return item;
      } catch (error) {
        if (this.#isEnded) return null;
        if (isKind(error, 'busy')) throw error;
        const text = waitingText(archive, error);
        if (this.#failing !== text) onPaced(text);
        this.#failing = text;
        const ms = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] ?? 0;
        await sleep(ms, this.#stop.signal).catch(() => undefined);
      }
    }
  }

  #room(): void {
    if (!this.isFull && !this.#isEnded) this.#options.onRoom();
  }

  #tell(): void {
    for (const waiter of this.#waiters) waiter();
  }

  async #something(withinMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = after(withinMs, resolve);
    const onAbort = (): void => resolve();
    signal.addEventListener('abort', onAbort, { once: true });
    this.#waiters.add(resolve);
    await promise;
    this.#waiters.delete(resolve);
    signal.removeEventListener('abort', onAbort);
    cancel();
  }

  #stopped(): SwitchbackError {
    const { archive, direction } = this.#options;
    const lane = `${archive.phase}/${direction}`;
    return new SwitchbackError('busy', `lane ${lane} has stopped following`);
  }

  #late(position: Position): SwitchbackError {
    const { archive } = this.#options;
    const text = `the archive in ${archive.objects.label} did not take everything before ${position} in time; it has what is before ${Lsn.format(this.durable)}`;
    return new SwitchbackError('aborted', text, { remedy: 'see that it can be written to: switchback status PLAN' });
  }
}

const waitingText = ({ phase, objects }: LaneArchive, error: unknown): string =>
  `the archive of phase ${phase} in ${objects.label} cannot be written (${messageOf(error)}); its lane waits, and the slot keeps what is not archived`;
