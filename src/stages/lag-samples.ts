import { messageOf } from '../domain/errors.ts';
import { after } from '../platform/clock.ts';
import { type LagSample, writeLag } from '../sidecar/records.ts';
import type { RunContext } from './context.ts';

const EVERY_MS = 5_000;

/**
 * Stores samples of the lanes' lag, those of all lanes by one statement every five seconds: each statement is a transaction on
 * the source that the reader of every slot is sent. Of a lane the newest sample is stored.
 */
export class LagSamples {
  readonly #context: RunContext;
  readonly #newest = new Map<string, Omit<LagSample, 'at'>>();
  #cancel: (() => void) | null = null;

  constructor(context: RunContext) {
    this.#context = context;
  }

  /** Takes a sample. The first one after a pause is stored soon, so that `status` shows a lag early. */
  add(sample: Omit<LagSample, 'at'>): void {
    const isFirst = this.#newest.size === 0 && this.#cancel === null;
    this.#newest.set(sample.lane, sample);
    if (isFirst) void this.#store();
  }

  /** Stores nothing more. */
  close(): void {
    this.#newest.clear();
    this.#cancel?.();
    this.#cancel = null;
  }

  async #store(): Promise<void> {
    const samples = [...this.#newest.values()];
    this.#newest.clear();
    this.#cancel = null;
    if (samples.length === 0) return;
    this.#cancel = after(EVERY_MS, () => void this.#store());
    try {
      await writeLag(this.#context.source.sql, samples);
    } catch (error) {
      this.#context.emit({ type: 'note', phase: null, text: `lag samples were not stored: ${messageOf(error)}` });
    }
  }
}
