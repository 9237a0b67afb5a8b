import { isKind, SwitchbackError } from '../domain/errors.ts';
import { fillRemedy } from '../domain/remedy.ts';
import { monotonicMs, sleep } from '../platform/clock.ts';
import { sidecarExists } from '../sidecar/install.ts';
import { type JournalEntry, lastJournalId, readJournal } from '../sidecar/journal.ts';
import { readLease } from '../sidecar/lease.ts';
import {
  appendRequest,
  type NewRequest,
  type RequestResult,
  readRequest,
  UNBEGUN,
  withdrawRequest,
} from '../sidecar/requests.ts';
import type { RunContext } from './context.ts';
import { isHeld } from './holder.ts';
import { assertPlan, readRuns } from './open.ts';
import { Worker } from './worker.ts';

const POLL_MS = 150;
/** How often a command is handed on when workers come and go before they have begun it. */
const MAX_ROUNDS = 5;
/** After this long without an answer of the source a command stops following what the worker does. */
const SOURCE_SILENT_MS = 60_000;

/** How a command is carried out. */
export interface CommandOptions {
  readonly signal: AbortSignal;
  /** Lines that the worker elsewhere writes to the journal meanwhile. */
  readonly onJournal: (entry: JournalEntry) => void;
}

/**
 * Carries out a command: hands it to the worker that holds the lease and follows what that does, or, when nobody holds it,
 * takes the lease and does the work here (DESIGN 2). `here` in the answer says which it was.
 */
export const carryOut = async (
  context: RunContext,
  request: NewRequest,
  options: CommandOptions,
): Promise<RequestResult & { readonly here: boolean }> => {
  const rows = await readRuns(context);
  if (!rows.source) {
    throw new SwitchbackError('refused', 'no run has been begun on these databases', {
      remedy: `switchback run ${context.plan.path}`,
    });
  }
  assertPlan(context, rows.source);
  for (let round = 1; ; round++) {
    const answer = (await hasHolder(context))
      ? { ...(await askWorker(context, request, options)), here: false }
      : await workHere(context, request, options);
    if (answer !== null && (answer.unbegun !== true || round === MAX_ROUNDS)) return named(context, answer);
  }
};

/** Answers that were left in the sidecar do not know what the plan is called here. */
const named = <T extends RequestResult>({ plan }: RunContext, answer: T): T =>
  answer.remedy === undefined ? answer : { ...answer, remedy: fillRemedy(answer.remedy, { plan: plan.path }) };

/** Takes the lease and does the work in this process. Null when somebody else was quicker to take it. */
const workHere = async (
  context: RunContext,
  request: NewRequest,
  options: CommandOptions,
): Promise<(RequestResult & { readonly here: boolean }) | null> => {
  let worker: Worker;
  try {
    worker = await Worker.open(context);
  } catch (error) {
    if (isKind(error, 'refused') && (await hasHolder(context))) return null;
    throw error;
  }
  const stop = () => worker.stop();
  options.signal.addEventListener('abort', stop);
  if (options.signal.aborted) stop();
  try {
    return { ...(await worker.execute(request)), here: true };
  } finally {
    options.signal.removeEventListener('abort', stop);
    await worker.close();
  }
};

const hasHolder = async (context: RunContext): Promise<boolean> =>
  await isHeld(context, await readLease(context.source.sql));

const askWorker = async (context: RunContext, request: NewRequest, options: CommandOptions): Promise<RequestResult> => {
  const { sql } = context.source;
  let seen = await lastJournalId(sql);
  const id = await appendRequest(sql, request);
  let lostAt: number | null = null;
  for (;;) {
    if (options.signal.aborted) throw await interrupted(context, id);
    try {
      for (const entry of await readJournal(sql, { after: seen, limit: 200 })) {
        seen = entry.id;
        options.onJournal(entry);
      }
      const answer = await readRequest(sql, id);
      if (answer?.state === 'done' && answer.result) return answer.result;
      if (await isAbandoned(context, id)) return UNBEGUN;
      lostAt = null;
    } catch (error) {
      if (isKind(error, 'unreachable')) {
        // The worker goes on meanwhile; what it does is not known here until the source answers again.
        lostAt ??= monotonicMs();
        if (monotonicMs() - lostAt > SOURCE_SILENT_MS) throw outOfTouch(context, error);
        await sleep(POLL_MS, options.signal).catch(() => undefined);
        continue;
      }
      // The last abort or finalise of a run removes the sidecar, and the answer with it, at any moment.
      if (await sidecarExists(sql)) throw error;
      return { exitCode: 0, message: 'done; the run and its sidecars are removed' };
    }
    await sleep(POLL_MS, options.signal).catch(() => undefined);
  }
};

const outOfTouch = (context: RunContext, cause: unknown): SwitchbackError =>
  new SwitchbackError('parked', 'the source does not answer, and the worker may be in the middle of the command', {
    remedy: `switchback status ${context.plan.path}, and when the source answers again: switchback resume ${context.plan.path}`,
    cause,
  });

const interrupted = async (context: RunContext, id: bigint): Promise<SwitchbackError> =>
  (await withdrawRequest(context.source.sql, id))
    ? new SwitchbackError('refused', 'interrupted before the worker took the command; nothing was done')
    : new SwitchbackError('refused', 'interrupted; the worker goes on with the command', {
        remedy: `switchback status ${context.plan.path}`,
      });

/** Whether the worker has gone before it took the request, which is withdrawn then. Throws kind `parked` when it went after. */
const isAbandoned = async (context: RunContext, id: bigint): Promise<boolean> => {
  const { sql } = context.source;
  if (await hasHolder(context)) return false;
  if (await withdrawRequest(sql, id)) return true;
  // Read again: it may have finished the request and gone in between.
  if ((await readRequest(sql, id))?.state !== 'taken') return false;
  throw new SwitchbackError('parked', 'the worker has gone in the middle of the command', {
    remedy: `find out what became of it, and go on: switchback resume ${context.plan.path}`,
  });
};
