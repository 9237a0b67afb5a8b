import type { ArchivePlace } from '../../archive.ts';
import type { BatchSource } from '../apply-batches.ts';
import type { LaneTables } from '../lane-table.ts';
import type { Span } from '../pgoutput.ts';
import type { Batch } from '../queue.ts';
import { Receiver } from '../receiver.ts';
import type { SpoolPlace } from '../spool.ts';
import type { Item } from './item.ts';
import { readMessages } from './read.ts';

/** What is read, and how far. */
export interface ArchiveSourceOptions {
  readonly place: ArchivePlace;
  readonly items: readonly Item[];
  readonly tables: LaneTables;
  /** Transactions that committed before this are applied already. */
  readonly applied: bigint;
  /** The first transaction that commits here or later ends it; null reads to the end. */
  readonly stopAt: bigint | null;
  readonly spool: SpoolPlace;
  /** An object was read. Must not throw. */
  readonly onRead: () => void;
}

const BEGIN = 0x42;

/** Archived transactions as the batches that a lane would have made of them. */
export class ArchiveSource implements BatchSource {
  readonly #options: ArchiveSourceOptions;
  readonly #receiver: Receiver;
  readonly #reading: Promise<void>;
  #wake: () => void = () => undefined;
  #isClosed = false;
  #transactions = 0;

  constructor(options: ArchiveSourceOptions) {
    this.#options = options;
    const { tables, applied, spool: place } = options;
    this.#receiver = new Receiver({
      lane: '',
      tables,
      place,
      applied,
      onRoom: () => this.#wake(),
      onFailure: (error) => this.#receiver.end(error),
    });
    this.#reading = this.#read().then(
      () => this.#receiver.end(),
      (error: unknown) => this.#receiver.end(error),
    );
  }

  /** Transactions that were handed out. */
  get transactions(): number {
    return this.#transactions;
  }

  get next(): Batch | undefined {
    return this.#receiver.queue.next;
  }

  async take(signal: AbortSignal): Promise<Batch | null> {
    const batch = await this.#receiver.queue.take(signal);
    this.#transactions += batch?.endings.length ?? 0;
    return batch;
  }

  /** Stops reading. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake();
    await Promise.all([this.#reading, this.#receiver.close()]);
  }

  async #read(): Promise<void> {
    const { items, place, onRead } = this.#options;
    for (const item of items) {
      for await (const spans of readMessages(place, item)) {
        for (const span of spans) {
          if (this.#isPast(span)) return;
          this.#receiver.receive(span);
        }
        await this.#room();
        if (this.#isClosed) return;
      }
      onRead();
    }
  }

  #isPast({ bytes, start }: Span): boolean {
    const { stopAt } = this.#options;
    return stopAt !== null && bytes[start] === BEGIN && bytes.readBigUInt64BE(start + 1) >= stopAt;
  }

  async #room(): Promise<void> {
    while (this.#receiver.isFull && !this.#isClosed) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }
}
