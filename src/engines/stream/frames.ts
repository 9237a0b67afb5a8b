import type { Socket } from 'node:net';
import type { Span } from './pgoutput.ts';

/** Where frames go. */
export interface FrameSinks {
  /** One message of pgoutput. Its bytes are never written to again. Must not throw. */
  readonly message: (span: Span) => void;
  /** Everything else, in whole frames, as it came. */
  readonly other: (frame: Buffer) => void;
}

/** What comes is gathered in blocks of this size; tuples refer to them until they are applied. */
const BLOCK_BYTES = 256 * 2 ** 10;
/** A larger frame does not share its block, which would keep it in memory for as long as its neighbours. */
const OWN_BLOCK_BYTES = BLOCK_BYTES / 4;
const COPY_DATA = 0x64;
const XLOG_DATA = 0x77;
/** Type and length of a frame; the length counts itself. */
const HEADER_BYTES = 5;
/** Of a frame, its length included; servers allocate no more for one (`MaxAllocSize`). */
const MAX_BYTES = 2 ** 30;
/** Before the message: `w`, two LSNs and a time. */
const XLOG_HEADER_BYTES = 25;

/**
 * Cuts the bytes of a replication connection into frames (documentation: "Streaming Replication Protocol"), in one copy per
 * read of the socket. The drivers' way makes two buffers, an LSN as text and a promise of each message, and that was half
 * of what a lane spent in this process (measured).
 */
export class Frames {
  readonly #sinks: FrameSinks;
  #block = Buffer.alloc(0);
  /** Bounds of what has come and is not yet a whole frame. */
  #start = 0;
  #end = 0;

  constructor(sinks: FrameSinks) {
    this.#sinks = sinks;
  }

  /** Takes what the socket has read. Throws RangeError at a length that no frame has: nothing can be cut any more then. */
  feed(chunk: Buffer): void {
    if (this.#end + chunk.length > this.#block.length) this.#renew(chunk.length);
    this.#end += chunk.copy(this.#block, this.#end);
    for (let bytes = this.#frame(); bytes > 0; bytes = this.#frame()) {
      const start = this.#start;
      this.#start += bytes;
      this.#hand(start, this.#start);
      if (bytes > OWN_BLOCK_BYTES) this.#renew(0);
    }
  }

  /** Length of the frame at hand, 0 while it is not complete. */
  #frame(): number {
    const bytes = this.#expected();
    return bytes <= this.#end - this.#start ? bytes : 0;
  }

  /** Length of the frame at hand as far as it is known. */
  #expected(): number {
    if (this.#end - this.#start < HEADER_BYTES) return HEADER_BYTES;
    const length = this.#block.readUInt32BE(this.#start + 1);
    if (length < HEADER_BYTES - 1 || length > MAX_BYTES) throw new RangeError(`a frame cannot have ${length} bytes`);
    return 1 + length;
  }

  #hand(start: number, end: number): void {
    const block = this.#block;
    const at = start + HEADER_BYTES;
    if (block[start] === COPY_DATA && block[at] === XLOG_DATA) {
      this.#sinks.message({ bytes: block, start: at + XLOG_HEADER_BYTES, end });
    } else {
      this.#sinks.other(block.subarray(start, end));
    }
  }

  /** Goes on in a new block, with room for so many bytes more and for the rest of a frame that has begun. */
  #renew(more: number): void {
    const left = this.#block.subarray(this.#start, this.#end);
    this.#block = Buffer.allocUnsafeSlow(
      Math.max(BLOCK_BYTES, left.length + more, left.length > 0 ? this.#expected() : 0),
    );
    this.#start = 0;
    this.#end = left.copy(this.#block);
  }
}

/**
 * Takes messages of pgoutput off a session's socket before the drivers see them. Call it while the session is idle, before
 * it begins to stream: what the drivers have begun to read would be lost.
 */
export const tapFrames = (socket: Socket, message: FrameSinks['message']): void => {
  const drivers = socket.listeners('data') as ((frame: Buffer) => void)[];
  socket.removeAllListeners('data');
  const other = (frame: Buffer): void => {
    for (const driver of drivers) driver(frame);
  };
  const frames = new Frames({ message, other });
  socket.on('data', (chunk: Buffer) => {
    try {
      frames.feed(chunk);
    } catch (error) {
      // Nobody would catch it here; the drivers hear it as the end of the connection.
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  });
};
