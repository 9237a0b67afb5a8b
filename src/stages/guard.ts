import { deposedError, SwitchbackError } from '../domain/errors.ts';
import type { Side } from '../domain/position.ts';
import type { Guard } from '../domain/sql.ts';
import { assertLease } from '../sidecar/lease.ts';
import { epochGuard, readOwnership } from '../sidecar/ownership.ts';
import { readPhases } from '../sidecar/phases.ts';
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

/**
 * The guard of what ends an application's sessions on a side: nobody has the right to write there. The rows that say so are
 * locked, so that no phase gets it meanwhile. Throws kind `refused` when one has it; on the source also when one has no row,
 * since a phase begins there.
 */
export const guardOnLeft =
  (tenure: Tenure, side: Side): Guard =>
  async (sql) => {
    if (side === 'source') await assertLease(sql, tenure.epoch);
    await epochGuard({ phases: 'all', epoch: tenure.epoch })(sql);
    const rows = await readOwnership(sql);
    const phases = side === 'source' ? (await readPhases(sql)).map(({ name }) => name) : rows.map(({ phase }) => phase);
    const there = phases.filter((phase) => rows.find((row) => row.phase === phase)?.role !== 'replica');
    if (there.length === 0) return;
    throw new SwitchbackError(
      'refused',
      `not ended: phase ${there.join(', ')} is on the ${side}, and they may be its own`,
    );
  };

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
