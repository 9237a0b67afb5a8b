import { SwitchbackError } from '../../domain/errors.ts';
import type { PostgresServer } from './server.ts';

/** A slot waits for every transaction that is writing anywhere in the cluster; after this long we say which and give up. */
export const SLOT_BUDGET_MS = 60_000;

const WRITERS = `
  SELECT a.pid::text AS pid, coalesce(a.usename, '') AS usename, coalesce(a.application_name, '') AS application_name,
         left(coalesce(a.query, ''), 200) AS query,
         round(extract(epoch FROM clock_timestamp() - a.xact_start))::text AS seconds
    FROM pg_stat_activity a
   WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
  UNION ALL
  SELECT '0', owner, '', 'prepared transaction ' || gid, round(extract(epoch FROM clock_timestamp() - prepared))::text
    FROM pg_prepared_xacts
   ORDER BY 5 DESC LIMIT 5`;

/** Kind `busy`, with the transactions that a new slot has to wait for. */
export const waitedTooLong = async (server: PostgresServer, slot: string): Promise<SwitchbackError> => {
  const { rows } = await server.query(WRITERS);
  const writers = rows.map(
    (row) =>
      `pid ${row.pid} (${row.usename}, ${row.application_name || 'no application name'}), ${row.seconds} s: ${row.query}`,
  );
  const text = writers.length === 0 ? 'they have ended by now' : writers.join('; ');
  return new SwitchbackError(
    'busy',
    `slot ${slot} on the ${server.label} waits for transactions that are still writing: ${text}`,
    { remedy: 'let them end, or end them: SELECT pg_terminate_backend(pid); then give the command again' },
  );
};
