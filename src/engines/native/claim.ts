import type pg from 'pg';
import { SwitchbackError } from '../../domain/errors.ts';
import { codeOf, runTransaction } from '../../platform/postgres/server.ts';
import type { LaneProgress } from '../engine.ts';
import type { NativeContext } from './context.ts';

const SERIALIZATION_FAILURE = '40001';

/**
 * Reads a lane's progress and stamps it with our epoch, which refuses an earlier worker from then on. That one may be storing
 * progress right now, and writing back what we had read before would undo it: the isolation level refuses that, and we read
 * again. Kind `internal` before the copy has ended.
 */
export const claim = async (
  { spec, to }: NativeContext,
  client: pg.Client,
  signal: AbortSignal,
): Promise<LaneProgress> => {
  for (;;) {
    try {
      return await runTransaction(client, to.label, async (sql) => {
        await sql.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
        const progress = await spec.store.progress(sql);
        if (progress === null || progress.strictFrom === null) {
          throw new SwitchbackError('internal', `lane ${spec.lane} cannot follow before its copy has ended`);
        }
        await spec.store.record(sql, progress);
        return progress;
      });
    } catch (error) {
      if (codeOf(error) !== SERIALIZATION_FAILURE) throw error;
    }
    signal.throwIfAborted();
  }
};
