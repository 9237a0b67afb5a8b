import type { Verdict } from './checkers/verdict.ts';
import { violationsIn } from './checkers/verdict.ts';
import type { Prober } from './prober.ts';
import type { Readers } from './readers.ts';
import { count, type Recovery, type RunRecord } from './record.ts';
import type { Stage } from './stage.ts';
import { WORKLOAD_NAMES, type WorkloadName } from './workloads.ts';

type Counts = Readonly<Record<string, number>>;

/** What one workload's checker saw. */
export interface WorkloadSummary {
  readonly operations: number;
  readonly acknowledged: number;
  readonly failed: number;
  readonly unknown: number;
  readonly unknown_done: number;
  readonly reads: number;
  readonly current_reads: number;
  readonly violations: number;
}

/** What the checkers said, and how many faults they were given on purpose, all of which they must report. */
export interface Judged {
  readonly verdicts: Readonly<Record<WorkloadName, Verdict>>;
  readonly controls: number;
}

/** The verdict of a run and how much it covered; its JSON line. */
export interface Summary {
  readonly ok: boolean;
  readonly seed: number;
  readonly minutes: number;
  readonly seconds: number;
  readonly servers: { readonly source: string; readonly target: string };
  /** False when it was interrupted: then nothing was judged. */
  readonly finished: boolean;
  readonly switches: { readonly asked: number; readonly committed: number; readonly undone: number };
  /** How the commands that asked for a switch ended. */
  readonly exits: Counts;
  readonly worker_exits: Counts;
  /** Routers of each phase's writers, moves of readers by exit code, and how often readers have looked at each side; null without a router of theirs. */
  readonly routers: number;
  readonly readers: { readonly moves: Counts; readonly looks: Counts } | null;
  readonly workloads: Readonly<Partial<Record<WorkloadName, WorkloadSummary>>>;
  readonly operations: number;
  readonly unknown_outcomes: number;
  /** Faults by kind, and in each by what the switch was doing. */
  readonly faults: Readonly<Record<string, Counts>>;
  /** Faults planted in a copy of the history after the run; one that was not reported is a violation. */
  readonly negative_controls: number;
  readonly probes: number;
  readonly both_writable: number;
  /** The longest time for which a phase could be written nowhere, servers that were down and dead links included. */
  readonly longest_pause_ms: number;
  readonly recoveries: number;
  readonly slowest_recovery_ms: number;
  readonly obstacles: Counts;
  /** Kinds of faults that this machine cannot have. */
  readonly skipped: readonly string[];
  readonly violations: readonly string[];
  readonly folder?: string;
}

/** Makes the summary. */
export const summarise = (made: {
  readonly options: { readonly seed: number; readonly minutes: number; readonly switches: number };
  readonly stage: Stage;
  readonly record: RunRecord;
  readonly prober: Prober;
  readonly readers?: Readers | undefined;
  readonly outcomes: { readonly committed: number; readonly aborted: number };
  readonly judged: Judged | undefined;
  readonly seconds: number;
  readonly skipped?: readonly string[];
}): Summary => {
  const { options, stage, record, prober, outcomes, judged } = made;
  const workloads = Object.fromEntries(
    judged === undefined ? [] : WORKLOAD_NAMES.map((name) => [name, workloadSummary(judged.verdicts[name])]),
  );
  const all = Object.values(workloads);
  const operations = all.reduce((sum, workload) => sum + workload.operations, 0);
  const enough = outcomes.committed >= options.switches && all.every(({ acknowledged }) => acknowledged > 0);
  return {
    ok: judged !== undefined && record.violations.length === 0 && enough,
    seed: options.seed,
    minutes: options.minutes,
    seconds: Math.round(made.seconds),
    servers: { source: stage.servers.source.version, target: stage.servers.target.version },
    finished: judged !== undefined,
    switches: { asked: options.switches, committed: outcomes.committed, undone: outcomes.aborted },
    exits: record.exits,
    worker_exits: record.workerExits,
    routers: stage.routeFiles.writers.length,
    readers: made.readers === undefined ? null : { moves: record.readersExits, looks: made.readers.looks },
    workloads,
    operations,
    unknown_outcomes: all.reduce((sum, workload) => sum + workload.unknown, 0),
    faults: faultCounts(record),
    negative_controls: judged?.controls ?? 0,
    probes: prober.probes,
    both_writable: prober.bothWritable,
    longest_pause_ms: Math.round(prober.longestPauseMs),
    recoveries: record.recoveries.length,
    slowest_recovery_ms: Math.round(slowest(record.recoveries)),
    obstacles: record.obstacles,
    skipped: made.skipped ?? [],
    violations: record.violations,
  };
};

