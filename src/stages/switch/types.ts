import type { Direction, Position } from '../../domain/position.ts';
import { sidesOf } from '../../domain/position.ts';
import type { SwitchDocument, SwitchRecord } from '../../sidecar/switches.ts';
import type { PhaseScope, RunContext, SidePorts } from '../context.ts';
import { portsOf } from '../context.ts';
import type { LaneRunner } from '../lane-runner.ts';
import type { Phase } from '../machine.ts';
import type { TableLoss } from '../snapshots/loss.ts';
import type { StepScope, Tenure } from '../tenure.ts';
import type { Arrival } from './arrival.ts';

/** What the worker lends to a switch. */
export interface SwitchTools {
  readonly context: RunContext;
  readonly tenure: Tenure;
  /** A runner for a lane of a phase in a direction; not opened. Its slot is recorded before it is used. */
  runnerFor(phase: PhaseScope, direction: Direction, slot: string): LaneRunner;
  /** Verifies the phase's tables while the lane follows, so that every later change is known by key. */
  certify(phase: Phase, signal: AbortSignal): Promise<void>;
  readonly signal: AbortSignal;
  /** Clients' paths are asked once after the switch, and not waited for. */
  readonly asksOnce?: boolean;
}

/** A failback that gives up what the target has beyond a restored source. */
export interface AsRestored {
  /** Milliseconds that the window is longer than the plan's: within it all rows are compared, and not those that changed last. */
  comparisonMs: number;
  /** What is lost, when both sides stand still. */
  losses: readonly TableLoss[];
}

/** A switch under way. A is the side that loses the writes, B the one that gets them. */
export interface Switch {
  readonly id: string;
  readonly direction: Direction;
  readonly phases: readonly Phase[];
  readonly tools: SwitchTools;
  document: SwitchDocument;
  /** Lanes B→A by phase, opened before the window. */
  readonly wayBack: Map<string, LaneRunner>;
  /** The source becomes the primary as it was restored, whatever the target has beyond it; see `as-restored.ts`. */
  readonly asRestored: AsRestored | null;
  /** Begins to count the window. */
  readonly startWindow: () => void;
  /** Milliseconds that are left of the window; throws kind `aborted` when there are none. */
  readonly left: () => number;
}

/** The losing side. */
export const sideA = (s: Switch): SidePorts => portsOf(s.tools.context, sidesOf(s.direction).from);

/** The winning side. */
export const sideB = (s: Switch): SidePorts => portsOf(s.tools.context, sidesOf(s.direction).to);

/** Where the steps of a switch stand in the journal. */
export const scopeOfSwitch = (s: { id: string; phases: readonly { readonly name: string }[] }): StepScope => ({
  scope: s.id,
  phases: s.phases.map((phase) => phase.name),
});

/** The runner of the lane A→B. */
export const runnerOf = (phase: Phase): LaneRunner => {
  if (!phase.runner) throw new Error(`phase ${phase.name} has no lane`);
  return phase.runner;
};

/**
 * Does something for all phases at once. When one fails the others are waited for all the same: a lane that is stopped after
 * the undo has begun would not follow any more.
 */
export const allOf = async <T>(phases: readonly Phase[], work: (phase: Phase) => Promise<T>): Promise<readonly T[]> => {
  const settled = await Promise.allSettled(phases.map(work));
  return settled.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
};

/** A position that an earlier step recorded. */
export const recorded = (position: Position | undefined, step: string): Position => {
  if (position === undefined) throw new Error(`the position of step "${step}" was not recorded`);
  return position;
};

/** What a finished switch tells. */
export interface SwitchResult {
  readonly switchId: string;
  /** From the first hold to the last release, on a monotonic clock. */
  readonly windowMs: number;
  readonly arrival: Arrival;
  /** Of a failback to the source as it was restored. */
  readonly losses?: readonly TableLoss[];
}

/** The switch as its sidecar row, without the time. */
export const recordOf = (s: Switch): Omit<SwitchRecord, 'at'> => ({
  id: s.id,
  direction: s.direction,
  phases: s.phases.map((phase) => phase.name),
  epoch: s.tools.tenure.epoch,
  document: s.document,
});
