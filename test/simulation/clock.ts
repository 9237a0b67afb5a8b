import { here } from './world.ts';

/** Stands in for `src/platform/clock.ts`: time is the world's, and timers are events of the process that set them. */
export const monotonicMs = (): number => here().world.now;

/** As the real one: resolves after `ms`, or rejects when the signal is aborted. */
export const sleep = (ms: number, signal?: AbortSignal): Promise<void> => {
  const { world, process } = here();
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      cancel();
      reject(new DOMException('The operation was aborted', 'AbortError'));
    };
    const cancel = world.schedule(process, ms, 'timer', () => {
      signal?.removeEventListener('abort', stop);
      resolve();
    });
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
};

/** As the real one: calls `act` once after `ms`, unless it is taken back. */
export const after = (ms: number, act: () => void): (() => void) => {
  const { world, process } = here();
  return world.schedule(process, ms, 'timer', act);
};
