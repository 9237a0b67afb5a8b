import type { RunningServer } from '../../src/demo/servers.ts';

/** The servers that a part runs between: the majors of PostgreSQL, source first. */
export type PairName = '13→18' | '18→18';

/** Both servers of a pair. Every part starts its own. */
export interface Pair {
  readonly name: PairName;
  readonly source: RunningServer;
  readonly target: RunningServer;
}

/** What leads the clients of a switch. */
export const ROUTERS = ['file', 'pgbouncer', 'haproxy'] as const;

/** How a run of the benchmarks was asked for. */
export interface BenchOptions {
  /** As small as still means anything: a check of correctness, whose times say nothing. */
  readonly small: boolean;
  readonly rounds: number;
  /** Everything random is made from it. */
  readonly seed: number;
  readonly pairs: readonly PairName[];
  /** For the part `switch`, which is alone then if it is not `file`. */
  readonly router: (typeof ROUTERS)[number];
  /** Aborted by Ctrl-C. Parts ask it between rounds, and end their servers. */
  readonly signal: AbortSignal;
  /** One line for whoever watches. */
  readonly tell: (line: string) => void;
}

/** What one contender took, in seconds, round by round. */
export interface Series {
  readonly name: string;
  readonly seconds: readonly number[];
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Share of all cores that were busy, whoever used them: median of the rounds, 0 to 1. Absent where it was not looked at. */
  readonly busy?: number;
}

/** One comparison: what we took against what a reference took on the same servers, in turn. */
export interface Row {
  /** The pair, the data, and what is asked: `13→18, pgbench 5M rows`. */
  readonly case: string;
  readonly contender: Series;
  /** Null when the reference is missing here, or there is none. */
  readonly reference: Series | null;
  /** Median of the contender over median of the reference: below 1 we are faster. Null without a reference. */
  readonly ratio: number | null;
  /** Largest ratio that is aimed at; null when the row is there for information. */
  readonly reach: number | null;
  /** Null when there is nothing to reach or nothing to compare with. Printed, never asserted. */
  readonly reached: boolean | null;
}

/** A measurement that is no time against a time: memory, lag, a share, a rate. */
export interface Figure {
  readonly case: string;
  readonly name: string;
  readonly unit: 'bytes' | 'ms' | 's' | 'rows/s' | 'bytes/s' | 'transactions/s' | 'ratio' | 'count';
  readonly value: number;
  /** The bound that is aimed at, and on which side of it is good; null when the figure is there for information. */
  readonly reach: { readonly atMost: number } | { readonly atLeast: number } | null;
}

/** Whether a result was right. One that is not fails the run. */
export interface Check {
  readonly case: string;
  readonly what: string;
  readonly ok: boolean;
  /** What was found, when it was not what it should be. */
  readonly found?: string;
}

/** What a part found. */
export interface PartResult {
  readonly rows: readonly Row[];
  readonly figures: readonly Figure[];
  readonly checks: readonly Check[];
  /** Settings, sizes and versions that a reader needs in order to repeat it, and references that are missing here. */
  readonly notes: readonly string[];
}

/** One of the benchmarks. */
export interface Part {
  /** As it is given on the command line. */
  readonly name: string;
  readonly description: string;
  /** Starts its servers, measures, checks, and ends everything that it started, also when it rejects. */
  run(options: BenchOptions): Promise<PartResult>;
}
