import { monotonicMs } from '../../src/platform/clock.ts';
import type { BenchOptions, Figure, Row, Series } from './part.ts';

/** One of those that do the same work in turn. */
export interface Contender {
  readonly name: string;
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
  const seconds = contenders.map(() => [] as number[]);
  for (let round = 1; round <= options.rounds; round++) {
    for (const [at, contender] of contenders.entries()) {
      options.signal.throwIfAborted();
      const took = await timeOnce(contender);
      seconds[at]?.push(took);
      options.tell(`${what}, round ${round}: ${contender.name} ${took.toFixed(2)} s`);
    }
  }
  return contenders.map(({ name }, at) => seriesOf(name, seconds[at] ?? []));
};

const timeOnce = async (contender: Contender): Promise<number> => {
  await contender.prepare?.();
  try {
    const begun = monotonicMs();
    const own = await contender.run();
    return own ?? (monotonicMs() - begun) / 1000;
  } finally {
    await contender.after?.();
  }
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
