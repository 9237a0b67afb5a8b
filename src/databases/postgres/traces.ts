import type { TableName } from '../../domain/table.ts';
import { quoteTable } from '../../platform/postgres/quote.ts';
import { textOf } from '../../platform/postgres/row.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { FenceTrace, SideTraces } from '../traces.ts';
import { FENCE_FUNCTION_SQL, readFences, readRelations } from './fence.ts';
import { sameTable } from './inventory.ts';
import { applicationName } from './sessions.ts';

const TABLES_PER_QUERY = 100;

/** The text between the quotes of the function's body, as the catalogue keeps it. */
const FENCE_BODY = FENCE_FUNCTION_SQL.split('$refuse$')[1] ?? '';

/** Traces of a run in a PostgreSQL database. `holder` is our own worker id, which is not another worker's. */
export const postgresTraces = (server: PostgresServer, holder: string): SideTraces => ({
  fence: (tables) => readFence(server, tables),
  holdsRows: (tables) => holdsRows(server, tables),
  workers: () => readWorkers(server, holder),
});

const readFence = async (server: PostgresServer, tables: readonly TableName[]): Promise<FenceTrace> => {
  const relations = await readRelations(server, tables);
  const all = await readFences(server);
  const fences = relations.map((relation) => all.find(({ table }) => sameTable(table, relation)));
  const hasTriggers = fences.some((fence) => fence !== undefined);
  const refusing = (await isFunctionSound(server)) ? fences.filter((fence) => fence?.enabled === true).length : 0;
  if (refusing === 0) return { stands: 'none', hasTriggers };
  return { stands: refusing === relations.length ? 'all' : 'some', hasTriggers };
};

/** A function of another body could let writes through, or none of the triggers. */
const isFunctionSound = async (server: PostgresServer): Promise<boolean> => {
  const { rows } = await server.query(
    `SELECT p.prosrc AS body FROM pg_proc p WHERE p.oid = to_regprocedure('switchback.refuse_write()')`,
  );
  return rows[0]?.body === FENCE_BODY;
};

const holdsRows = async (server: PostgresServer, tables: readonly TableName[]): Promise<boolean> => {
  const there = (await readRelations(server, tables)).filter((relation) => tables.some((t) => sameTable(t, relation)));
  for (let at = 0; at < there.length; at += TABLES_PER_QUERY) {
    const looks = there.slice(at, at + TABLES_PER_QUERY).map((t) => `EXISTS (SELECT 1 FROM ONLY ${quoteTable(t)})`);
    const { rows } = await server.query(`SELECT ${looks.join(' OR ')} AS found`);
    if (rows[0]?.found === 't') return true;
  }
  return false;
};

const readWorkers = async (server: PostgresServer, holder: string): Promise<readonly string[]> => {
  const { rows } = await server.query(
    `SELECT DISTINCT split_part(split_part(application_name, '/', 2), ':', 1) AS worker FROM pg_stat_activity
      WHERE starts_with(application_name, $1) AND datname = current_database() ORDER BY 1`,
    [applicationName('')],
  );
  return rows.map((row) => textOf(row, 'worker')).filter((worker) => worker !== '' && worker !== holder);
};
