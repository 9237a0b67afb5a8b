import type pg from 'pg';
import type { SqlExecutor } from '../../domain/sql.ts';

/** From 14 on a server can look whether its client still lives while a statement runs. */
const NOTICE_LOST_CLIENT = `SELECT pg_backend_pid() AS pid, CASE WHEN name IS NOT NULL THEN set_config(name, '5s', false) END
  FROM (SELECT) one LEFT JOIN pg_settings ON name = 'client_connection_check_interval'`;

/**
 * Prepares a session for long statements and returns the pid of its server process: should we die, the server ends the
 * statement after some seconds rather than when it is done (before 14 it cannot).
 */
export const prepareForLongStatements = async (client: pg.ClientBase): Promise<string> => {
  const { rows } = await client.query<{ pid: string }>(NOTICE_LOST_CLIENT);
  return rows[0]?.pid ?? '';
};

/** Ends the statement that a server process is running, if any. A server that cannot be asked is no error here. */
export const cancelStatement = async (sql: SqlExecutor, pid: string): Promise<void> => {
  await sql.query('SELECT pg_cancel_backend($1::int)', [pid]).catch(() => undefined);
};
