import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { onlyRow, textOf } from '../../platform/postgres/row.ts';
import { codeOf, type PostgresServer } from '../../platform/postgres/server.ts';
import type { Database, Inventory } from '../database.ts';
import { fence, lift } from './fence.ts';
import { readInventory } from './inventory.ts';
import { advanceSequences, readSequenceStates } from './sequences.ts';

const LOCK_NOT_AVAILABLE = '55P03';

/** Table sizes need a momentary lock, which a session in the middle of an ALTER TABLE can refuse us for long. */
const INVENTORY_LOCK_MS = 5000;

const inventory = async (server: PostgresServer): Promise<Inventory> => {
  try {
    return await server.transaction(async (sql) => {
      await sql.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
      await sql.query(`SET LOCAL lock_timeout = ${INVENTORY_LOCK_MS}`);
      return await readInventory(sql);
    });
  } catch (error) {
    if (codeOf(error) !== LOCK_NOT_AVAILABLE) throw error;
    throw new SwitchbackError('busy', `a table of the ${server.label} stays locked exclusively`, {
      remedy:
        'wait for the ALTER TABLE, VACUUM FULL or the like that pg_stat_activity shows, then give the command again',
      cause: error,
    });
  }
};

/** A PostgreSQL database as the stages see it; a position is the log's insert pointer. */
export const postgresDatabase = (server: PostgresServer): Database => ({
  inventory: () => inventory(server),
  head: async () => {
    const result = await server.query('SELECT pg_current_wal_insert_lsn() AS head');
    return textOf(onlyRow(result), 'head') as Position;
  },
  fence: (act) => fence(server, act),
  lift: (act) => lift(server, act),
  sequences: {
    read: (names) => readSequenceStates(server, names),
    advance: (states, guard) => advanceSequences(server, states, guard),
  },
});
