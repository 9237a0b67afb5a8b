import { createWriteStream, type WriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { monotonicMs } from '../../src/platform/clock.ts';

/** What is known of an operation. One that was never told is `unknown`: it may have taken effect. */
export type Outcome = 'acknowledged' | 'failed' | 'unknown';

/** What every operation has. An operation is one attempt: a client that goes on after a failure begins another one. */
export interface Told {
  /** From 1, unique in a run, rising in the order of invocations. Values that are written are made of it. */
  readonly op: number;
  readonly client: number;
  readonly outcome: Outcome;
  /** Milliseconds on one monotonic clock: right before the first statement was sent, and right after the last answer. */
  readonly invokedMs: number;
  readonly completedMs: number;
  /** SQLSTATE, a system's code or a word; empty for an acknowledged one. */
  readonly code: string;
  /**
   * For reads: the route was the same before and after. A read that was under way while its phase moved may
   * be of the side that had been left, whose fence refuses writes only; it is judged for order and not for recency.
   */
  readonly isCurrent: boolean;
}

/** Appends its own id to a list. */
export interface Append extends Told {
  readonly kind: 'append';
  readonly key: number;
}

/** Reads a whole list. */
export interface ReadList extends Told {
  readonly kind: 'read-list';
  readonly key: number;
  readonly items: readonly number[];
}

/** Moves an amount between two accounts and records it under its own id. */
export interface Transfer extends Told {
  readonly kind: 'transfer';
  readonly from: number;
  readonly to: number;
  readonly amount: number;
}

/** Reads all balances in one statement, by account from 1. */
export interface ReadBalances extends Told {
  readonly kind: 'read-balances';
  readonly balances: readonly number[];
}

/** Inserts its own id into a table that would take it twice. */
export interface Insert extends Told {
  readonly kind: 'insert';
}

/** Counts the rows of another operation's id. */
export interface Find extends Told {
  readonly kind: 'find';
  readonly id: number;
  readonly found: number;
}

/** Sets a register to its own id and to the version after `from`, if `from` is its version. */
export interface CompareAndSet extends Told {
  readonly kind: 'compare-and-set';
  readonly key: number;
  readonly from: number;
  /** Whether the version was as expected; an acknowledged one that was not has changed nothing. */
  readonly isApplied: boolean;
}

/** Reads a register; version 0 and writer 0 before the first write. */
export interface ReadRegister extends Told {
  readonly kind: 'read-register';
  readonly key: number;
  readonly version: number;
  readonly writer: number;
}

/** One operation as its client knows it. */
export type Operation = Append | ReadList | Transfer | ReadBalances | Insert | Find | CompareAndSet | ReadRegister;

/** What differs between kinds: what was meant, and what was answered. */
export type Deed = Operation extends infer Each ? (Each extends Operation ? Omit<Each, keyof Told> : never) : never;

/** An operation under way. */
export interface Pending {
  readonly op: number;
  readonly client: number;
  readonly invokedMs: number;
  /** What was meant; the answers in it are empty as yet. */
  readonly deed: Deed;
}

/** How an operation ended. */
export interface Ending {
  readonly outcome: Outcome;
  readonly code: string;
  readonly isCurrent: boolean;
  /** With the answers, for an acknowledged one. */
  readonly deed?: Deed;
}

/** What the clients were told, kept outside the databases, in memory and as lines of JSON in a file. */
export class History {
  readonly #file: WriteStream;
  readonly #done: Operation[] = [];
  readonly #pending = new Map<number, Pending>();
  #fileError: Error | undefined;
  #next = 1;

  constructor(path: string) {
    this.#file = createWriteStream(path, { flags: 'a' });
    this.#file.on('error', (error) => {
      this.#fileError = error;
    });
  }

  /** The id that the next operation gets; its caller begins it in the same turn of the event loop. */
  get nextOp(): number {
    return this.#next;
  }

  /** Records that a client is about to do something. */
  begin(client: number, deed: Deed): Pending {
    const pending = { op: this.#next++, client, invokedMs: monotonicMs(), deed };
    this.#pending.set(pending.op, pending);
    return pending;
  }

  /** Records how it ended. */
  end(pending: Pending, ending: Ending): void {
    this.#pending.delete(pending.op);
    this.#add(pending, ending);
  }

  /** Everything that was begun; what never ended is unknown. Call it when no client is running. */
  operations(): readonly Operation[] {
    for (const pending of [...this.#pending.values()]) {
      this.end(pending, { outcome: 'unknown', code: 'pending', isCurrent: false });
    }
    return this.#done;
  }

  /** How many have ended so far. */
  get size(): number {
    return this.#done.length;
  }

  /** Flushes the file. Throws what writing it met: a history that is not whole proves nothing. */
  async close(): Promise<void> {
    if (this.#fileError !== undefined) throw this.#fileError;
    if (this.#file.writableEnded) return;
    this.#file.end();
    await finished(this.#file);
  }

  #add(pending: Pending, ending: Ending): void {
    const { op, client, invokedMs } = pending;
    const { outcome, code, isCurrent } = ending;
    const told: Told = { op, client, outcome, invokedMs, completedMs: monotonicMs(), code, isCurrent };
    const operation: Operation = { ...told, ...(ending.deed ?? pending.deed) };
    this.#done.push(operation);
    this.#file.write(`${JSON.stringify(operation)}\n`);
  }
}
