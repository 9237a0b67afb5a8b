import { isKind, messageOf } from '../domain/errors.ts';
import type { Side } from '../domain/position.ts';
import { sleep } from '../platform/clock.ts';
import { portsOf, type RunContext } from './context.ts';
import type { Tenure } from './tenure.ts';

const LOOK_EVERY_MS = 1_000;

/**
 * Does what waits for every transaction that writes on a side, such as making a slot, and meanwhile ends those of workers that
 * do not hold the lease. A take-over ends the sessions of the worker before it; but one that wakes for a moment after that opens
 * new ones, and when it sleeps again before it has been refused, its transaction never ends by itself.
 */
export const withoutStrangers = async <T>(
  { context, tenure }: { readonly context: RunContext; readonly tenure: Tenure },
  side: Side,
  work: () => Promise<T>,
): Promise<T> => {
  const stop = new AbortController();
  const ending = (async () => {
    for (;;) {
      await sleep(LOOK_EVERY_MS, stop.signal).catch(() => undefined);
      if (stop.signal.aborted) return;
      try {
        // Whoever has been deposed would end the sessions of its heir.
        await tenure.act(async () => undefined);
        const ended = await portsOf(context, side).sessions.endStrangers(context.holder);
        if (ended === 0) continue;
        const text = `ended ${ended} sessions on the ${side} of workers that were deposed and had not ended their transactions`;
        context.emit({ type: 'note', phase: null, text });
      } catch (error) {
        // The work meets the same, and says so.
        if (isKind(error, 'deposed')) return;
        context.emit({
          type: 'note',
          phase: null,
          text: `sessions of deposed workers were not looked for: ${messageOf(error)}`,
        });
      }
    }
  })();
  try {
    return await work();
  } finally {
    stop.abort();
    await ending;
  }
};
