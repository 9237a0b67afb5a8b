import type { Tap } from './archive/tap.ts';
import { Intake } from './intake.ts';
import type { LaneTables } from './lane-table.ts';
import { decode, decodeStreamed, isStreamStop, type Message, type Span } from './pgoutput.ts';
import { ChangeQueue } from './queue.ts';
import type { SpoolPlace } from './spool.ts';
import { type StreamedTransaction, StreamedTransactions } from './streamed.ts';

/** What a receiver needs and tells. */
export interface ReceiverOptions {
  readonly lane: string;
  readonly tables: LaneTables;
  readonly place: SpoolPlace;
  /** Transactions that committed before this are applied already: they came for the archive. */
  readonly applied?: bigint;
  /** What takes all of them as well, and whether the socket has to wait for it. */
  readonly archive?: { readonly tap: Tap; readonly isFull: boolean };
  /** Called when the socket may be resumed. */
  readonly onRoom: () => void;
  /** Something went wrong outside of {@link Receiver.receive}; nothing more is taken. */
  readonly onFailure: (error: unknown) => void;
}

/**
 * Takes the messages of a slot and queues the changes of transactions that have committed, in the order of their commits
 * (S5). One that is streamed before it ends waits in a file; when it commits it is read back through the same queue, and
 * what comes meanwhile waits: the socket pauses, so that is no more than what had come with the commit.
 */
export class Receiver {
  readonly queue: ChangeQueue;
  readonly #options: ReceiverOptions;
  readonly #intake: Intake;
  readonly #streamed: StreamedTransactions;
  /** While a transaction is read back: its end, what came after it, and how to go on when the queue has room. */
  #reading: Promise<void> | null = null;
  #held: Span[] = [];
  /** Whether the transaction at hand is applied already. */
  #isApplied = false;
  #wake: () => void = () => undefined;
  #isClosed = false;

  constructor(options: ReceiverOptions) {
    const { lane, tables, place, onFailure } = options;
    this.#options = options;
    this.queue = new ChangeQueue(() => this.room());
    this.#intake = new Intake({ lane, tables, queue: this.queue });
    this.#streamed = new StreamedTransactions({ place, onFailure, onRoom: () => this.room() });
  }

  /** Whether the socket has to wait. */
  get isFull(): boolean {
    return this.#reading !== null || this.queue.isFull || this.#streamed.isFull || this.#isArchiveFull;
  }

  /** Takes a message; its bytes must not be written to afterwards. Throws as {@link Intake.take} does. */
  receive(span: Span): void {
    if (this.#reading !== null) this.#held.push(span);
    else if (this.#streamed.isInSegment && !isStreamStop(span)) this.#streamed.add(bytesOf(span));
    else this.#take(decode(span), span);
  }

  /** No more will come. A transaction that is being read back has come whole, and is handed out before the failure. */
  end(failure?: unknown): void {
    this.#held = [];
    if (this.#reading === null) this.queue.end(failure);
    else void this.#reading.then(() => this.queue.end(failure));
  }

  /** Ends at once, and removes what was put down. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.queue.end();
    this.#wake();
    await this.#reading;
    await this.#streamed.close();
  }

  /** There may be room again. */
  room(): void {
    this.#wake();
    if (!this.isFull) this.#options.onRoom();
  }

  get #isArchiveFull(): boolean {
    return this.#options.archive?.isFull === true;
  }

  #take(message: Message, span: Span): void {
    switch (message.type) {
      case 'begin':
        this.#begin(message.commitLsn, span);
        break;
      case 'commit':
        this.#end(message.endLsn, span);
        break;
      case 'stream-start':
        this.#streamed.start(message.xid);
        break;
      case 'stream-stop':
        this.#streamed.stop();
        break;
      case 'stream-abort':
        this.#streamed.abort(message.xid, message.subXid);
        break;
      case 'stream-commit':
        this.#commit(message, span);
        break;
      default:
        this.#within(message, span, false);
    }
  }

  #begin(commitLsn: bigint, span: Span): void {
    const { applied, archive } = this.#options;
    this.#isApplied = applied !== undefined && commitLsn < applied;
    if (!this.#isApplied) this.queue.begin(commitLsn);
    archive?.tap.begin(span, commitLsn);
  }

  #within(message: Message, span: Span, isPart: boolean): void {
    if (this.#isApplied) this.#intake.describe(message);
    else this.#intake.take(message, span.end - span.start);
    this.#options.archive?.tap.take(message, span, isPart);
  }

  #end(endLsn: bigint, span: Span): void {
    this.#options.archive?.tap.commit(span, endLsn);
    if (!this.#isApplied) this.queue.commit(endLsn);
  }

  #commit(message: Message & { readonly type: 'stream-commit' }, span: Span): void {
    this.#begin(message.commitLsn, span);
    const transaction = this.#streamed.take(message.xid);
    if (transaction === undefined) {
      this.#end(message.endLsn, span);
      return;
    }
    this.#reading = this.#readBack(transaction, message.endLsn, span).then(
      () => this.#goOn(),
      (error: unknown) => {
        this.#reading = null;
        this.#options.onFailure(error);
      },
    );
  }

  async #readBack(transaction: StreamedTransaction, endLsn: bigint, commit: Span): Promise<void> {
    try {
      for await (const spans of transaction.blocks()) {
        for (const span of spans) this.#within(decodeStreamed(span), span, true);
        await this.#roomInQueue();
        if (this.#isClosed) return;
      }
      this.#end(endLsn, commit);
    } finally {
      await transaction.close();
    }
  }

  /** Takes what came while a transaction was read back, up to the commit of the next one that has to be. */
  #goOn(): void {
    this.#reading = null;
    const held = this.#held;
    this.#held = [];
    if (this.#isClosed) return;
    try {
      for (const span of held) this.receive(span);
    } catch (error) {
      this.#options.onFailure(error);
    }
    this.room();
  }

  async #roomInQueue(): Promise<void> {
    while ((this.queue.isFull || this.#isArchiveFull) && !this.#isClosed) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }
}

const bytesOf = ({ bytes, start, end }: Span): Buffer => bytes.subarray(start, end);
