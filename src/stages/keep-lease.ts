import { isKind, messageOf } from '../domain/errors.ts';
import { sleep } from '../platform/clock.ts';
import { HEARTBEAT_MS } from '../sidecar/lease.ts';
import type { RunContext } from './context.ts';
import type { Tenure } from './tenure.ts';

/** Whose lease is kept, and until when. */
export interface KeepLeaseOptions {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly signal: AbortSignal;
  /** Called once when somebody else has taken over; the lease is not kept any longer then. */
  readonly onDeposed: (error: unknown) => void;
}

/** Keeps the lease by a heartbeat, until the signal. Never throws. */
export const keepLease = async ({ context, tenure, signal, onDeposed }: KeepLeaseOptions): Promise<void> => {
  while (!signal.aborted) {
    try {
      await tenure.heartbeat();
    } catch (error) {
      // Without a heartbeat somebody may take over; until they do, the epochs in the databases keep us honest.
      if (isKind(error, 'deposed')) return onDeposed(error);
      context.emit({ type: 'note', phase: null, text: `heartbeat: ${messageOf(error)}` });
    }
    await sleep(HEARTBEAT_MS, signal).catch(() => undefined);
  }
};
