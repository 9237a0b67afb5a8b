import { monotonicMs, sleep } from '../../platform/clock.ts';

/** Unused time that may be made up for, so that a pause between two chunks is no loss. */
const CREDIT_MS = 200;

/**
 * A rate of bytes that several users keep together: each says what it has used and is told how long to wait. The generic
 * cell rate algorithm (ITU-T I.371): one instant, up to which everything is paid for. Takes the time from its caller.
 */
export class ByteRate {
  /** Null is no limit. May be changed at any time. */
  bytesPerSecond: number | null;
  #paidUntilMs = 0;

  constructor(bytesPerSecond: number | null) {
    this.bytesPerSecond = bytesPerSecond;
  }

  /** Milliseconds to wait after these bytes; 0 without a limit. */
  take(bytes: number, nowMs: number): number {
    if (this.bytesPerSecond === null) return 0;
    const costMs = (bytes / this.bytesPerSecond) * 1_000;
    this.#paidUntilMs = Math.max(this.#paidUntilMs, nowMs - CREDIT_MS) + costMs;
    return Math.max(0, this.#paidUntilMs - nowMs);
  }
}

/** What one copy has used, and the rates that it keeps: the plan's for all copies, and its own while the source is loaded. */
export class Pace {
  /** While the source is loaded. */
  readonly own = new ByteRate(null);
  readonly #shared: ByteRate;
  #bytes = 0;
  #hasWaited = false;

  constructor(shared: ByteRate) {
    this.#shared = shared;
  }

  /** Counts bytes that were read, and returns what to wait for before more are, if anything. */
  take(bytes: number): Promise<void> | undefined {
    this.#bytes += bytes;
    const nowMs = monotonicMs();
    const waitMs = Math.max(this.#shared.take(bytes, nowMs), this.own.take(bytes, nowMs));
    if (waitMs < 1) return undefined;
    this.#hasWaited = true;
    return sleep(waitMs);
  }

  /** What was used since the last call, and whether a rate has kept it from being more. */
  measure(): { readonly bytes: number; readonly isLimited: boolean } {
    const measured = { bytes: this.#bytes, isLimited: this.#hasWaited };
    this.#bytes = 0;
    this.#hasWaited = false;
    return measured;
  }
}
