/** Kinds of a column's value in a tuple, as pgoutput writes them. */
const NULL = 0x6e;
const UNCHANGED = 0x75;
const TEXT = 0x74;

/** One column's value: the bytes of its text, SQL NULL, or a TOASTed value that an update did not touch. */
export type Value = Buffer | null | 'unchanged';

/**
 * One row as it came over the wire: pgoutput's TupleData, a number of columns and then, for each, a kind and the bytes of
 * its text. Values stay where they are, because a batch has millions and an object for each would cost more than decoding
 * them (and bytes that are never parsed can't be changed: the type-opaque rule). The bytes must not be written to again.
 */
export class Tuple {
  readonly bytes: Buffer;
  /** Where the number of columns is. */
  readonly start: number;
  readonly end: number;
  /** Whether a column is an unchanged TOASTed value. */
  readonly hasUnchanged: boolean;

  constructor(bytes: Buffer, start: number) {
    let at = start + 2;
    let hasUnchanged = false;
    for (let left = bytes.readUInt16BE(start); left > 0; left--) {
      const kind = bytes[at];
      if (kind === TEXT) {
        at += 5 + bytes.readInt32BE(at + 1);
      } else {
        if (kind === UNCHANGED) hasUnchanged = true;
        else if (kind !== NULL) throw new RangeError(`unknown kind of value: ${kind}`);
        at += 1;
      }
    }
    if (at > bytes.length) throw new RangeError('a tuple is longer than its message');
    this.bytes = bytes;
    this.start = start;
    this.end = at;
    this.hasUnchanged = hasUnchanged;
  }

  /** Number of columns. */
  get columns(): number {
    return this.bytes.readUInt16BE(this.start);
  }

  /** All values, in the order of the columns. */
  values(): Value[] {
    const values: Value[] = [];
    this.visit((bytes, start, end) => {
      values.push(start < 0 ? (end < 0 ? 'unchanged' : null) : bytes.subarray(start, end));
    });
    return values;
  }

  /**
   * Calls back for each column with the bounds of its text; start is -1 for NULL and for an unchanged value, for which end
   * is -1 too.
   */
  visit(column: (bytes: Buffer, start: number, end: number) => void): void {
    const { bytes } = this;
    let at = this.start + 2;
    for (let left = this.columns; left > 0; left--) {
      const kind = bytes[at];
      if (kind === TEXT) {
        const end = at + 5 + bytes.readInt32BE(at + 1);
        column(bytes, at + 5, end);
        at = end;
      } else {
        column(bytes, -1, kind === UNCHANGED ? -1 : 0);
        at += 1;
      }
    }
  }

  /** The value of one column. */
  value(index: number): Value {
    const at = this.#find(index);
    const kind = this.bytes[at];
    if (kind === TEXT) return this.bytes.subarray(at + 5, at + 5 + this.bytes.readInt32BE(at + 1));
    return kind === UNCHANGED ? 'unchanged' : null;
  }

  /** The text of some columns, for people and for digests; null stands for NULL and for an unchanged value. */
  texts(indexes: readonly number[]): (string | null)[] {
    return indexes.map((index) => {
      const value = this.value(index);
      return Buffer.isBuffer(value) ? value.toString('utf8') : null;
    });
  }

  /** A string that two tuples share if and only if they have the same bytes in these columns. Not for people. */
  identity(indexes: readonly number[]): string {
    const [only] = indexes;
    if (indexes.length === 1 && only !== undefined) return this.#latin1(only);
    let identity = '';
    for (const index of indexes) {
      const text = this.#latin1(index);
      identity += `${text.length}:${text}`;
    }
    return identity;
  }

  #latin1(index: number): string {
    const at = this.#find(index);
    if (this.bytes[at] !== TEXT) throw new RangeError(`column ${index} of a key has no value`);
    return this.bytes.toString('latin1', at + 5, at + 5 + this.bytes.readInt32BE(at + 1));
  }

  #find(index: number): number {
    if (index >= this.columns) throw new RangeError(`there is no column ${index}`);
    let at = this.start + 2;
    for (let left = index; left > 0; left--) {
      at += this.bytes[at] === TEXT ? 5 + this.bytes.readInt32BE(at + 1) : 1;
    }
    return at;
  }
}

/** Makes a tuple of its own out of values. */
export const tupleOf = (values: readonly Value[]): Tuple => {
  const size = values.reduce<number>((sum, value) => sum + (Buffer.isBuffer(value) ? 5 + value.length : 1), 2);
  const bytes = Buffer.allocUnsafe(size);
  let at = bytes.writeUInt16BE(values.length, 0);
  for (const value of values) {
    if (Buffer.isBuffer(value)) {
      at = bytes.writeUInt8(TEXT, at);
      at = bytes.writeInt32BE(value.length, at);
      at += value.copy(bytes, at);
    } else {
      at = bytes.writeUInt8(value === null ? NULL : UNCHANGED, at);
    }
  }
  return new Tuple(bytes, 0);
};

/**
 * The tuple with each unchanged value taken from an earlier state of the same row, as far as that has it: only these
 * columns, where they are given.
 */
export const fillUnchanged = (tuple: Tuple, earlier: Tuple | null, columns?: readonly number[]): Tuple => {
  if (!tuple.hasUnchanged || earlier === null) return tuple;
  const from = earlier.values();
  const has = (i: number): boolean => columns === undefined || columns.includes(i);
  return tupleOf(tuple.values().map((value, i) => (value === 'unchanged' && has(i) ? (from[i] ?? null) : value)));
};
