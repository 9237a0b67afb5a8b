import { isKind, messageOf, SwitchbackError } from '../domain/errors.ts';
import type { Finding } from '../domain/finding.ts';
import { fillRemedy } from '../domain/remedy.ts';
import { sleep } from '../platform/clock.ts';
import { redactAll } from '../platform/redact.ts';
import { writeHalt } from '../sidecar/lanes.ts';
import { serverTime } from '../sidecar/phases.ts';
import type { RunContext } from './context.ts';
import type { Tenure } from './tenure.ts';

/** Between attempts to record a halt, in milliseconds. */
const RETRY_MS = 1_000;

/** Whose halt it is. */
export interface LaneHaltOptions {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly phase: string;
  readonly lane: string;
  /** Called when this process must stop at once: somebody else has taken over. */
  readonly onDeposed: (error: SwitchbackError) => void;
}

/** Why a lane is halted, if it is: told at once, recorded in the sidecar as soon as that can be, forgotten when a person says so. */
export class LaneHalt {
  readonly #options: LaneHaltOptions;
  #finding: Finding | null = null;
  /** Ends with `#forgetting`, or when the halt is recorded. */
  #recording: Promise<void> = Promise.resolve();
  #forgetting = new AbortController();

  constructor(options: LaneHaltOptions) {
    this.#options = options;
  }

  /** Why it is halted, or null. */
  get finding(): Finding | null {
    return this.#finding;
  }

  /** Halts it, tells of it and records it; where that cannot be recorded now, it is tried again in the background. */
  async set(found: Finding): Promise<void> {
    const { context, phase, lane } = this.#options;
    // An engine does not know how its user calls the plan.
    const remedy = fillRemedy(found.remedy, { plan: context.plan.path, phase });
    const finding = redactAll({ ...found, remedy });
    this.#finding = finding;
    context.emit({ type: 'halted', phase, lane, finding });
    if (!(await this.#record(finding))) this.#recording = this.#keepRecording(finding);
  }

  /** Forgets it here, for a lane that is open anew; what is recorded stays. */
  clear(): void {
    this.#finding = null;
  }

  /** Forgets it, here and in the sidecar. */
  async forget(): Promise<void> {
    await this.stopRecording();
    await this.#options.tenure.act((sql) => writeHalt(sql, this.#options.lane, null));
    this.#finding = null;
  }

  /** Gives up recording it. */
  async stopRecording(): Promise<void> {
    this.#forgetting.abort();
    await this.#recording;
    this.#forgetting = new AbortController();
  }

  /** Whether it is recorded, or need not be any more. */
  async #record(finding: Finding): Promise<boolean> {
    const { context, tenure, phase, lane, onDeposed } = this.#options;
    try {
      await tenure.act(async (sql) => {
        await writeHalt(sql, lane, { lane, at: await serverTime(sql), finding });
      });
      await tenure.flush();
      return true;
    } catch (error) {
      if (isKind(error, 'deposed')) {
        onDeposed(error);
        return true;
      }
      const text = `lane ${lane} is halted, and that could not be recorded: ${messageOf(error)}; trying again`;
      context.emit({ type: 'note', phase, text });
      return false;
    }
  }

  /** What halts a lane may be what keeps the source from recording it; a halt that only we know of, nobody would mend. */
  async #keepRecording(finding: Finding): Promise<void> {
    const { signal } = this.#forgetting;
    do await sleep(RETRY_MS, signal).catch(() => undefined);
    while (!signal.aborted && this.#finding === finding && !(await this.#record(finding)));
  }
}

/** The finding that an error halts a lane with: its own, or else that it failed. */
export const findingOf = (lane: string, error: unknown): Finding => {
  const [finding] = error instanceof SwitchbackError ? error.findings : [];
  return (
    finding ?? {
      id: 'lane/failed',
      severity: 'blocks',
      subject: lane,
      fact: messageOf(error),
      remedy:
        (error instanceof SwitchbackError ? error.remedy : undefined) ??
        'mend the cause, then: switchback resume PLAN PHASE',
    }
  );
};

/** The error for whoever needs a lane that is halted. */
export const haltedError = (lane: string, finding: Finding): SwitchbackError =>
  new SwitchbackError('halted', `lane ${lane} is halted: ${finding.fact}`, {
    remedy: finding.remedy,
    findings: [finding],
  });
