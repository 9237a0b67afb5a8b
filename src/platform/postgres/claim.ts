import type pg from 'pg';
import { SwitchbackError } from '../../domain/errors.ts';
import type { LaneProgress, LaneSpec } from '../../engines/engine.ts';
import { codeOf, type PostgresServer, runTransaction } from './server.ts';

const SERIALIZATION_FAILURE = '40001';

/**
 * Reads a lane's stored progress, on a session of the written side, and stamps it with our epoch, which refuses an earlier worker
 * from then on. That one may be committing right now, and writing back what we had read before would undo its progress: the
 * isolation level refuses that, and we read again. It also proves that the lane is ours, before anybody's reader is ended. Kind
 * `internal` before the copy has ended.
 */
export const claimProgress = async (
  { spec, to }: { readonly spec: LaneSpec; readonly to: PostgresServer },
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
