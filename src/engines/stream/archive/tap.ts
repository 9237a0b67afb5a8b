import { displayName } from '../../../domain/table.ts';
import type { Message, Relation, Span } from '../pgoutput.ts';

/** Where a tap puts messages. */
export interface TapSink {
  /** Names what the next messages are described in: it changes with each segment, since each can be read alone. */
  readonly segment: object;
  /** Adds a message of the transaction at hand, in parts. */
  add(parts: readonly Buffer[], changes: number): void;
  /** The transaction at hand has ended; `newestMs` is when, since 1970. */
  commit(until: bigint, newestMs: number): void;
}

const BEGIN_BYTES = 21;
const COMMIT_BYTES = 26;
const XID_BYTES = 4;
/** Types below have the same OID on every server, and are not described. */
const FIRST_USER_TYPE_ID = 10_000;
/** PostgreSQL's times are microseconds since 2000. */
const EPOCH_2000_MS = 946_684_800_000n;

/** Messages that describe a relation, and what they were last added to. */
interface Description {
  readonly messages: readonly Buffer[];
  segment: object | null;
}

/**
 * Copies the messages of whole transactions as they pass, for an archive: as protocol version 1 would have sent them, also those
 * of a transaction that came in parts before it committed, and without what is nothing of the lane's (markers). A relation is
 * described again in each segment before its first change there.
 */
export class Tap {
  readonly #sink: TapSink;
  readonly #marker: string;
  /** Everything that committed before this is archived already. */
  readonly #from: bigint;
  readonly #types = new Map<number, Buffer>();
  /** Null for the table of markers. */
  readonly #relations = new Map<number, Description | null>();
  #begin: Buffer = Buffer.alloc(0);
  #isSkipped = false;
  #isBegun = false;

  constructor({ sink, marker, from }: { readonly sink: TapSink; readonly marker: string; readonly from: bigint }) {
    this.#sink = sink;
    this.#marker = marker;
    this.#from = from;
  }

  /** Takes the message that begins a transaction, or the one that commits a transaction that has come in parts. */
  begin(span: Span, commitLsn: bigint): void {
    const message = bytesOf(span);
    this.#isSkipped = commitLsn < this.#from;
    this.#isBegun = false;
    this.#begin = message[0] === BEGIN ? Buffer.from(message) : beginOf(message);
  }

  /** Takes a message within a transaction; `isPart` when it came before the transaction committed. */
  take(message: Message, span: Span, isPart: boolean): void {
    const bytes = bytesOf(span);
    switch (message.type) {
      case 'type':
        this.#types.set(message.id, Buffer.concat(plainOf(bytes, isPart)));
        break;
      case 'relation':
        this.#describe(message.relation, Buffer.concat(plainOf(bytes, isPart)));
        break;
      case 'insert':
      case 'update':
      case 'delete':
        this.#change([message.relationId], plainOf(bytes, isPart));
        break;
      case 'truncate':
        this.#change(message.relationIds, plainOf(bytes, isPart));
        break;
      default:
    }
  }

  /** Takes the message that ends a transaction, in either form. */
  commit(span: Span, endLsn: bigint): void {
    if (this.#isSkipped) return;
    const message = bytesOf(span);
    const commit = message[0] === COMMIT ? message : commitOf(message);
    if (this.#isBegun) this.#sink.add([commit], 0);
    const sinceMs = commit.readBigInt64BE(18) / 1_000n;
    this.#sink.commit(endLsn, Number(EPOCH_2000_MS + sinceMs));
  }

  #describe(relation: Relation, own: Buffer): void {
    if (displayName(relation) === this.#marker) {
      this.#relations.set(relation.id, null);
      return;
    }
    const ids = new Set(relation.columns.map((column) => column.typeId).filter((id) => id >= FIRST_USER_TYPE_ID));
    const types = [...ids].flatMap((id) => this.#types.get(id) ?? []);
    this.#relations.set(relation.id, { messages: [...types, own], segment: null });
  }

  #change(relationIds: readonly number[], message: readonly Buffer[]): void {
    const relations = relationIds.map((id) => this.#relations.get(id));
    // That of a relation that was never described is the intake's to refuse.
    const own = relations.filter((relation) => relation !== null && relation !== undefined);
    if (this.#isSkipped || own.length === 0) return;
    if (!this.#isBegun) this.#sink.add([this.#begin], 0);
    this.#isBegun = true;
    for (const relation of own) {
      if (relation.segment === this.#sink.segment) continue;
      for (const description of relation.messages) this.#sink.add([description], 0);
      relation.segment = this.#sink.segment;
    }
    this.#sink.add(message, 1);
  }
}

const BEGIN = 0x42;
const COMMIT = 0x43;

const bytesOf = ({ bytes, start, end }: Span): Buffer => bytes.subarray(start, end);

/** A message without the number of its subtransaction. */
const plainOf = (message: Buffer, isPart: boolean): readonly Buffer[] =>
  isPart ? [message.subarray(0, 1), message.subarray(1 + XID_BYTES)] : [message];

/** `B`, the commit record's beginning, time, transaction: of a `c`, which has transaction, flags, beginning, end, time. */
const beginOf = (streamed: Buffer): Buffer => {
  const begin = Buffer.alloc(BEGIN_BYTES);
  begin[0] = BEGIN;
  streamed.copy(begin, 1, 6, 14);
  streamed.copy(begin, 9, 22, 30);
  streamed.copy(begin, 17, 1, 5);
  return begin;
};

/** `C`, flags, the commit record's beginning, its end, time: all of it follows the transaction in a `c`. */
const commitOf = (streamed: Buffer): Buffer => {
  const commit = Buffer.alloc(COMMIT_BYTES);
  commit[0] = COMMIT;
  streamed.copy(commit, 1, 5, 30);
  return commit;
};
