import { isKind, messageOf } from '../domain/errors.ts';
import { sleep } from '../platform/clock.ts';
import { finishRequest, hasRequests, type NewRequest, type RequestResult, takeRequest } from '../sidecar/requests.ts';
import type { RunContext } from './context.ts';
import type { Tenure } from './tenure.ts';

const REQUEST_POLL_MS = 200;
const ANSWER_PAUSE_MS = 2_000;

/** What serving requests needs of the worker. */
export interface Desk {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly execute: (request: NewRequest) => Promise<RequestResult>;
  /** Called when this process must stop at once. */
  readonly onDeposed: (error: unknown) => void;
  /** Aborted when no more requests are to be taken. */
  readonly signal: AbortSignal;
  /** Aborted when the worker itself has stopped, so that nobody can be answered any more. */
  readonly stopped: AbortSignal;
}

/** Takes requests one after the other, carries them out and records the answers, until the signal. */
export const serveRequests = async (desk: Desk): Promise<void> => {
  const { context, tenure, signal } = desk;
  while (!signal.aborted) {
    try {
      // A look takes no lock; the lease's row would otherwise be written several times a second.
      const request = (await hasRequests(context.source.sql)) ? await tenure.act(takeRequest) : null;
      if (request) {
        await answer(desk, request.token, await desk.execute(request));
        continue;
      }
    } catch (error) {
      if (isKind(error, 'deposed')) return desk.onDeposed(error);
      context.emit({ type: 'note', phase: null, text: `requests: ${messageOf(error)}` });
    }
    await sleep(REQUEST_POLL_MS, signal).catch(() => undefined);
  }
};

/** Whoever asked waits for it, so it is tried until the source takes it or the worker stops. */
const answer = async ({ context, stopped }: Desk, token: string, result: RequestResult): Promise<void> => {
  for (;;) {
    try {
      return await finishRequest(context.source.sql, token, result);
    } catch (error) {
      // After the last phase's end there is no sidecar to answer in; whoever asked sees that.
      if (stopped.aborted) return;
      context.emit({ type: 'note', phase: null, text: `the answer was not recorded: ${messageOf(error)}` });
      await sleep(ANSWER_PAUSE_MS, stopped).catch(() => undefined);
    }
  }
};
