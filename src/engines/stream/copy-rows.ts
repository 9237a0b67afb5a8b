import type { Tuple } from '../../rows/tuple.ts';

const HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const TRAILER = Buffer.from([0xff, 0xff]);
/** Larger values go out as they are, without being copied into a chunk. */
const CHUNK_BYTES = 128 * 2 ** 10;
/** Up to here a loop is faster than a call. */
const SHORT_BYTES = 32;

/**
 * Writes rows for COPY … WITH (FORMAT binary) into all-text columns (documentation: COPY, "Binary Format"). A text column
 * takes a length and bytes, so that values pass without being escaped or looked at.
 */
export class CopyRows {
  readonly #full: Buffer[] = [HEADER];
  #chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  #used = 0;
  /** One for all rows: a closure for each would cost as much as its values. */
  readonly #column = (bytes: Buffer, start: number, end: number): void => {
    if (start < 0) this.nulls(1);
    else this.#range(bytes, start, end);
  };

  /** Begins a row of so many fields. */
  row(fields: number): void {
    this.#reserve(2);
    this.#used = this.#chunk.writeInt16BE(fields, this.#used);
  }

  /** An int4 field. */
  integer(value: number): void {
    this.#reserve(8);
    this.#used = this.#chunk.writeInt32BE(4, this.#used);
    this.#used = this.#chunk.writeInt32BE(value, this.#used);
  }

  /** A text field of our own. */
  text(value: Buffer | null): void {
    if (value === null) this.nulls(1);
    else this.#bytes(value);
  }

  /** So many fields that are NULL. */
  nulls(count: number): void {
    for (let left = count; left > 0; left--) {
      this.#reserve(4);
      this.#used = this.#chunk.writeInt32BE(-1, this.#used);
    }
  }

  /** All columns of a row; an unchanged value is written as NULL. */
  tuple(tuple: Tuple): void {
    tuple.visit(this.#column);
  }

  /** Some columns of a row. */
  columns(tuple: Tuple, indexes: readonly number[]): void {
    for (const index of indexes) {
      const value = tuple.value(index);
      if (Buffer.isBuffer(value)) this.#bytes(value);
      else this.nulls(1);
    }
  }

  /** Everything that was written, with the end of the COPY. */
  take(): readonly Buffer[] {
    this.#flush();
    this.#full.push(TRAILER);
    return this.#full;
  }

  #bytes(value: Buffer): void {
    this.#range(value, 0, value.length);
  }

  #range(bytes: Buffer, start: number, end: number): void {
    const length = end - start;
    this.#reserve(4);
    this.#used = this.#chunk.writeInt32BE(length, this.#used);
    if (length > CHUNK_BYTES / 4) {
      this.#flush();
      this.#full.push(bytes.subarray(start, end));
      return;
    }
    this.#reserve(length);
    if (length > SHORT_BYTES) {
      this.#used += bytes.copy(this.#chunk, this.#used, start, end);
      return;
    }
    const chunk = this.#chunk;
    let used = this.#used;
    for (let at = start; at < end; at++) chunk[used++] = bytes[at] as number;
    this.#used = used;
  }

  #reserve(bytes: number): void {
    if (this.#used + bytes > CHUNK_BYTES) this.#flush();
  }

  #flush(): void {
    if (this.#used === 0) return;
    this.#full.push(this.#chunk.subarray(0, this.#used));
    this.#chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    this.#used = 0;
  }
}
