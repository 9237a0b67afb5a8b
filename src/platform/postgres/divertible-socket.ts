import { Socket } from 'node:net';
import { SwitchbackError } from '../../domain/errors.ts';

/** Of one read. Node's own are of 64 KiB, which a server has often sent twice over by the time that we get to it. */
const READ_BYTES = 256 * 2 ** 10;

/**
 * Gets what a socket receives. The next read overwrites the bytes. Whoever needs them for longer pauses the socket until
 * then, or has them `spare`d.
 */
export type Taker = (bytes: Buffer) => void;

/**
 * A socket for a driver, whose bytes can be had past the driver for a while. It reads into the same buffer again and again:
 * Node makes one for each read, and what the garbage collector then has to do costs more than the reading. Its listeners
 * stay on, and get copies while nobody takes. Paused, it reads nothing.
 */
export class DivertibleSocket extends Socket {
  readonly #into: { buffer: Buffer };
  #taker: Taker | null = null;

  constructor() {
    const into = { buffer: Buffer.allocUnsafeSlow(READ_BYTES) };
    // Node asks for the buffer of the next read after each.
    super({ onread: { buffer: () => into.buffer, callback: (length) => this.#onRead(length) } });
    this.#into = into;
  }

  /** What is read from now on goes to the taker; with null to the listeners again. */
  divert(taker: Taker | null): void {
    this.#taker = taker;
  }

  /** For a taker: leaves it the bytes that it has just got. */
  spare(): void {
    this.#into.buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  }

  /** Returns whether to go on reading; a stream that has too much for its listeners asks again by itself. */
  #onRead(length: number): boolean {
    const bytes = this.#into.buffer.subarray(0, length);
    if (this.#taker === null) return this.push(Buffer.from(bytes));
    // Never seen. The read has overwritten what the pause was to keep.
    if (this.isPaused()) this.destroy(new SwitchbackError('internal', 'a socket was read while it was paused'));
    else this.#taker(bytes);
    return true;
  }
}
