/** Of the length that follows a message's type. */
const LENGTH_BYTES = 4;
const COPY_DATA = 'd'.charCodeAt(0);
/** What a server may send in the middle of a COPY beside rows: how it answers the COPY, a notice, a changed setting, a notification. */
const ASIDE = new Set(['H', 'N', 'S', 'A'].map((letter) => letter.charCodeAt(0)));

/**
 * Finds the rows in what a server sends during COPY … TO STDOUT, a message type and a length before each (documentation:
 * "Message Formats", CopyData). It jumps from header to header and looks at no row: CopyData is the same message in both
 * directions, so that what is passed on can be sent to another server as it is. Bytes may be split anywhere.
 */
export class CopyFrames {
  #bytes = 0;
  #isRow = false;
  /** Of the message in hand: bytes of its length that are still to come, and those that have come as a number. */
  #lengthLeft = 0;
  #length = 0;
  /** Of what it holds, still to come. */
  #left = 0;

  /** Bytes of the rows that have begun, without their headers. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether a row has been passed on in part: whoever receives it takes whatever comes next for the rest. */
  get isWithinRow(): boolean {
    return this.#isRow && this.#isWithin;
  }

  get #isWithin(): boolean {
    return this.#left > 0 || this.#lengthLeft > 0;
  }

  /**
   * Passes on rows, as far as they have come, in the order in which they come. Returns null while the COPY goes on, and what
   * follows the last row once it has ended, well or not.
   */
  take(bytes: Buffer, pass: (rows: Buffer) => void): Buffer | null {
    let rowsFrom = this.isWithinRow ? 0 : -1;
    let at = 0;
    while (at < bytes.length) {
      if (!this.#isWithin) {
        const type = bytes[at] ?? 0;
        this.#isRow = type === COPY_DATA;
        if (this.#isRow && rowsFrom < 0) rowsFrom = at;
        if (!this.#isRow) {
          if (rowsFrom >= 0) pass(bytes.subarray(rowsFrom, at));
          rowsFrom = -1;
          if (!ASIDE.has(type)) return bytes.subarray(at);
        }
        at += 1;
        this.#lengthLeft = LENGTH_BYTES;
        this.#length = 0;
      }
      at = this.#advance(bytes, at);
    }
    if (rowsFrom >= 0) pass(bytes.subarray(rowsFrom));
    return null;
  }

  /** Goes on in the message in hand, and returns where it ends, or where the bytes do. */
  #advance(bytes: Buffer, from: number): number {
    let at = from;
    if (this.#lengthLeft === LENGTH_BYTES && bytes.length - at >= LENGTH_BYTES) {
      this.#begin(bytes.readUInt32BE(at));
      at += LENGTH_BYTES;
    }
    for (; this.#lengthLeft > 0 && at < bytes.length; at++) {
      this.#length = this.#length * 256 + (bytes[at] ?? 0);
      if (this.#lengthLeft === 1) this.#begin(this.#length);
      else this.#lengthLeft -= 1;
    }
    const step = Math.min(this.#left, bytes.length - at);
    this.#left -= step;
    return at + step;
  }

  /** The length counts itself. */
  #begin(length: number): void {
    this.#lengthLeft = 0;
    this.#left = length - LENGTH_BYTES;
    if (this.#isRow) this.#bytes += this.#left;
  }
}
