import { monotonicMs } from '../../src/platform/clock.ts';
import { watchCores } from './machine.ts';
import type { BenchOptions, Figure, Row, Series } from './part.ts';

/** One of those that do the same work in turn. */
export interface Contender {
  readonly name: string;
  /** It takes part in so many rounds at most: one that is there for information, where rounds are long. */
  readonly atMost?: number;
  /** What is made anew for every round, not timed. */
  readonly prepare?: () => Promise<void>;
  /** The timed work. May return seconds of its own when the work is only a part of what it does. */
  readonly run: () => Promise<number | undefined>;
  /** Looks at the result and cleans up; not timed. */
  readonly after?: () => Promise<void>;
}

/** The middle of a list; the mean of the two middle ones for an even number. NaN for an empty list. */
export const medianOf = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [below, above] = [sorted[middle - 1], sorted[middle]];
  if (above === undefined) return Number.NaN;
  return sorted.length % 2 === 1 || below === undefined ? above : (below + above) / 2;
};

/** Smallest value that at least the share `quantile` (0 to 1) of the values does not exceed. NaN for an empty list. */
export const quantileOf = (values: readonly number[], quantile: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(quantile * sorted.length) - 1)] ?? Number.NaN;
};

/** Median and spread of what one contender took. */
export const seriesOf = (name: string, seconds: readonly number[]): Series => ({
  name,
  seconds,
  median: medianOf(seconds),
  min: Math.min(...seconds),
  max: Math.max(...seconds),
});

/**
 * Lets contenders do the same work in turn, A B A B, so that whatever the machine does meanwhile falls on all of them.
 * Rejects with the first failure, or the signal's reason; `after` runs in either case.
 */
export const runRounds = async (
  what: string,
  contenders: readonly Contender[],
  options: Pick<BenchOptions, 'rounds' | 'signal' | 'tell'>,
): Promise<readonly Series[]> => {
  const taken = contenders.map(() => [] as Timed[]);
  for (let round = 1; round <= options.rounds; round++) {
    for (const [at, contender] of contenders.entries()) {
      options.signal.throwIfAborted();
      if (round > (contender.atMost ?? options.rounds)) continue;
      const timed = await timeOnce(contender);
      taken[at]?.push(timed);
      options.tell(`${what}, round ${round}: ${contender.name} ${timed.seconds.toFixed(2)} s`);
    }
  }
  return contenders.map(({ name }, at) => {
    const own = taken[at] ?? [];
    const seconds = own.map((timed) => timed.seconds);
    return { ...seriesOf(name, seconds), busy: medianOf(own.map((timed) => timed.busy)) };
  });
};

interface Timed {
  readonly seconds: number;
  readonly busy: number;
}

/** Says how busy the machine's cores were: where they all are, it is the work itself that takes the time. */
export const busyNote = (what: string, series: readonly Series[]): string => {
  const shares = series.map(({ name, busy = Number.NaN }) => `${name} ${Math.round(busy * 100)}%`);
  return `${what}, cores busy (medians): ${shares.join(', ')}`;
};

const timeOnce = async (contender: Contender): Promise<Timed> => {
  await contender.prepare?.();
  let timed: Timed;
  try {
    const [begun, busy] = [monotonicMs(), watchCores()];
    const own = await contender.run();
    timed = { seconds: own ?? (monotonicMs() - begun) / 1000, busy: busy() };
  } catch (error) {
    // What it left half done cannot be looked at either, and says less than why it failed.
    await contender.after?.().catch(() => undefined);
    throw error;
  }
  await contender.after?.();
  return timed;
};

/** Compares the first series, ours, with each of the others; `reach` names the ratio aimed at for those that have one. */
export const compareWith = (
  what: string,
  series: readonly Series[],
  reach: Readonly<Record<string, number>>,
): readonly Row[] => {
  const [contender, ...references] = series;
  if (contender === undefined) return [];
  if (references.length === 0) {
    return [{ case: what, contender, reference: null, ratio: null, reach: null, reached: null }];
  }
  return references.map((reference) => {
    const ratio = contender.median / reference.median;
    const bound = reach[reference.name] ?? null;
    return { case: what, contender, reference, ratio, reach: bound, reached: bound === null ? null : ratio <= bound };
  });
};

/** Whether a figure is on the good side of its bound; null when it has none. */
export const isReached = ({ value, reach }: Figure): boolean | null => {
  if (reach === null) return null;
  return 'atMost' in reach ? value <= reach.atMost : value >= reach.atLeast;
};
