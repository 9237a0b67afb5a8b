/**
 * A kind of violation that a checker can find: an acknowledged effect that is missing; one that is there more than once;
 * operations that fit no order that respects real time; an effect of a failed operation or of none; a read of the past; a
 * total that is not constant.
 */
export type Violation = 'lost' | 'duplicated' | 'reordered' | 'phantom' | 'stale' | 'unbalanced';

/** What a checker found in one workload's history, and how much it has looked at. */
export interface Verdict {
  readonly acknowledged: number;
  readonly failed: number;
  readonly unknown: number;
  /** Unknown writes that turned out done; never a violation by themselves. */
  readonly unknownDone: number;
  /** Reads that were compared, and those among them that were also judged for recency. */
  readonly reads: number;
  readonly currentReads: number;
  readonly violations: Readonly<Record<Violation, number>>;
  /** The first few of each kind, as sentences. */
  readonly examples: readonly string[];
}

const EXAMPLES_OF_EACH = 5;

/** Collects violations, each subject once for each kind, so that one fault is not counted by every rule that sees it. */
export class Violations {
  readonly counts: Record<Violation, number> = {
    lost: 0,
    duplicated: 0,
    reordered: 0,
    phantom: 0,
    stale: 0,
    unbalanced: 0,
  };
  readonly examples: string[] = [];
  readonly #seen = new Set<string>();

  add(kind: Violation, subject: string, what: string): void {
    const name = `${kind} ${subject}`;
    if (this.#seen.has(name)) return;
    this.#seen.add(name);
    this.counts[kind] += 1;
    if (this.counts[kind] <= EXAMPLES_OF_EACH) this.examples.push(`${kind}: ${subject} ${what}`);
  }
}

/** What a checker has looked at. */
interface Looked {
  readonly operations: Iterable<{ readonly outcome: 'acknowledged' | 'failed' | 'unknown' }>;
  readonly unknownDone: number;
  readonly reads: readonly { readonly isCurrent: boolean }[];
  readonly found: Violations;
}

/** Sums up what a checker has looked at and found. */
export const verdictOf = ({ operations, unknownDone, reads, found }: Looked): Verdict => {
  const counts = { acknowledged: 0, failed: 0, unknown: 0 };
  for (const { outcome } of operations) counts[outcome] += 1;
  return {
    ...counts,
    unknownDone,
    reads: reads.length,
    currentReads: reads.filter((read) => read.isCurrent).length,
    violations: found.counts,
    examples: found.examples,
  };
};

/** How many violations a verdict holds. */
export const violationsIn = (verdict: Verdict): number =>
  Object.values(verdict.violations).reduce((sum, count) => sum + count, 0);
