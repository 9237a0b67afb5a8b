import pg from 'pg';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { quoteName } from './quote.ts';
import type { PostgresServer } from './server.ts';
import { SLOT_BUDGET_MS, waitedTooLong } from './slot-wait.ts';

/** A snapshot of a server that a connection holds open. */
export interface HeldSnapshot {
  /** For SET TRANSACTION SNAPSHOT. */
  readonly name: string;
  /** Ends the connection; the name is gone afterwards. May be called more than once. */
  release(): Promise<void>;
}

/** A snapshot and the position that it stands at. */
export interface PositionedSnapshot extends HeldSnapshot {
  /** The snapshot shows exactly the transactions whose commit record begins before it. */
  readonly position: Position;
}

interface CreatedSlot {
  readonly consistent_point: string;
  readonly snapshot_name: string;
}

/**
 * Takes a snapshot of a server whose place in the log is known. Only the making of a slot gives one, so a temporary slot
 * is made; it goes with its connection. Throws kind `busy` when transactions that are writing take too long to end.
 */
export const holdSnapshot = async (server: PostgresServer, slot: string): Promise<PositionedSnapshot> => {
  const config = { ...server.config('snapshot'), replication: 'database' };
  const client = new pg.Client(config);
  client.on('error', () => undefined);
  const release = async (): Promise<void> => {
    await client.end().catch(() => undefined);
  };
  let isLate = false;
  const late = setTimeout(() => {
    isLate = true;
    void release();
  }, SLOT_BUDGET_MS);
  try {
    await client.connect();
    // The connection is idle as long as a table is read; from 14 on the server may end idle ones.
    await client.query("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'");
    const { rows } = await client.query<CreatedSlot>(
      `CREATE_REPLICATION_SLOT ${quoteName(slot)} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT`,
    );
    const [created] = rows;
    if (created === undefined) throw new SwitchbackError('internal', 'the server told no snapshot');
    return { name: created.snapshot_name, position: created.consistent_point as Position, release };
  } catch (error) {
    await release();
    throw isLate ? await waitedTooLong(server, slot) : server.wrap(error);
  } finally {
    clearTimeout(late);
  }
};
