import { messageOf, SwitchbackError } from '../../../domain/errors.ts';
import { monotonicMs, sleep } from '../../../platform/clock.ts';
import { codeOf } from '../../../platform/postgres/server.ts';

/** How long one attempt may wait for a lock, since everybody queues behind it. */
export const LOCK_ATTEMPT_MS = 500;
const PAUSE_MS = 500;
const BUDGET_MS = 60_000;
/** lock_not_available, deadlock_detected: somebody else was first, and nothing has changed. */
const NOT_NOW = new Set(['55P03', '40P01']);

/** Repeats an act that fails for want of a lock. Throws kind `busy` when a minute was not enough. */
export const patiently = async (act: () => Promise<unknown>, signal?: AbortSignal): Promise<void> => {
  const startedMs = monotonicMs();
  for (;;) {
    signal?.throwIfAborted();
    try {
      await act();
      return;
    } catch (error) {
      if (!NOT_NOW.has(codeOf(error))) throw error;
      if (monotonicMs() - startedMs >= BUDGET_MS) {
        throw new SwitchbackError('busy', `a lock could not be had: ${messageOf(error)}`, {
          remedy:
            'see in pg_locks and pg_stat_activity who holds it, and end that; the worker tries again by itself, and so does: switchback resume PLAN',
          cause: error,
        });
      }
      await sleep(PAUSE_MS, signal);
    }
  }
};
