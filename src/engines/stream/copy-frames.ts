const HEADER_BYTES = 5;
const COPY_DATA = 'd'.charCodeAt(0);
/** What a server may send in the middle of a COPY beside rows: how it answers the COPY, a notice, a changed setting, a notification. */
const ASIDE = new Set(['H', 'N', 'S', 'A'].map((letter) => letter.charCodeAt(0)));
const NOTHING = Buffer.alloc(0);

/**
 * Finds the rows in what a server sends during COPY … TO STDOUT, a message type and a length before each (documentation:
 * "Message Formats", CopyData). It jumps from header to header and looks at no row: CopyData is the same message in both
 * directions, so that what is passed on can be sent to another server as it is. Bytes may be split anywhere.
 */
export class CopyFrames {
  #bytes = 0;
  /** The beginning of a header whose rest is still to come. */
  #held = NOTHING;
  /** Of the message in hand, still to come. */
  #left = 0;
  #isRow = false;

  /** Bytes of the rows that have begun, without their headers. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether a row has been passed on in part: whoever receives it takes whatever comes next for the rest. */
  get isWithinRow(): boolean {
    return this.#isRow && this.#left > 0;
  }

  /**
   * Passes on whole messages of rows, or parts of them, in the order in which they come. Returns null while the COPY goes on,
   * and what follows the last row once it has ended, well or not.
   */
  take(bytes: Buffer, pass: (rows: Buffer) => void): Buffer | null {
    const all = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    this.#held = NOTHING;
    let at = this.#skip(all, 0);
    let rowsFrom = this.#isRow ? 0 : at;
    const passOn = (until: number): void => {
      if (until > rowsFrom) pass(all.subarray(rowsFrom, until));
    };
    while (at < all.length) {
      const type = all[at] ?? 0;
      const isRow = type === COPY_DATA;
      if (!isRow) {
        passOn(at);
        if (!ASIDE.has(type)) return all.subarray(at);
        rowsFrom = at;
      }
      if (all.length - at < HEADER_BYTES) {
        if (isRow) passOn(at);
        this.#held = Buffer.from(all.subarray(at));
        return null;
      }
      this.#begin(isRow, all.readUInt32BE(at + 1) - 4);
      at = this.#skip(all, at + HEADER_BYTES);
      if (!isRow) rowsFrom = at;
    }
    passOn(at);
    return null;
  }

  #begin(isRow: boolean, length: number): void {
    this.#isRow = isRow;
    this.#left = length;
    if (isRow) this.#bytes += length;
  }

  /** Where the message in hand ends, or all that there is. */
  #skip(all: Buffer, from: number): number {
    const step = Math.min(this.#left, all.length - from);
    this.#left -= step;
    return from + step;
  }
}
