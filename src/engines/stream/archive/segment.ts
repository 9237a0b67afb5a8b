import { createHash } from 'node:crypto';
import { Spool, type SpoolPlace } from '../spool.ts';
import { type Header, lineOf } from './item.ts';

/** Handed to the file in blocks of this size; a message that is larger is a block of its own. */
const BLOCK_BYTES = 256 * 2 ** 10;
/** Before each message: its length. */
export const LENGTH_BYTES = 4;

/**
 * Transactions on their way to the archive: in a temporary file, because one alone may be larger than memory. Nothing here
 * outlives a session: the slot sends again what is in no object.
 */
export class Segment {
  readonly from: bigint;
  readonly #spool: Spool;
  readonly #onWritten: (error?: unknown) => void;
  #until: bigint;
  #whole = 0;
  #transactions = 0;
  #changes = 0;
  /** Of the transaction at hand. */
  #openChanges = 0;
  #newestMs = 0;
  #block = Buffer.alloc(0);
  #start = 0;
  #end = 0;
  #bytes = 0;
  #waiting = 0;

  /** Begins at a position. `onWritten` is called when bytes have left memory, with an error of kind `busy` if they cannot. */
  constructor(from: bigint, place: SpoolPlace, onWritten: (error?: unknown) => void) {
    this.from = from;
    this.#until = from;
    this.#spool = new Spool(place);
    this.#onWritten = onWritten;
  }

  /** Everything before this is in it, or is nothing of the lane's. */
  get until(): bigint {
    return this.#until;
  }

  /** Bytes of its whole transactions. */
  get bytes(): number {
    return this.#whole;
  }

  /** Whether it ends within a transaction. */
  get isWithin(): boolean {
    return this.#bytes > this.#whole;
  }

  /** Bytes that still have to be written to the file. */
  get waiting(): number {
    return this.#waiting;
  }

  get transactions(): number {
    return this.#transactions;
  }

  /** Adds a message, in parts that follow one another; they may be written to afterwards. */
  add(parts: readonly Buffer[], changes: number): void {
    this.#openChanges += changes;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    const framed = LENGTH_BYTES + length;
    if (framed > this.#block.length - this.#end) {
      this.#handOver();
      this.#block = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, framed));
      this.#start = 0;
      this.#end = 0;
    }
    this.#end = this.#block.writeUInt32BE(length, this.#end);
    for (const part of parts) this.#end += part.copy(this.#block, this.#end);
    this.#bytes += framed;
  }

  /** The transaction at hand is whole, or had nothing of the lane's: everything before this position is here now. */
  commit(until: bigint, newestMs: number): void {
    this.#until = until;
    if (this.#bytes === this.#whole) return;
    this.#whole = this.#bytes;
    this.#changes += this.#openChanges;
    this.#openChanges = 0;
    this.#transactions += 1;
    this.#newestMs = newestMs;
  }

  /** Makes its header; what the chain says of it is the caller's to add. A transaction that is not whole is left out. */
  async header(): Promise<Pick<Header, 'transactions' | 'changes' | 'newestMs' | 'body'>> {
    this.#handOver();
    const hash = createHash('sha256');
    for await (const block of this.#blocks()) hash.update(block);
    return {
      transactions: this.#transactions,
      changes: this.#changes,
      newestMs: this.#newestMs,
      body: hash.digest('hex'),
    };
  }

  /** The object's bytes. Only after {@link Segment.header}. */
  async *object(header: Header): AsyncGenerator<Uint8Array> {
    yield Buffer.from(lineOf(header));
    yield* this.#blocks();
  }

  /** Removes the file. Never rejects. */
  async close(): Promise<void> {
    await this.#spool.close();
  }

  async *#blocks(): AsyncGenerator<Buffer> {
    for (let at = 0; at < this.#whole; at += BLOCK_BYTES) {
      yield await this.#spool.read(at, Math.min(BLOCK_BYTES, this.#whole - at));
    }
  }

  #handOver(): void {
    const bytes = this.#block.subarray(this.#start, this.#end);
    this.#start = this.#end;
    if (bytes.length === 0) return;
    this.#waiting += bytes.length;
    this.#spool.append(bytes).then(
      () => {
        this.#waiting -= bytes.length;
        this.#onWritten();
      },
      (error: unknown) => this.#onWritten(error),
    );
  }
}
