import { Tuple } from '../../rows/tuple.ts';

/** A column of a relation, as the origin describes it. */
export interface RelationColumn {
  readonly name: string;
  /** Part of the replica identity. */
  readonly isIdentity: boolean;
  readonly typeId: number;
  readonly typeModifier: number;
}

/** A table as the origin describes it before its first change, and again after anything may have changed in it. */
export interface Relation {
  readonly id: number;
  /** Empty for pg_catalog. */
  readonly schema: string;
  readonly name: string;
  /** `d`efault, `i`ndex, `f`ull or `n`othing. */
  readonly identity: string;
  readonly columns: readonly RelationColumn[];
}

/** One message of pgoutput, protocol version 1 or 2. LSNs and transaction numbers are the origin's. */
export type Message =
  /** `commitLsn` is where the commit record begins. */
  | { readonly type: 'begin'; readonly commitLsn: bigint }
  /** `endLsn` is where the commit record ends: everything before it is complete. */
  | { readonly type: 'commit'; readonly endLsn: bigint }
  | { readonly type: 'relation'; readonly relation: Relation }
  /** Name of a user-defined type; of the base type when it is a domain. An empty schema is pg_catalog. */
  | { readonly type: 'type'; readonly id: number; readonly schema: string; readonly name: string }
  | { readonly type: 'insert'; readonly relationId: number; readonly after: Tuple }
  | {
      readonly type: 'update';
      readonly relationId: number;
      readonly before: Tuple | null;
      /** Whether `before` has all columns, not only the key's. */
      readonly isWhole: boolean;
      readonly after: Tuple;
    }
  | { readonly type: 'delete'; readonly relationId: number; readonly before: Tuple }
  | { readonly type: 'truncate'; readonly relationIds: readonly number[]; readonly restartIdentity: boolean }
  /** The messages up to the next stop belong to a transaction that has not ended; see {@link decodeStreamed}. */
  | { readonly type: 'stream-start'; readonly xid: number }
  | { readonly type: 'stream-stop' }
  /** As `begin` and `commit` together: all of the transaction has come in segments before. */
  | { readonly type: 'stream-commit'; readonly xid: number; readonly commitLsn: bigint; readonly endLsn: bigint }
  /** A subtransaction is rolled back, with those within it; the whole transaction when both numbers are the same. */
  | { readonly type: 'stream-abort'; readonly xid: number; readonly subXid: number }
  /** Origin and logical messages: nothing to apply. */
  | { readonly type: 'ignored' };

const STREAM_STOP = 0x45;
const ORIGIN = 0x4f;
const XID_BYTES = 4;
const NEW_TUPLE = 0x4e;
const OLD_KEY = 0x4b;
const OLD_ROW = 0x4f;
const RESTART_IDENTITY = 2;
const IDENTITY_FLAG = 1;

/** Where a message lies in a buffer. */
export interface Span {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
}

/**
 * Decodes one message (documentation: "Logical Replication Message Formats"). Tuples refer to the buffer, which must not be
 * written to afterwards. Throws RangeError on anything that version 2 does not have.
 */
export const decode = (span: Span): Message => decodeBody(span, span.start + 1);

/** Decodes a message that came within a segment, where the number of its subtransaction follows the type. */
export const decodeStreamed = (span: Span): Message => decodeBody(span, span.start + 1 + XID_BYTES);

/** Whether a message ends a segment. */
export const isStreamStop = ({ bytes, start }: Span): boolean => bytes[start] === STREAM_STOP;

/**
 * The subtransaction, or the transaction itself, that a message within a segment belongs to; null for the one kind that
 * names none and has nothing to apply.
 */
export const streamedXid = (message: Buffer): number | null => (message[0] === ORIGIN ? null : message.readUInt32BE(1));

const decodeBody = (span: Span, at: number): Message => {
  const { bytes, start } = span;
  switch (bytes[start]) {
    case 0x49: // I
      return { type: 'insert', relationId: bytes.readUInt32BE(at), after: newTuple(span, at + 4) };
    case 0x55: // U
      return decodeUpdate(span, at);
    case 0x44: // D
      oldKind(span, at + 4);
      return { type: 'delete', relationId: bytes.readUInt32BE(at), before: tupleAt(span, at + 5) };
    case 0x52: // R
      return { type: 'relation', relation: decodeRelation(new Fields(span, at)) };
    case 0x59: // Y
      return decodeType(new Fields(span, at));
    case 0x54: // T
      return decodeTruncate(new Fields(span, at));
    case ORIGIN:
    case 0x4d: // M
      return { type: 'ignored' };
    default:
      return decodeBoundary(span);
  }
};

