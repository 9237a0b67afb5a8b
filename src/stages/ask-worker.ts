import { messageOf, SwitchbackError } from '../domain/errors.ts';
import { monotonicMs, sleep } from '../platform/clock.ts';
import { sidecarExists } from '../sidecar/install.ts';
import { type JournalEntry, lastJournalId, readJournal } from '../sidecar/journal.ts';
import { readLease } from '../sidecar/lease.ts';
import {
  appendRequest,
  type NewRequest,
  type RequestResult,
  readRequest,
  requestToken,
  UNBEGUN,
  withdrawRequest,
} from '../sidecar/requests.ts';
import type { RunContext } from './context.ts';
import { isHeld } from './holder.ts';

const POLL_MS = 150;
/** After this long without an answer of the source a command stops following what the worker does. */
const SOURCE_SILENT_MS = 60_000;

/** How a command is carried out. */
export interface CommandOptions {
  readonly signal: AbortSignal;
  /** Lines that the worker elsewhere writes to the journal meanwhile. */
  readonly onJournal: (entry: JournalEntry) => void;
}

/** A command that a worker is asked for. */
export interface Asked {
  readonly request: NewRequest;
  /** Whether it may end the run, so that the sidecars go with its answer. */
  readonly mayEndRun: boolean;
}

/** Whether somebody who may be alive holds the lease. */
export const hasHolder = async (context: RunContext): Promise<boolean> =>
  await isHeld(context, await readLease(context.source.sql));

/**
 * Hands a command to the worker that holds the lease and follows what that does until it is answered. Kinds: `refused` when
 * interrupted; `parked` when the worker has gone in the middle, the source is silent for a minute, or it cannot be found out
 * what became of the command.
 */
export const askWorker = async (context: RunContext, asked: Asked, options: CommandOptions): Promise<RequestResult> => {
  const errand = new Errand(context, asked, await lastJournalId(context.source.sql));
  let lostAt: number | null = null;
  for (;;) {
    if (options.signal.aborted) throw await errand.interrupted();
    try {
      const answer = await errand.look(options.onJournal);
      if (answer !== null) return answer;
      lostAt = null;
    } catch (error) {
      if (!isPassing(error)) throw error;
      // The worker goes on meanwhile; what it does is not known here until the source answers again.
      lostAt ??= monotonicMs();
      if (monotonicMs() - lostAt > SOURCE_SILENT_MS) throw errand.outOfTouch(error);
    }
    await sleep(POLL_MS, options.signal).catch(() => undefined);
  }
};

/** Whether the source may answer when it is asked again. Everything here may be asked again, whatever became of it. */
const isPassing = (error: unknown): boolean =>
  error instanceof SwitchbackError && (error.policy === 'retry' || error.policy === 'probe');

/** One command on its way through a worker. */
class Errand {
  readonly #context: RunContext;
  readonly #asked: Asked;
  readonly #token = requestToken();
  #seen: bigint;
  #isAppended = false;

  constructor(context: RunContext, asked: Asked, seen: bigint) {
    this.#context = context;
    this.#asked = asked;
    this.#seen = seen;
  }

  /** The answer, if there is one. Appends the request as often as it takes to be told that it is there. */
  async look(onJournal: CommandOptions['onJournal']): Promise<RequestResult | null> {
    const { sql } = this.#context.source;
    try {
      if (!this.#isAppended) await appendRequest(sql, this.#token, this.#asked.request);
      this.#isAppended = true;
      for (const entry of await readJournal(sql, { after: this.#seen, limit: 200 })) {
        this.#seen = entry.id;
        onJournal(entry);
      }
      return await this.#answer();
    } catch (error) {
      // The last abort or finalise of a run removes the sidecar, and the answer with it, at any moment.
      if (isPassing(error) || (await sidecarExists(sql))) throw error;
      return this.#afterRemoval();
    }
  }

  /** The error for whoever was interrupted. The request is taken back if no worker has taken it. */
  async interrupted(): Promise<SwitchbackError> {
    const { source, plan } = this.#context;
    const remedy = `switchback status ${plan.path}`;
    try {
      const isWithdrawn = await source.sql.transaction(async (sql) => {
        // One whose appending was not answered could otherwise come after this.
        await appendRequest(sql, this.#token, this.#asked.request);
        return await withdrawRequest(sql, this.#token);
      });
      return isWithdrawn
        ? new SwitchbackError('refused', 'interrupted before the worker took the command; nothing was done')
        : new SwitchbackError('refused', 'interrupted; the worker goes on with the command', { remedy });
    } catch (error) {
      return new SwitchbackError(
        'parked',
        `interrupted, and it could not be seen whether the worker goes on with the command: ${messageOf(error)}`,
        { remedy, cause: error },
      );
    }
  }

  /** The error for whoever has not reached the source for long. */
  outOfTouch(cause: unknown): SwitchbackError {
    const { path } = this.#context.plan;
    const worker = this.#isAppended
      ? 'the worker may be in the middle of the command'
      : 'it is not known whether the worker was handed the command, which it may carry out';
    return new SwitchbackError('parked', `the source does not answer, and ${worker}`, {
      remedy: `switchback status ${path}, and when the source answers again: switchback resume ${path}`,
      cause,
    });
  }

  async #answer(): Promise<RequestResult | null> {
    const { sql } = this.#context.source;
    const request = await readRequest(sql, this.#token);
    if (request === null) throw this.#gone();
    if (request.state === 'done' && request.result) return request.result;
    if (await hasHolder(this.#context)) return null;
    if (await withdrawRequest(sql, this.#token)) return UNBEGUN;
    // Read again: it may have finished the request and gone in between.
    if ((await readRequest(sql, this.#token))?.state !== 'taken') return null;
    throw new SwitchbackError('parked', 'the worker has gone in the middle of the command', {
      remedy: `find out what became of it, and go on: switchback resume ${this.#context.plan.path}`,
    });
  }

  /** It was appended, and the sidecar stands, but is not the one that it was appended to, or was mended. */
  #gone(): SwitchbackError {
    return new SwitchbackError(
      'parked',
      `the sidecar was made anew while the worker had the ${this.#asked.request.command}; it is not known whether that was carried out`,
      {
        remedy: `see what stands, and give the command again if it is wanted: switchback status ${this.#context.plan.path}`,
      },
    );
  }

  #afterRemoval(): RequestResult {
    if (this.#asked.mayEndRun) return { exitCode: 0, message: 'done; the run and its sidecars are removed' };
    const { request } = this.#asked;
    throw new SwitchbackError(
      'parked',
      `another command has ended the run and removed its sidecars, and with them what became of this ${request.command}`,
      {
        remedy: `ask whoever ended the run; whether there is another one: switchback status ${this.#context.plan.path}`,
      },
    );
  }
}
