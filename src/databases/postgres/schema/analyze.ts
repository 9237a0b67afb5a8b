import type { TableName } from '../../../domain/table.ts';
import { cancelStatement, prepareForLongStatements } from '../../../platform/postgres/backend.ts';
import { quoteTable } from '../../../platform/postgres/quote.ts';
import { textOf } from '../../../platform/postgres/row.ts';
import type { PostgresServer } from '../../../platform/postgres/server.ts';

/** Tables at once: each keeps a core of the server busy. */
const PARALLEL = 2;

/** The largest first, so that the last one is not alone. A partitioned table's ANALYZE is one of its partitions, too. */
const TABLES_OR_ROOTS = `
  WITH tables AS (
    SELECT DISTINCT CASE WHEN l.relispartition THEN pg_partition_root(l.oid)::oid ELSE l.oid END AS oid
    FROM unnest($1::text[], $2::text[]) AS t (schema, name)
    JOIN pg_namespace n ON n.nspname = t.schema
    JOIN pg_class l ON l.relnamespace = n.oid AND l.relname = t.name)
  SELECT n.nspname AS schema, c.relname AS name
  FROM tables JOIN pg_class c ON c.oid = tables.oid JOIN pg_namespace n ON n.oid = c.relnamespace
  ORDER BY c.relkind = 'p' DESC, c.relpages DESC, pg_relation_size(c.oid) DESC, schema, name`;

/** Gathers planner statistics of the tables and of the partitioned tables above them. Rejects with the signal's reason. */
export const analyzeTables = async (
  server: PostgresServer,
  tables: readonly TableName[],
  signal: AbortSignal,
): Promise<void> => {
  const { rows } = await server.query(TABLES_OR_ROOTS, [tables.map((t) => t.schema), tables.map((t) => t.name)]);
  const queue = rows.map((row) => quoteTable({ schema: textOf(row, 'schema'), name: textOf(row, 'name') }));
  const failed = new AbortController();
  const any = AbortSignal.any([signal, failed.signal]);
  const workers = Array.from({ length: Math.min(PARALLEL, queue.length) }, async () => {
    try {
      await work(server, queue, any);
    } catch (error) {
      failed.abort(server.wrap(error));
    }
  });
  await Promise.all(workers);
  signal.throwIfAborted();
  failed.signal.throwIfAborted();
};

const work = async (server: PostgresServer, queue: string[], signal: AbortSignal): Promise<void> => {
  const client = await server.connect('statistics');
  const pid = await prepareForLongStatements(client);
  // The server would go on with a statement whose client has gone away.
  const cancel = (): void => void cancelStatement(server, pid);
  signal.addEventListener('abort', cancel, { once: true });
  try {
    for (let table = queue.shift(); table !== undefined; table = queue.shift()) {
      signal.throwIfAborted();
      await client.query(`ANALYZE ${table}`);
    }
  } finally {
    signal.removeEventListener('abort', cancel);
    await client.end();
  }
};
