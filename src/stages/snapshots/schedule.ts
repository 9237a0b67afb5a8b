import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { fillRemedy } from '../../domain/remedy.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { readSnapshots } from '../../sidecar/snapshots.ts';
import type { RunContext } from '../context.ts';
import type { Phase } from '../machine.ts';
import { createSnapshot } from './create.ts';
import { newestSnapshot } from './guards.ts';
import { progressNotes } from './progress-notes.ts';

const LOOK_MS = 30_000;
/** A store that is full or gone is not asked over and over; whoever mends it may make one by hand. */
const AFTER_FAILURE_MS = 900_000;

/** Whose snapshots are made while it soaks, and until when. */
export interface ScheduleOptions {
  readonly context: RunContext;
  readonly phases: readonly Phase[];
  readonly signal: AbortSignal;
  /** How often it is looked whether one is due. */
  readonly lookMs?: number;
}

/**
 * Makes a snapshot whenever the newest is older than the plan's `every` while a phase soaks, until the signal. Ages are by the
 * source's clock. One that fails is told, and stops nothing else. Never throws.
 */
export const keepSnapshots = async ({ context, phases, signal, lookMs = LOOK_MS }: ScheduleOptions): Promise<void> => {
  const everyMs = context.plan.snapshots?.everyMs ?? null;
  if (everyMs === null) return;
  let notBefore = 0;
  while (!signal.aborted) {
    if (phases.some(({ state }) => state.name === 'soaking') && monotonicMs() >= notBefore) {
      try {
        if (await isDue(context, everyMs)) await makeOne(context, signal);
      } catch (error) {
        if (signal.aborted) return;
        notBefore = monotonicMs() + AFTER_FAILURE_MS;
        context.emit({ type: 'finding', phase: null, finding: failure(context, error) });
      }
    }
    await sleep(lookMs, signal).catch(() => undefined);
  }
};

/** The records answer at once, and most of the time; the store has the last word. */
const isDue = async (context: RunContext, everyMs: number): Promise<boolean> => {
  const known = (await readSnapshots(context.source.sql)).find(({ state }) => state === 'available');
  if (known !== undefined && (known.takenMs ?? everyMs) < everyMs) return false;
  const newest = await newestSnapshot(context);
  return newest === null || newest.ageMs >= everyMs;
};

const makeOne = async (context: RunContext, signal: AbortSignal): Promise<void> => {
  const progress = progressNotes(context);
  // Somebody who makes one by hand at this moment makes the one that is due.
  const made = await createSnapshot(context, { reason: 'while soaking', isPatient: false, signal, progress });
  if (made) context.emit({ type: 'note', phase: null, text: `snapshot ${made.snapshot.id} is there` });
};

const failure = ({ plan }: RunContext, error: unknown): Finding => ({
  id: 'snapshot/failed',
  severity: 'warns',
  subject: 'snapshots',
  fact: `the one that is due was not made: ${messageOf(error)}`,
  remedy: fillRemedy(
    `${error instanceof SwitchbackError && error.remedy ? `${error.remedy}; or` : 'mend the cause, then'}: switchback snapshot create PLAN`,
    { plan: plan.path },
  ),
});
