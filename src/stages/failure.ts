import { isKind, messageOf, SwitchbackError } from '../domain/errors.ts';
import { fillRemedy } from '../domain/remedy.ts';
import { redactAll } from '../platform/redact.ts';
import type { RequestCommand, RequestResult } from '../sidecar/requests.ts';
import type { RunContext } from './context.ts';

/** A command that failed, and the worker that was carrying it out. */
export interface FailedCommand {
  readonly context: RunContext;
  readonly command: RequestCommand;
  /** The worker's own, aborted when it was told to stop. */
  readonly signal: AbortSignal;
}

const WHEN_IT_ANSWERS =
  'when it answers again, see what stands: switchback status PLAN, and complete or undo what was begun: switchback resume PLAN';

/** The answer to a command that failed. */
export const failureOf = (thrown: unknown, failed: FailedCommand): RequestResult => {
  const error = explained(thrown, failed);
  return redactAll({
    exitCode: error instanceof SwitchbackError ? error.exitCode : 1,
    message: messageOf(error),
    ...(error instanceof SwitchbackError && error.remedy
      ? { remedy: fillRemedy(error.remedy, { plan: failed.context.plan.path }) }
      : {}),
    ...(error instanceof SwitchbackError && error.findings.length > 0 ? { findings: error.findings } : {}),
  });
};

const explained = (error: unknown, { command, signal }: FailedCommand): unknown => {
  if (isKind(error, 'unreachable')) {
    const remedy = error.remedy === undefined ? WHEN_IT_ANSWERS : `${error.remedy}; ${WHEN_IT_ANSWERS}`;
    return new SwitchbackError('unreachable', error.message, { remedy, findings: error.findings, cause: error });
  }
  // What is broken off by the worker's signal says only that it was broken off.
  if (!signal.aborted || error instanceof SwitchbackError) return error;
  return new SwitchbackError('refused', `interrupted in the middle of the ${command}`, {
    remedy: 'see what stands: switchback status PLAN',
    cause: error,
  });
};
