import type { Fit, StageCost } from '../../../src/stages/estimate/fit.ts';
import { fitConstants, type Observation } from './least-squares.ts';
import type { ApplyTimes, LaneTimes, StageTimes } from './measure.ts';

/** One fit: the constants by name, and each measurement against the model. */
export interface FittedPart<Name extends string> {
  readonly part: string;
  readonly unit: string;
  readonly constants: Readonly<Record<Name, number>>;
  readonly lines: readonly { readonly case: string; readonly measured: number; readonly modelled: number }[];
}

const solve = <Name extends string>(
  about: { readonly part: string; readonly unit: string; readonly names: readonly Name[] },
  measured: readonly (Observation & { readonly case: string })[],
): FittedPart<Name> => {
  const { constants, residuals } = fitConstants(measured);
  const named = about.names.map((name, at) => [name, constants[at] ?? 0] as const);
  return {
    part: about.part,
    unit: about.unit,
    constants: Object.fromEntries(named) as Record<Name, number>,
    lines: measured.map((one, at) => ({
      case: one.case,
      measured: one.outcome,
      modelled: one.outcome - (residuals[at] ?? 0),
    })),
  };
};

const COSTS = ['msPerPhase', 'msPerTable', 'msPerMillionRows', 'msPerGigabyte'] as const;

const fitStage = (stage: keyof Fit['stages'], times: readonly StageTimes[]): FittedPart<keyof StageCost> =>
  solve(
    { part: stage, unit: 'ms', names: COSTS },
    times.map(({ case: name, size, ms }) => ({
      case: name,
      // What is prepared is the same for a full table as for an empty one.
      inputs: [1, size.tables, ...(stage === 'prepare' ? [0, 0] : [size.rows / 1e6, size.bytes / 1e9])],
      outcome: ms[stage] ?? 0,
    })),
  );

/** All parts of the model. */
export interface FittedModel {
  readonly stages: Readonly<Record<keyof Fit['stages'], FittedPart<keyof StageCost>>>;
  readonly apply: FittedPart<'begin' | 'msPerChange'> & { readonly walBytesPerChange: number };
  readonly memory: FittedPart<keyof Fit['memory']>;
  readonly window: FittedPart<keyof Fit['window']>;
}

/** Fits the model to what was measured. */
export const fitModel = (measured: {
  readonly stages: readonly StageTimes[];
  readonly lanes: readonly LaneTimes[];
  readonly apply: readonly ApplyTimes[];
}): FittedModel => {
  const { stages, lanes, apply } = measured;
  const wal = apply.reduce((sum, one) => sum + one.walBytes, 0) / apply.reduce((sum, one) => sum + one.changes, 0);
  const applied = solve(
    { part: 'apply', unit: 'ms', names: ['begin', 'msPerChange'] },
    apply.map(({ case: name, changes, ms }) => ({ case: name, inputs: [1, changes], outcome: ms })),
  );
  return {
    stages: {
      prepare: fitStage('prepare', stages),
      copy: fitStage('copy', stages),
      build: fitStage('build', stages),
      verify: fitStage('verify', stages),
    },
    apply: { ...applied, walBytesPerChange: wal },
    memory: solve(
      { part: 'memory', unit: 'bytes', names: ['bytes', 'bytesPerLane'] },
      lanes.map((one) => ({ case: one.case, inputs: [1, one.lanes], outcome: one.memory })),
    ),
    window: solve(
      { part: 'window', unit: 'ms', names: ['ms', 'msPerTable', 'msPerTableAndLane'] },
      lanes.map((one) => ({
        case: one.case,
        inputs: [1, one.switched, one.switched * one.lanes],
        outcome: one.windowMs,
      })),
    ),
  };
};

const round = (value: number): number => Number(value.toPrecision(3));

const rounded = <T extends Readonly<Record<string, number>>>(values: T): T =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, round(value)])) as unknown as T;

/** The constants as the model uses them. */
export const fitOf = (model: FittedModel, from: Pick<Fit, 'date' | 'machine' | 'servers' | 'sizes'>): Fit => ({
  ...from,
  stages: {
    prepare: rounded(model.stages.prepare.constants),
    copy: rounded(model.stages.copy.constants),
    build: rounded(model.stages.build.constants),
    verify: rounded(model.stages.verify.constants),
  },
  apply: {
    changesPerSecond: round(1000 / model.apply.constants.msPerChange),
    walBytesPerChange: round(model.apply.walBytesPerChange),
  },
  memory: rounded(model.memory.constants),
  window: rounded(model.window.constants),
});
