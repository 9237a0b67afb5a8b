import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import type { SqlExecutor } from '../../domain/sql.ts';

/**
 * The newest position of the origin's log. Whatever a query has seen that ended before this one began was written to the
 * log before it (notes: "a chunk read is covered by the stream up to …").
 */
export const originHead = async (origin: SqlExecutor): Promise<Position> => {
  const { rows } = await origin.query('SELECT pg_current_wal_insert_lsn()::text AS head');
  const head = rows[0]?.head;
  if (head === undefined || head === null) throw new SwitchbackError('internal', 'the server gave no position');
  return head as Position;
};
