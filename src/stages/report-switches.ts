import type { StepStatus } from '../domain/event.ts';
import type { Direction, Position } from '../domain/position.ts';
import type { Outcome } from '../sidecar/switches.ts';
import type { JournalLine } from './status.ts';

/** One attempt at a step, from its intent to its outcome. */
export interface ReportStep {
  readonly step: string;
  /** `begun` means that no outcome was recorded: it is under way, or its worker ended in it. */
  readonly status: StepStatus;
  /** Server time of the intent, ISO 8601 UTC. */
  readonly at: string;
  /** Duration on the worker's monotonic clock; null where no outcome was recorded. */
  readonly ms: number | null;
  readonly detail: string | null;
}

/** A switch from its checks to the release of the clients, or to the end of its undoing. */
export interface ReportSwitch {
  readonly id: string;
  readonly direction: Direction;
  readonly phases: readonly string[];
  /** Null while it is in doubt. */
  readonly outcome: Outcome | null;
  /** Server time of the intent, ISO 8601 UTC. */
  readonly at: string;
  readonly epoch: string;
  /** P: the head of the losing side after the fence. Null before that step, and unknown to the mirror. */
  readonly fencedAt: Position | null;
  /** R: where the lane back starts. */
  readonly reverseFrom: Position | null;
  /** From the hold to the release by the server's clock: how long clients waited. Null when they never did, or still do. */
  readonly windowMs: number | null;
  readonly steps: readonly ReportStep[];
}

/** What the record of a switch says of it; its steps are in the journal. */
export type SwitchFacts = Omit<ReportSwitch, 'windowMs' | 'steps'>;

/** The step that is looked at before there is an intent. */
export const CHECKS_STEP = 'checks';
const HOLD_STEP = 'hold';
/** Steps that let the clients go on, after a commit and after an abort. */
const RELEASE_STEPS: ReadonlySet<string> = new Set(['release', 'undo hold']);

/** A switch with its steps and its window, from its lines of the journal, oldest first. */
export const reportSwitch = (facts: SwitchFacts, lines: readonly JournalLine[]): ReportSwitch => {
  const own = lines.slice(firstOwnLine(lines));
  return { ...facts, windowMs: windowOf(own), steps: stepsOf(own) };
};

/**
 * A switch that its checks refuse is never recorded, and the next one may get its name. So only the last checks before
 * the first effect belong to the switch; what earlier ones found is in the journal.
 */
const firstOwnLine = (lines: readonly JournalLine[]): number => {
  const effect = lines.findIndex((line) => line.step !== CHECKS_STEP);
  const before = effect === -1 ? lines : lines.slice(0, effect);
  return Math.max(
    0,
    before.findLastIndex((line) => line.status === 'begun'),
  );
};

/** Pairs each intent with its outcome. An outcome without an intent, as after a cut-off journal, is a step of its own. */
const stepsOf = (lines: readonly JournalLine[]): readonly ReportStep[] => {
  const steps: ReportStep[] = [];
  for (const { step, status, at, ms, detail } of lines) {
    const open = status === 'begun' ? -1 : steps.findLastIndex((s) => s.step === step && s.status === 'begun');
    const begun = steps[open];
    if (begun) steps[open] = { ...begun, status, ms, detail };
    else steps.push({ step, status, at, ms, detail });
  }
  return steps;
};

const windowOf = (lines: readonly JournalLine[]): number | null => {
  const held = lines.find((line) => line.step === HOLD_STEP && line.status === 'begun');
  const released = lines.findLast((line) => RELEASE_STEPS.has(line.step) && line.status === 'done');
  return held && released ? Date.parse(released.at) - Date.parse(held.at) : null;
};
