import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { readOutcome } from '../../sidecar/switches.ts';
import { routersOf } from '../routes.ts';
import { settleSwitch } from './settle.ts';
import { recordOf, type Switch, type SwitchResult } from './types.ts';

/** How long the outcome of a lost COMMIT is asked for before the switch is parked. */
const OUTCOME_BUDGET_MS = 10_000;

/** What made a switch fail, and how far it had come. */
export interface Failure {
  readonly error: unknown;
  /** Whether its intent may be recorded. */
  readonly intended: boolean;
  /** On the monotonic clock. */
  readonly windowBegan: number;
  /** Completes the switch, if it turns out that it has committed. */
  readonly complete: () => Promise<SwitchResult>;
}

/** After a failure: the commit record decides whether everything is undone or the switch is completed after all. */
export const giveUp = async (s: Switch, failure: Failure): Promise<SwitchResult> => {
  const { error, intended, windowBegan, complete } = failure;
  if (isKind(error, 'deposed')) {
    // Slots of a switch that is not recorded have names of its own, and nobody else knows of them.
    await (intended ? letGo(s) : dropUnused(s));
    throw error;
  }
  if (!intended) {
    await dropUnused(s);
    throw s.tools.signal.aborted ? interrupted(s, 'before its window; nothing was changed', error) : error;
  }
  const outcome = await outcomeOf(s).catch(async (unknown: unknown) => {
    await closeWayBack(s);
    throw unknown;
  });
  if (outcome === 'committed') return await complete();
  await closeWayBack(s);
  const settled = await settleSwitch({ record: recordOf(s), phases: s.phases, tools: s.tools });
  // The commit whose answer was lost came through after all: the worker opens the lane of the new state by itself.
  if (settled.outcome === 'committed') {
    for (const phase of s.phases) {
      await phase.runner?.close().catch(() => undefined);
      phase.runner = null;
    }
    return { switchId: s.id, windowMs: monotonicMs() - windowBegan, arrival: settled.arrival };
  }
  for (const phase of s.phases) phase.runner?.start();
  if (s.tools.signal.aborted) throw interrupted(s, 'and undone; the application goes on where it was', error);
  throw new SwitchbackError('aborted', `${s.id} was undone: ${messageOf(error)}`, {
    remedy:
      error instanceof SwitchbackError && error.remedy
        ? error.remedy
        : 'the application goes on where it was; try again',
    cause: error,
    ...(error instanceof SwitchbackError ? { findings: error.findings } : {}),
  });
};

/**
 * Somebody else has taken over and settles everything; but a router that does not know epochs may have been told to hold
 * after that one released it, and nobody would come again.
 */
const letGo = async (s: Switch): Promise<void> => {
  for (const { router, name, phases } of routersOf(
    s.tools.context,
    s.phases.map((phase) => phase.name),
  )) {
    await router.release(phases).catch((error: unknown) =>
      s.tools.context.emit({
        type: 'note',
        phase: null,
        text: `router ${name} was not released: ${messageOf(error)}`,
      }),
    );
  }
};

const closeWayBack = async (s: Switch): Promise<void> => {
  for (const runner of s.wayBack.values()) await runner.close().catch(() => undefined);
};

/** Their names were made a moment ago, and nobody who has taken over since uses them: even then they may go. */
const UNGUARDED = async (): Promise<void> => undefined;

/** Nothing has been recorded yet: the slots made for the way back go, by name, also one whose making failed half-way. */
const dropUnused = async (s: Switch): Promise<void> => {
  const { engine, emit } = s.tools.context;
  await closeWayBack(s);
  for (const runner of s.wayBack.values()) {
    await engine
      .retire({
        direction: runner.direction,
        slot: runner.slot,
        publication: null,
        guard: UNGUARDED,
        guardWritten: UNGUARDED,
      })
      .catch((error: unknown) =>
        emit({ type: 'note', phase: null, text: `slot ${runner.slot} is still there: ${messageOf(error)}` }),
      );
  }
};

const interrupted = (s: Switch, what: string, cause: unknown): SwitchbackError =>
  new SwitchbackError('aborted', `${s.id} was interrupted ${what}`, {
    remedy: `switchback status ${s.tools.context.plan.path}`,
    cause,
  });

/** What is recorded; asked again for a while when the source does not answer, because guessing could break S11. */
const outcomeOf = async (s: Switch): Promise<'committed' | 'aborted' | null> => {
  const begun = monotonicMs();
  for (;;) {
    try {
      return await s.tools.tenure.act((sql) => readOutcome(sql, s.id));
    } catch (error) {
      if (isKind(error, 'deposed')) throw error;
      if (monotonicMs() - begun > OUTCOME_BUDGET_MS) {
        throw new SwitchbackError('parked', `it is not known whether ${s.id} was committed: ${messageOf(error)}`, {
          remedy: `when the source answers again: switchback resume ${s.tools.context.plan.path}`,
          cause: error,
        });
      }
      await sleep(500);
    }
  }
};