const slowest = (recoveries: readonly Recovery[]): number => Math.max(0, ...recoveries.map(({ ms }) => ms));

const workloadSummary = (verdict: Verdict): WorkloadSummary => ({
  operations: verdict.acknowledged + verdict.failed + verdict.unknown,
  acknowledged: verdict.acknowledged,
  failed: verdict.failed,
  unknown: verdict.unknown,
  unknown_done: verdict.unknownDone,
  reads: verdict.reads,
  current_reads: verdict.currentReads,
  violations: violationsIn(verdict),
});

const faultCounts = (record: RunRecord): Record<string, Counts> => {
  const counts: Record<string, Record<string, number>> = {};
  for (const { kind, moment } of record.faults) {
    const moments = counts[kind] ?? {};
    counts[kind] = moments;
    count(moments, moment);
  }
  return counts;
};

/** The summary as text for people. */
export const summaryText = (s: Summary): string => {
  const lines = [
    `PostgreSQL ${s.servers.source} → ${s.servers.target}, ${s.seconds} s`,
    `switches: ${s.switches.committed} committed (${s.switches.asked} asked for), ${s.switches.undone} undone; commands by exit code ${countsText(s.exits)}`,
    ...(s.readers === null ? [] : [readersText(s.routers, s.readers)]),
    `operations: ${s.operations} checked, ${s.unknown_outcomes} of unknown outcome`,
    ...Object.entries(s.workloads).map(
      ([name, w]) =>
        `  ${name.padEnd(9)} ${w.acknowledged} acknowledged, ${w.failed} failed, ${w.unknown} unknown (${w.unknown_done} done); ${w.reads} reads, ${w.current_reads} judged for recency; ${w.violations} violations`,
    ),
    `faults: ${Object.values(s.faults).reduce((sum, moments) => sum + total(moments), 0)}`,
    ...Object.entries(s.faults).map(
      ([kind, moments]) => `  ${kind.padEnd(28)} ${total(moments)}: ${countsText(moments)}`,
    ),
    ...s.skipped.map((what) => `  not had here: ${what}`),
    `probes: ${s.probes}, both sides writable ${s.both_writable} times; the longest time without a writable side ${s.longest_pause_ms} ms`,
    `negative controls: ${s.negative_controls} planted`,
    `recoveries by a printed command: ${s.recoveries}, the slowest ${s.slowest_recovery_ms} ms`,
    `workers ended: ${countsText(s.worker_exits)}; stopped until resumed: ${countsText(s.obstacles)}`,
    ...s.violations.map((what) => `VIOLATION: ${what}`),
    s.ok ? '0 violations' : s.finished ? 'FAILED' : 'interrupted; nothing was judged',
  ];
  return lines.join('\n');
};

const readersText = (routers: number, { moves, looks }: NonNullable<Summary['readers']>): string =>
  `routers: ${routers} of each phase, and one of its readers: moves by exit code ${countsText(moves)}; looks at ${countsText(looks)}`;

const total = (counts: Counts): number => Object.values(counts).reduce((sum, n) => sum + n, 0);

const countsText = (counts: Counts): string =>
  Object.entries(counts)
    .map(([name, n]) => `${name} ${n}`)
    .join(', ') || 'none';
