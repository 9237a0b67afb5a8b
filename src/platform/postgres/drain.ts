import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { Lsn } from './lsn.ts';

/** What a lane has reached. */
export interface Reached {
  readonly position: Position;
  /** The newest marker that arrived while this process followed; one from before proves nothing. 0 when none has. */
  readonly marker: bigint;
}

/** Budget of a wait, and what ends it early. */
export interface DrainOptions {
  readonly budgetMs: number;
  readonly signal: AbortSignal;
}

/** Waits until a marker has arrived and a position is durable. */
export class Drain {
  readonly #lane: string;
  readonly #position: Position;
  readonly #outcome = Promise.withResolvers<void>();
  #marker: bigint | undefined;
  #reached: Reached | null;

  /** `reached` is where the lane is now; null before it has read its progress. */
  constructor(lane: string, position: Position, reached: Reached | null) {
    this.#lane = lane;
    this.#position = position;
    this.#reached = reached;
    this.#outcome.promise.catch(() => undefined);
  }

  /** The marker that has to arrive is on the origin. */
  marked(seq: bigint): void {
    this.#marker = seq;
    if (this.#reached !== null) this.check(this.#reached);
  }

  /** Told after each commit. */
  check(reached: Reached): void {
    this.#reached = reached;
    if (this.#marker === undefined || reached.marker < this.#marker) return;
    if (Lsn.reached(reached.position, this.#position)) this.#outcome.resolve();
  }

  /** The lane has stopped following. */
  fail(error: unknown): void {
    this.#outcome.reject(error);
  }

  /** Rejects with kind `aborted` when the budget runs out, or with what {@link Drain.fail} was told. */
  async wait({ budgetMs, signal }: DrainOptions): Promise<void> {
    signal.throwIfAborted();
    const onAbort = (): void => this.fail(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const late = setTimeout(() => this.fail(this.#late(budgetMs)), budgetMs);
    try {
      await this.#outcome.promise;
    } finally {
      clearTimeout(late);
      signal.removeEventListener('abort', onAbort);
    }
  }

  #late(budgetMs: number): SwitchbackError {
    const at = this.#reached === null ? 'it has not begun' : `it is at ${this.#reached.position}`;
    const marker =
      this.#marker === undefined ? 'its marker could not be written' : `marker ${this.#marker} has not arrived`;
    const text = `lane ${this.#lane} did not reach ${this.#position} within ${budgetMs} ms: ${at}, and ${marker}`;
    return new SwitchbackError('aborted', text, {
      remedy: 'wait until its lag is small, or give the switch a longer window',
    });
  }
}
