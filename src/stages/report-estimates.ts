import type { SqlExecutor } from '../domain/sql.ts';
import { type PhaseTimes, readStageTimes } from '../sidecar/journal.ts';
import { ESTIMATED_STAGES, type EstimatedStage } from './estimate/estimate.ts';

/** A stage of a phase: what it was thought to take, and what it took. */
export interface StageOutcome {
  readonly stage: EstimatedStage | 'catch up';
  /** Made when the phase was prepared; null for what depends on how much is written, and in what the mirror knows. */
  readonly estimatedMs: number | null;
  /** Time of its steps that succeeded, all attempts together; null as long as there is none. */
  readonly actualMs: number | null;
}

/** Estimates and outcomes of a phase, in the order of its stages. */
export interface PhaseOutcome {
  readonly phase: string;
  readonly stages: readonly StageOutcome[];
}

type Estimates = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** Which stage of the model a step of the journal belongs to. */
const stageOf = (scope: string, step: string): StageOutcome['stage'] | null => {
  if (scope === 'prepare') return 'prepare';
  if (scope !== 'copy') return null;
  if (step === 'rows') return 'copy';
  return step === 'catch up' ? 'catch up' : 'build';
};

/** Compares what was estimated with what was taken. */
export const compareEstimates = (
  phases: readonly { readonly name: string; readonly verifiedSeconds: number | null }[],
  known: {
    /** As they were stored, maybe by another version with other stages. */
    readonly estimates: Estimates;
    readonly times: readonly PhaseTimes[];
  },
): readonly PhaseOutcome[] => {
  const times = Map.groupBy(known.times, ({ phase }) => phase);
  return phases.map(({ name, verifiedSeconds }) => {
    const spent = new Map<StageOutcome['stage'], number>();
    for (const { scope, step, ms } of times.get(name) ?? []) {
      const stage = stageOf(scope, step);
      if (stage !== null) spent.set(stage, (spent.get(stage) ?? 0) + ms);
    }
    if (verifiedSeconds !== null) spent.set('verify', verifiedSeconds * 1000);
    const estimate = known.estimates[name];
    const stages = [...ESTIMATED_STAGES.slice(0, -1), 'catch up', 'verify'] as const;
    return {
      phase: name,
      stages: stages.map((stage) => ({
        stage,
        estimatedMs: stage === 'catch up' ? null : (estimate?.[stage] ?? null),
        actualMs: spent.get(stage) ?? null,
      })),
    };
  });
};

/** Reads what the stages of all phases took. */
export const readOutcomes = async (
  sql: SqlExecutor,
  phases: Parameters<typeof compareEstimates>[0],
  estimates: Estimates,
): Promise<readonly PhaseOutcome[]> =>
  compareEstimates(phases, { estimates, times: await readStageTimes(sql, ['prepare', 'copy']) });
