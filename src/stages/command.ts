import { isKind, SwitchbackError } from '../domain/errors.ts';
import { fillRemedy } from '../domain/remedy.ts';
import type { NewRequest, RequestResult } from '../sidecar/requests.ts';
import type { RunRow } from '../sidecar/run.ts';
import { askWorker, type CommandOptions, hasHolder } from './ask-worker.ts';
import type { RunContext } from './context.ts';
import { assertPlan, readRuns } from './open.ts';
import { snapshotBeforeCutover } from './snapshots/guards.ts';
import { progressNotes } from './snapshots/progress-notes.ts';
import { Worker } from './worker.ts';

/** How often a command is handed on when workers come and go before they have begun it. */
const MAX_ROUNDS = 5;

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
  if (request.command === 'cutover') {
    const made = await snapshotBeforeCutover(context, request.phases, {
      signal: options.signal,
      progress: progressNotes(context),
    });
    if (made) context.emit({ type: 'note', phase: null, text: `snapshot ${made.snapshot.id} is there` });
  }
  const asked = { request, mayEndRun: mayEndRun(request, rows.source) };
  for (let round = 1; ; round++) {
    const answer = (await hasHolder(context))
      ? { ...(await askWorker(context, asked, options)), here: false }
      : await workHere(context, request, options);
    if (answer !== null && (answer.unbegun !== true || round === MAX_ROUNDS)) return named(context, answer);
  }
};

/** A `resume` goes on with an end that has begun. */
const mayEndRun = ({ command, phases }: NewRequest, { facts }: RunRow): boolean => {
  if (command === 'abort' || command === 'finalise') return true;
  const ending = Object.keys(facts.ending ?? {});
  return command === 'resume' && ending.some((phase) => phases.length === 0 || phases.includes(phase));
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
    if (options.signal.aborted) {
      throw new SwitchbackError('refused', 'interrupted before the command was begun; nothing was done');
    }
    const result = await worker.execute(request);
    // Whoever was deposed in the middle of it was broken off, and that is what it has to say.
    if (result.exitCode !== 0) worker.throwIfFatal();
    return { ...result, here: true };
  } finally {
    options.signal.removeEventListener('abort', stop);
    await worker.close();
  }
};
