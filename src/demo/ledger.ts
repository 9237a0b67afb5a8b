import { createWriteStream, type WriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import type { Side } from '../domain/position.ts';
import { monotonicMs } from '../platform/clock.ts';

/** What is known of an operation: `pending` until its client learned something; an unknown one may have taken effect. */
export type Outcome = 'pending' | 'acknowledged' | 'failed' | 'unknown';

/** A write replaces a register's value and inserts a row; a read only looks at a register. */
export type OperationKind = 'write' | 'read';

/** What a client is about to do. Each client does one operation at a time. */
export interface Intent {
  readonly phase: string;
  readonly kind: OperationKind;
  readonly client: number;
  /** The register's key. */
  readonly key: number;
}

/** What the database answered to an acknowledged operation. */
export interface Answer {
  /** The register's version that a write made or a read saw; 0 is the version that nobody has written. */
  readonly version: number;
  /** The operation whose value was replaced or seen; 0 with the version that nobody has written. */
  readonly sawOp: number;
}

/** One operation as its client knows it. */
export interface Operation extends Intent, Answer {
  /** From 1, unique in a ledger, rising in the order of starts. */
  readonly op: number;
  readonly outcome: Outcome;
  /** Monotonic milliseconds: when the client wanted it, before any waiting, and when it was told; 0 while pending. */
  readonly startMs: number;
  readonly endMs: number;
}

/** An attempt that failed for certain, as an application would see it. The client may have tried again. */
export interface Refusal {
  readonly op: number;
  readonly atMs: number;
  /** SQLSTATE, a system's error code, or a word. */
  readonly code: string;
}

/** A change of a phase's route as the clients saw it. */
export interface RouteSeen {
  readonly phase: string;
  readonly primary: Side | null;
  readonly held: boolean;
  readonly atMs: number;
}

/** How many operations ended how. */
export interface LedgerCounts {
  readonly acknowledged: number;
  readonly failed: number;
  readonly unknown: number;
  readonly pending: number;
  /** Attempts that failed, by code. */
  readonly refusals: Readonly<Record<string, number>>;
}

/** Where to keep it besides memory, and the clock, which only tests replace. */
export interface LedgerOptions {
  /** Each finished operation is appended to this file as a line of JSON, as evidence for people. */
  readonly file?: string;
  readonly now?: () => number;
}

const OUTCOMES = ['pending', 'acknowledged', 'failed', 'unknown'] as const;
const FIRST_CAPACITY = 1024;

/**
 * What the clients were told, kept outside the databases. About 40 bytes an operation, in columns, so that it does not
 * disturb what it measures.
 */
export class Ledger {
  readonly #now: () => number;
  readonly #file: WriteStream | undefined;
  readonly #phases: string[] = [];
  readonly #counts = { pending: 0, acknowledged: 0, failed: 0, unknown: 0 };
  readonly #refusals: Refusal[] = [];
  readonly #refusalsByCode: Record<string, number> = {};
  readonly #routes: RouteSeen[] = [];
  #fileError: Error | undefined;
  #columns = columnsOf(FIRST_CAPACITY);
  #length = 0;

  constructor(options: LedgerOptions = {}) {
    this.#now = options.now ?? monotonicMs;
    this.#file = options.file === undefined ? undefined : createWriteStream(options.file, { flags: 'a' });
    this.#file?.on('error', (error) => {
      this.#fileError = error;
    });
  }

  /** Records that a client wants something done, and gives the operation its id. */
  begin(intent: Intent): number {
    if (this.#length === this.#columns.outcome.length) this.#columns = grown(this.#columns);
    const row = this.#length++;
    const columns = this.#columns;
    columns.phase[row] = this.#phaseIndex(intent.phase);
    columns.kind[row] = intent.kind === 'write' ? 0 : 1;
    columns.client[row] = intent.client;
    columns.key[row] = intent.key;
    columns.startMs[row] = this.#now();
    this.#counts.pending++;
    return row + 1;
  }

  /** Records an attempt that failed for certain; the operation stays pending. */
  refuse(op: number, code: string): void {
    this.#refusals.push({ op, atMs: this.#now(), code });
    this.#refusalsByCode[code] = (this.#refusalsByCode[code] ?? 0) + 1;
  }

  /** Records that the client was told that it is done. */
  acknowledge(op: number, answer: Answer): void {
    this.#columns.version[op - 1] = answer.version;
    this.#columns.sawOp[op - 1] = answer.sawOp;
    this.#finish(op, 'acknowledged');
  }

  /** Records that the client gave up after nothing but refusals: it must not have taken effect. */
  fail(op: number): void {
    this.#finish(op, 'failed');
  }

  /** Records that nobody knows whether it took effect. */
  unknown(op: number): void {
    this.#finish(op, 'unknown');
  }

  /** Records a change of a phase's route. */
  noteRoute(seen: Omit<RouteSeen, 'atMs'>): void {
    this.#routes.push({ ...seen, atMs: this.#now() });
  }

  /** How many operations were begun; their ids are 1 to this. */
  get size(): number {
    return this.#length;
  }

  get refusals(): readonly Refusal[] {
    return this.#refusals;
  }

  /** In the order in which they were seen. */
  get routes(): readonly RouteSeen[] {
    return this.#routes;
  }

  counts(): LedgerCounts {
    return { ...this.#counts, refusals: { ...this.#refusalsByCode } };
  }

  /** One operation, or undefined when no such id was given out. */
  operation(op: number): Operation | undefined {
    const row = op - 1;
    const columns = this.#columns;
    if (!Number.isInteger(row) || row < 0 || row >= this.#length) return undefined;
    return {
      op,
      phase: this.#phases[columns.phase[row] ?? 0] ?? '',
      kind: columns.kind[row] === 0 ? 'write' : 'read',
      client: columns.client[row] ?? 0,
      key: columns.key[row] ?? 0,
      version: columns.version[row] ?? 0,
      sawOp: columns.sawOp[row] ?? 0,
      outcome: OUTCOMES[columns.outcome[row] ?? 0] ?? 'pending',
      startMs: columns.startMs[row] ?? 0,
      endMs: columns.endMs[row] ?? 0,
    };
  }

  /** All operations in the order of their starts. */
  *operations(): Generator<Operation> {
    for (let op = 1; op <= this.#length; op++) {
      const operation = this.operation(op);
      if (operation !== undefined) yield operation;
    }
  }

  /** Flushes the file. Throws what writing it met. */
  async close(): Promise<void> {
    if (this.#file !== undefined && this.#fileError === undefined) {
      this.#file.end();
      await finished(this.#file);
    }
    if (this.#fileError !== undefined) throw this.#fileError;
  }

  #finish(op: number, outcome: Exclude<Outcome, 'pending'>): void {
    const row = op - 1;
    if (row < 0 || row >= this.#length || this.#columns.outcome[row] !== 0) {
      throw new RangeError(`operation ${op} is not pending`);
    }
    this.#columns.outcome[row] = OUTCOMES.indexOf(outcome);
    this.#columns.endMs[row] = this.#now();
    this.#counts.pending--;
    this.#counts[outcome]++;
    this.#file?.write(`${JSON.stringify(this.operation(op))}\n`);
  }

  #phaseIndex(phase: string): number {
    const known = this.#phases.indexOf(phase);
    return known >= 0 ? known : this.#phases.push(phase) - 1;
  }
}

interface Columns {
  readonly phase: Uint8Array;
  readonly kind: Uint8Array;
  readonly outcome: Uint8Array;
  readonly client: Uint16Array;
  readonly key: Uint32Array;
  readonly version: Uint32Array;
  readonly sawOp: Uint32Array;
  readonly startMs: Float64Array;
  readonly endMs: Float64Array;
}

const columnsOf = (capacity: number): Columns => ({
  phase: new Uint8Array(capacity),
  kind: new Uint8Array(capacity),
  outcome: new Uint8Array(capacity),
  client: new Uint16Array(capacity),
  key: new Uint32Array(capacity),
  version: new Uint32Array(capacity),
  sawOp: new Uint32Array(capacity),
  startMs: new Float64Array(capacity),
  endMs: new Float64Array(capacity),
});

const grown = (old: Columns): Columns => {
  const next = columnsOf(old.outcome.length * 2);
  next.phase.set(old.phase);
  next.kind.set(old.kind);
  next.outcome.set(old.outcome);
  next.client.set(old.client);
  next.key.set(old.key);
  next.version.set(old.version);
  next.sawOp.set(old.sawOp);
  next.startMs.set(old.startMs);
  next.endMs.set(old.endMs);
  return next;
};
