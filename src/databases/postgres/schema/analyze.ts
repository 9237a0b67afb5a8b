import { displayName, type TableName } from '../../../domain/table.ts';
import { quoteTable } from '../../../platform/postgres/quote.ts';
import { namesOf, textOf } from '../../../platform/postgres/row.ts';
import type { PostgresServer } from '../../../platform/postgres/server.ts';
import type { Milestone, Step, Task } from './pool.ts';

/**
 * The largest first, so that the last one is not alone. A partitioned table's ANALYZE is one of its partitions, too, and
 * takes its lock on each.
 */
const TABLES_OR_ROOTS = `
  WITH tables AS (
    SELECT DISTINCT CASE WHEN l.relispartition THEN pg_partition_root(l.oid)::oid ELSE l.oid END AS oid
    FROM unnest($1::text[], $2::text[]) AS t (schema, name)
    JOIN pg_namespace n ON n.nspname = t.schema
    JOIN pg_class l ON l.relnamespace = n.oid AND l.relname = t.name)
  SELECT n.nspname AS schema, c.relname AS name,
         (SELECT coalesce(json_agg(pn.nspname || '.' || pc.relname), '[]') FROM pg_partition_tree(c.oid) p
            JOIN pg_class pc ON pc.oid = p.relid JOIN pg_namespace pn ON pn.oid = pc.relnamespace) AS parts
  FROM tables JOIN pg_class c ON c.oid = tables.oid JOIN pg_namespace n ON n.oid = c.relnamespace
  ORDER BY c.relkind = 'p' DESC, c.relpages DESC, pg_relation_size(c.oid) DESC, schema, name`;

/**
 * Tasks that gather planner statistics of the tables and of the partitioned tables above them. Each needs what `indexesOf`
 * says of its tables: what an index over an expression tells the planner is gathered only when the index is there.
 */
export const statisticsTasks = async (
  server: PostgresServer,
  tables: readonly TableName[],
  indexesOf: (table: string) => Milestone,
): Promise<readonly Task[]> => {
  const { rows } = await server.query(TABLES_OR_ROOTS, [tables.map((t) => t.schema), tables.map((t) => t.name)]);
  return rows.map((row) => {
    const table = { schema: textOf(row, 'schema'), name: textOf(row, 'name') };
    const locked = [...new Set([displayName(table), ...namesOf(row, 'parts')])];
    const analyze: Step = {
      locks: locked.map((name) => ({ table: name, mode: 'share update exclusive' })),
      run: async ({ client }) => void (await client.query(`ANALYZE ${quoteTable(table)}`)),
    };
    return { steps: [analyze], needs: locked.map(indexesOf), counts: [] };
  });
};
