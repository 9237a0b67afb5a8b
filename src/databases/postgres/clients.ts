import { messageOf } from '../../domain/errors.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { quoteText } from '../../platform/postgres/quote.ts';
import { textOf } from '../../platform/postgres/row.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { Clients, EndedSessions } from '../clients.ts';
import { PROBE_APPLICATION } from './client-path.ts';
import { applicationName } from './sessions.ts';

/**
 * Without pg_read_all_stats we are not told a session's kind. A user has no other sessions than a client's and those of
 * replication, which are listed apart; the server's own workers have no user.
 */
const CLIENTS = `
  pg_stat_activity a
  WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
    AND (a.backend_type = 'client backend'
         OR (a.backend_type IS NULL AND a.usesysid IS NOT NULL AND a.pid NOT IN (SELECT pid FROM pg_stat_replication)))
    AND NOT starts_with(coalesce(a.application_name, ''), ${quoteText(applicationName(''))})
    AND coalesce(a.application_name, '') <> ${quoteText(PROBE_APPLICATION)}`;

const LIST = `
  SELECT coalesce(a.usename, '') AS "user", coalesce(a.application_name, '') AS application,
         CASE WHEN a.client_addr IS NOT NULL THEN host(a.client_addr) WHEN a.client_port = -1 THEN 'local' ELSE '' END AS address,
         count(*) AS count
  FROM ${CLIENTS}
  GROUP BY 1, 2, 3 ORDER BY count(*) DESC, 1, 2, 3`;

/** By the same condition again: its number may be another session's by now. */
const END_ONE = `SELECT pg_terminate_backend(a.pid) AS ended FROM ${CLIENTS} AND a.pid = $1::int`;

/** A session that we may not end, such as a superuser's, must not keep the others. */
const endOne = async (sql: SqlExecutor, pid: string): Promise<{ readonly count: number } | string> => {
  await sql.query('SAVEPOINT one');
  try {
    const { rows } = await sql.query(END_ONE, [pid]);
    return { count: rows.filter(({ ended }) => ended === 't').length };
  } catch (error) {
    await sql.query('ROLLBACK TO SAVEPOINT one');
    return messageOf(error);
  }
};

const endAll = async (sql: SqlExecutor): Promise<EndedSessions> => {
  const { rows } = await sql.query(`SELECT a.pid FROM ${CLIENTS}`);
  let count = 0;
  const refusals = new Set<string>();
  for (const row of rows) {
    const done = await endOne(sql, textOf(row, 'pid'));
    if (typeof done === 'string') refusals.add(done);
    else count += done.count;
  }
  return { count, refusals: [...refusals] };
};

/** Clients of one PostgreSQL database. */
export const postgresClients = (server: PostgresServer): Clients => ({
  list: async () => {
    const { rows } = await server.query(LIST);
    return rows.map((row) => ({
      user: textOf(row, 'user'),
      address: textOf(row, 'address'),
      application: textOf(row, 'application'),
      count: Number(textOf(row, 'count')),
    }));
  },
  end: async (guard) =>
    await server.transaction(async (sql) => {
      await guard(sql);
      return await endAll(sql);
    }),
});
