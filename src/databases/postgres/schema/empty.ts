import type { Guard } from '../../../domain/sql.ts';
import type { TableName } from '../../../domain/table.ts';
import { becomeApplier } from '../../../platform/postgres/applier.ts';
import { quoteTable } from '../../../platform/postgres/quote.ts';
import { codeOf, type PostgresServer, runTransaction } from '../../../platform/postgres/server.ts';
import { LOCK_ATTEMPT_MS, patiently } from './patience.ts';

/** The server does not truncate a table that one outside the list refers to, be it empty or not. */
const FEATURE_NOT_SUPPORTED = '0A000';

/** Empties the tables in one transaction, if the guard lets it, on a session that passes the fence and fires no trigger. */
export const emptyTables = async (
  server: PostgresServer,
  tables: readonly TableName[],
  guard: Guard,
): Promise<void> => {
  if (tables.length === 0) return;
  const names = tables.map((table) => `ONLY ${quoteTable(table)}`);
  const client = await server.connect('schema');
  const run = (statements: readonly string[]): Promise<void> =>
    patiently(() =>
      runTransaction(client, server.label, async (sql) => {
        await sql.query(`SET LOCAL lock_timeout = ${LOCK_ATTEMPT_MS}`);
        await guard(sql);
        for (const statement of statements) await sql.query(statement);
      }),
    );
  try {
    await becomeApplier(client);
    try {
      await run([`TRUNCATE ${names.join(', ')}`]);
    } catch (error) {
      if (codeOf(error) !== FEATURE_NOT_SUPPORTED) throw error;
      await run(names.map((name) => `DELETE FROM ${name}`));
    }
  } catch (error) {
    throw server.wrap(error);
  } finally {
    await client.end();
  }
};
