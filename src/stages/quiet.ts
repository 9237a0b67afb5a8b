import { monotonicMs, sleep } from '../platform/clock.ts';

/** It is quiet when no step is under way and none was written for this time. */
const QUIET_MS = 100;
/**
 * Nobody waits longer for it than this: of a switch that takes longer, whoever finds the source down in the middle is told all
 * the same.
 */
const WAITED_MS = 1_000;

/**
 * Tells when steps that follow each other have ended. What is not needed for them waits for that: a mirror of the status is dozens
 * of statements on both sides, and within a switch clients would wait for them.
 */
export class Quiet {
  #underWay = 0;
  #writtenAt = Number.NEGATIVE_INFINITY;

  /** Does a step. */
  async during<T>(step: () => Promise<T>): Promise<T> {
    this.#underWay += 1;
    try {
      return await step();
    } finally {
      this.#underWay -= 1;
    }
  }

  /** Something was written now. */
  written(): void {
    this.#writtenAt = monotonicMs();
  }

  /** Resolves when it is quiet, or has not been for too long. */
  async comes(): Promise<void> {
    const latest = monotonicMs() + WAITED_MS;
    for (let now = monotonicMs(); now < latest; now = monotonicMs()) {
      const leftMs = this.#underWay > 0 ? QUIET_MS : this.#writtenAt + QUIET_MS - now;
      if (leftMs <= 0) return;
      await sleep(Math.min(leftMs, latest - now));
    }
  }
}
