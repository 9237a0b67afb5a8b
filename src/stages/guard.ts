import { deposedError } from '../domain/errors.ts';
import type { Side } from '../domain/position.ts';
import type { Guard } from '../domain/sql.ts';
import { assertLease } from '../sidecar/lease.ts';
import { epochGuard } from '../sidecar/ownership.ts';
import { readRun } from '../sidecar/run.ts';
import type { Tenure } from './tenure.ts';

/**
 * The guard of an act on a side that changes nobody's ownership: on the source the lease is ours, on the target no phase knows
 * a newer epoch. It belongs into the transaction of the act: a worker that slept between a check of its own and the act would
 * do it to whatever a newer worker has made meanwhile.
 */
export const guardOn = (tenure: Tenure, side: Side, phases: readonly string[]): Guard =>
  side === 'source'
    ? async (sql) => void (await assertLease(sql, tenure.epoch))
    : epochGuard({ phases, epoch: tenure.epoch });

/** The guard of what takes rows or tables away from the target: also, it is not the primary of the phases. */
export const guardOnReplica = (tenure: Tenure, phases: readonly string[]): Guard =>
  epochGuard({ phases, epoch: tenure.epoch, role: 'replica' });

/** The guard of what removes a side's part of the run as a whole: also, it is the part of this run. */
export const guardOnRemoval =
  (tenure: Tenure, side: Side): Guard =>
  async (sql) => {
    if (side === 'source') await assertLease(sql, tenure.epoch);
    else await epochGuard({ phases: 'all', epoch: tenure.epoch })(sql);
    const run = await readRun(sql);
    if (run && run.id !== tenure.run)
      throw deposedError(`the ${side} belongs to run ${run.id}, and this was ${tenure.run}`);
  };
