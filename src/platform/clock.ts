import { setTimeout as delay } from 'node:timers/promises';

/** Milliseconds on a monotonic clock, for durations and budgets. With `wallMs` the only reading of time in the project. */
export const monotonicMs = (): number => performance.now();

/**
 * Milliseconds since 1970, as this machine has them. They go into what others check for its age; nothing of ours is decided
 * by them, since this clock may jump.
 */
export const wallMs = (): number => Date.now();

/** Resolves after `ms`, or rejects with an AbortError when the signal is aborted. */
export const sleep = async (ms: number, signal?: AbortSignal): Promise<void> => {
  await delay(ms, undefined, signal ? { signal } : {});
};

/** Calls `act` once after `ms`, unless the function that is returned has been called before. */
export const after = (ms: number, act: () => void): (() => void) => {
  const timer = setTimeout(act, ms);
  return () => clearTimeout(timer);
};