/** What begins or ends a transaction or a segment; never within a segment but for its stop. */
const decodeBoundary = ({ bytes, start }: Span): Message => {
  switch (bytes[start]) {
    case 0x42: // B
      return { type: 'begin', commitLsn: bytes.readBigUInt64BE(start + 1) };
    case 0x43: // C: flags, the commit record's beginning, its end
      return { type: 'commit', endLsn: bytes.readBigUInt64BE(start + 10) };
    case 0x53: // S: the transaction, whether this is its first segment
      return { type: 'stream-start', xid: bytes.readUInt32BE(start + 1) };
    case STREAM_STOP:
      return { type: 'stream-stop' };
    case 0x63: // c: the transaction, flags, the commit record's beginning, its end
      return {
        type: 'stream-commit',
        xid: bytes.readUInt32BE(start + 1),
        commitLsn: bytes.readBigUInt64BE(start + 6),
        endLsn: bytes.readBigUInt64BE(start + 14),
      };
    case 0x41: // A
      return { type: 'stream-abort', xid: bytes.readUInt32BE(start + 1), subXid: bytes.readUInt32BE(start + 5) };
    default:
      throw new RangeError(`unknown message of pgoutput: ${bytes[start]}`);
  }
};

const tupleAt = (span: Span, at: number): Tuple => {
  const tuple = new Tuple(span.bytes, at);
  if (tuple.end > span.end) throw new RangeError('a tuple is longer than its message');
  return tuple;
};

const newTuple = (span: Span, at: number): Tuple => {
  const kind = span.bytes[at];
  if (kind !== NEW_TUPLE) throw new RangeError(`expected a new tuple, not ${kind}`);
  return tupleAt(span, at + 1);
};

const oldKind = (span: Span, at: number): number => {
  const kind = span.bytes[at];
  if (kind !== OLD_KEY && kind !== OLD_ROW) throw new RangeError(`expected an old tuple, not ${kind}`);
  return kind;
};

const decodeUpdate = (span: Span, at: number): Message => {
  const { bytes } = span;
  const relationId = bytes.readUInt32BE(at);
  if (bytes[at + 4] === NEW_TUPLE) {
    return { type: 'update', relationId, before: null, isWhole: false, after: tupleAt(span, at + 5) };
  }
  const isWhole = oldKind(span, at + 4) === OLD_ROW;
  const before = tupleAt(span, at + 5);
  return { type: 'update', relationId, before, isWhole, after: newTuple(span, before.end) };
};

const decodeRelation = (fields: Fields): Relation => {
  const id = fields.uint32();
  const schema = fields.text();
  const name = fields.text();
  const identity = String.fromCharCode(fields.uint8());
  const columns = Array.from({ length: fields.uint16() }, () => ({
    isIdentity: (fields.uint8() & IDENTITY_FLAG) !== 0,
    name: fields.text(),
    typeId: fields.uint32(),
    typeModifier: fields.int32(),
  }));
  return { id, schema, name, identity, columns };
};

const decodeType = (fields: Fields): Message => ({
  type: 'type',
  id: fields.uint32(),
  schema: fields.text(),
  name: fields.text(),
});

const decodeTruncate = (fields: Fields): Message => {
  const count = fields.uint32();
  const restartIdentity = (fields.uint8() & RESTART_IDENTITY) !== 0;
  return { type: 'truncate', relationIds: Array.from({ length: count }, () => fields.uint32()), restartIdentity };
};

/** Reads fields one after another. */
class Fields {
  readonly #bytes: Buffer;
  #at: number;

  constructor(span: Span, at: number) {
    this.#bytes = span.bytes.subarray(0, span.end);
    this.#at = at;
  }

  uint8(): number {
    this.#at += 1;
    return this.#bytes.readUInt8(this.#at - 1);
  }

  uint16(): number {
    this.#at += 2;
    return this.#bytes.readUInt16BE(this.#at - 2);
  }

  uint32(): number {
    this.#at += 4;
    return this.#bytes.readUInt32BE(this.#at - 4);
  }

  int32(): number {
    this.#at += 4;
    return this.#bytes.readInt32BE(this.#at - 4);
  }

  text(): string {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0) throw new RangeError('a name without an end');
    const text = this.#bytes.toString('utf8', this.#at, end);
    this.#at = end + 1;
    return text;
  }
}
