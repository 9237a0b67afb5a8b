import { type Span, streamedXid } from './pgoutput.ts';
import { Spool, type SpoolPlace } from './spool.ts';

/** Written and read in blocks of this size; a message that is larger is a block of its own. */
const BLOCK_BYTES = 256 * 2 ** 10;
/** The socket is paused while more than this waits to be written, and resumed below half of it. */
const WAITING_BYTES = 4 * 2 ** 20;
/** Before each message: its length. */
const LENGTH_BYTES = 4;

/** Everything before an offset that a subtransaction of this number or a later one wrote is rolled back. */
interface Cut {
  readonly until: number;
  readonly xid: number;
}

/** Transaction numbers wrap around; those of one transaction are never half the circle apart. */
const isBefore = (a: number, b: number): boolean => ((a - b) | 0) < 0;

/** The messages of one transaction that is not known to commit, in the order in which they came. */
export class StreamedTransaction {
  readonly #spool: Spool;
  /** Both fields rise from one to the next. */
  readonly #cuts: Cut[] = [];

  constructor(place: SpoolPlace) {
    this.#spool = new Spool(place);
  }

  /** Puts down messages, each with its length; see {@link Spool.append}. */
  append(bytes: Buffer): Promise<void> {
    return this.#spool.append(bytes);
  }

  /**
   * Forgets a subtransaction that was rolled back, and those within it. Subtransactions nest and get their numbers in the
   * order in which they first write, an outer one before those within it. So what has come since its number was given is
   * its own or was written within it, has that number or a later one, and nothing older has: one comparison tells, where
   * a set of numbers would grow with the savepoints of a transaction. (PostgreSQL's own worker cuts off its file where the
   * subtransaction first wrote, logical/worker.c, and keeps that place for each.)
   */
  rollBack(xid: number): void {
    const until = this.#spool.bytes;
    let last = this.#cuts.at(-1);
    if (last !== undefined && last.until === until && !isBefore(xid, last.xid)) return;
    for (; last !== undefined && !isBefore(last.xid, xid); last = this.#cuts.at(-1)) this.#cuts.pop();
    this.#cuts.push({ until, xid });
  }

  /** What was not rolled back, a block at a time; the blocks are the caller's. Rejects with kind `busy`. */
  async *blocks(): AsyncGenerator<readonly Span[]> {
    let size = BLOCK_BYTES;
    for (let at = 0; at < this.#spool.bytes; ) {
      const bytes = await this.#spool.read(at, Math.min(size, this.#spool.bytes - at));
      const { spans, end } = this.#messages(bytes, at);
      size = end === 0 ? LENGTH_BYTES + bytes.readUInt32BE(0) : BLOCK_BYTES;
      at += end;
      if (spans.length > 0) yield spans;
    }
  }

  /** Ends it, and removes what it wrote. Never rejects. */
  async close(): Promise<void> {
    await this.#spool.close();
  }

  /** The whole messages in a block that begins at an offset, and where the last of them ends. */
  #messages(bytes: Buffer, offset: number): { readonly spans: readonly Span[]; readonly end: number } {
    const spans: Span[] = [];
    let cut = this.#cuts.findIndex(({ until }) => until > offset);
    let at = 0;
    while (at + LENGTH_BYTES <= bytes.length) {
      const start = at + LENGTH_BYTES;
      const end = start + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      if (offset + at >= (this.#cuts[cut]?.until ?? Number.POSITIVE_INFINITY)) cut += 1;
      const rolledBack = this.#cuts[cut];
      const xid = bytes.readUInt32BE(start + 1);
      if (rolledBack === undefined || isBefore(xid, rolledBack.xid)) spans.push({ bytes, start, end });
      at = end;
    }
    return { spans, end: at };
  }
}

/** What {@link StreamedTransactions} needs and tells. */
export interface StreamedOptions {
  readonly place: SpoolPlace;
  /** Called when the socket may be resumed. */
  readonly onRoom: () => void;
  /** A message could not be put down, kind `busy`; nothing more can be taken. */
  readonly onFailure: (error: unknown) => void;
}

/**
 * Transactions that the origin streams before they end, each put down in a temporary file until it commits, so that neither
 * side needs the memory. Segments of several may come in turn. Nothing here outlives a session: the slot sends it all again.
 */
export class StreamedTransactions {
  readonly #options: StreamedOptions;
  readonly #open = new Map<number, StreamedTransaction>();
  #current: number | null = null;
  #block = Buffer.alloc(0);
  /** Where what has not been handed over begins and ends. */
  #from = 0;
  #used = 0;
  #waiting = 0;
  #isClosed = false;

  constructor(options: StreamedOptions) {
    this.#options = options;
  }

  /** Whether the socket has to wait. */
  get isFull(): boolean {
    return this.#waiting > WAITING_BYTES;
  }

  /** Whether what comes belongs to a segment. */
  get isInSegment(): boolean {
    return this.#current !== null;
  }

  /** Begins a segment. */
  start(xid: number): void {
    this.#current = xid;
  }

  /** Takes a message of the segment. */
  add(message: Buffer): void {
    if (streamedXid(message) === null) return;
    const length = LENGTH_BYTES + message.length;
    if (length > BLOCK_BYTES) {
      this.#handOver();
      const own = Buffer.allocUnsafeSlow(length);
      message.copy(own, own.writeUInt32BE(message.length));
      this.#append(own);
      return;
    }
    if (this.#used + length > this.#block.length) {
      this.#handOver();
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
      this.#from = 0;
      this.#used = 0;
    }
    this.#used = this.#block.writeUInt32BE(message.length, this.#used);
    this.#used += message.copy(this.#block, this.#used);
  }

  /** Ends the segment. */
  stop(): void {
    this.#handOver();
    this.#current = null;
  }

  /** Forgets a subtransaction, or the whole transaction. */
  abort(xid: number, subXid: number): void {
    if (xid === subXid) void this.take(xid)?.close();
    else this.#open.get(xid)?.rollBack(subXid);
  }

  /** Gives a transaction that has committed to the caller, who closes it; undefined when it had no changes for us. */
  take(xid: number): StreamedTransaction | undefined {
    const transaction = this.#open.get(xid);
    this.#open.delete(xid);
    return transaction;
  }

  /** Removes everything. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#open.values()].map((transaction) => transaction.close()));
    this.#open.clear();
  }

  #handOver(): void {
    if (this.#used > this.#from) this.#append(this.#block.subarray(this.#from, this.#used));
    this.#from = this.#used;
  }

  #append(bytes: Buffer): void {
    if (this.#current === null) throw new RangeError('a streamed change outside of a segment');
    let transaction = this.#open.get(this.#current);
    if (transaction === undefined) {
      transaction = new StreamedTransaction(this.#options.place);
      this.#open.set(this.#current, transaction);
    }
    this.#waiting += bytes.length;
    transaction.append(bytes).then(
      () => this.#written(bytes.length),
      (error: unknown) => {
        if (!this.#isClosed) this.#options.onFailure(error);
      },
    );
  }

  #written(bytes: number): void {
    this.#waiting -= bytes;
    if (this.#waiting < WAITING_BYTES / 2) this.#options.onRoom();
  }
}
