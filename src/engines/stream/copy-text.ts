import type { Tuple } from '../../rows/tuple.ts';

/** Larger values go out in buffers of their own. */
const CHUNK_BYTES = 128 * 2 ** 10;
const TAB = 0x09;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BACKSLASH = 0x5c;
const NULL_MARK = Buffer.from('\\N');
/** What follows the backslash instead of a byte that would end a value or a row; 0 for all others. */
const ESCAPES = new Uint8Array(256);
ESCAPES[TAB] = 0x74;
ESCAPES[NEWLINE] = 0x6e;
ESCAPES[RETURN] = 0x72;
ESCAPES[BACKSLASH] = BACKSLASH;

/**
 * Writes rows for COPY … FROM STDIN in text format (documentation: COPY, "Text Format"), straight into a table, whose types'
 * own input functions read them. UTF-8 has none of the special bytes within a character.
 */
export class CopyText {
  readonly #full: Buffer[] = [];
  #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  #used = 0;
  #isFirst = true;
  /** One for all rows: a closure for each would cost as much as its values. */
  readonly #column = (bytes: Buffer, start: number, end: number): void => {
    if (!this.#isFirst) this.#byte(TAB);
    this.#isFirst = false;
    if (start < 0) this.#raw(NULL_MARK);
    else this.#value(bytes, start, end);
  };

  /** A row; the tuple has no unchanged values. */
  row(tuple: Tuple): void {
    this.#isFirst = true;
    tuple.visit(this.#column);
    this.#byte(NEWLINE);
  }

  /** Everything that was written. */
  take(): readonly Buffer[] {
    this.#flush();
    return this.#full;
  }

  #byte(byte: number): void {
    if (this.#used === CHUNK_BYTES) this.#flush();
    this.#chunk[this.#used] = byte;
    this.#used += 1;
  }

  #raw(bytes: Buffer): void {
    if (this.#used + bytes.length > CHUNK_BYTES) this.#flush();
    this.#used += bytes.copy(this.#chunk, this.#used);
  }

  /** In pieces that fit into a chunk even if every byte has to be escaped. */
  #value(bytes: Buffer, start: number, end: number): void {
    for (let at = start; at < end; ) {
      const until = Math.min(end, at + CHUNK_BYTES / 4);
      if (this.#used + 2 * (until - at) > CHUNK_BYTES) this.#flush();
      const chunk = this.#chunk;
      let used = this.#used;
      for (; at < until; at++) {
        const byte = bytes[at] as number;
        const mark = ESCAPES[byte] as number;
        if (mark !== 0) {
          chunk[used] = BACKSLASH;
          used += 1;
        }
        chunk[used] = mark === 0 ? byte : mark;
        used += 1;
      }
      this.#used = used;
    }
  }

  #flush(): void {
    if (this.#used === 0) return;
    this.#full.push(this.#chunk.subarray(0, this.#used));
    this.#chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    this.#used = 0;
  }
}
