import type { SqlExecutor, TextRow } from '../../../../domain/sql.ts';
import type { TableName } from '../../../../domain/table.ts';
import { textOf } from '../../../../platform/postgres/row.ts';
import { namesParameter } from '../look.ts';

/** A publication or subscription of somebody else's with the run's tables that are in it. */
export interface Membership {
  readonly name: string;
  readonly tables: readonly TableName[];
}

/** Replication of the run's tables that is not ours, on one side. */
export interface ReplicationFacts {
  readonly side: string;
  readonly publications: readonly Membership[];
  /** Enabled ones only. */
  readonly subscriptions: readonly Membership[];
}

const PUBLICATIONS = `
  SELECT p.pubname AS owner, w.schema, w.name FROM json_to_recordset($1::json) AS w(schema text, name text)
  JOIN pg_publication_tables p ON p.schemaname = w.schema AND p.tablename = w.name
  WHERE NOT starts_with(p.pubname, 'switchback') ORDER BY 1, 2, 3`;

/** Not those of the native engine, which bear the names of its slots. Before 14 a subscription's oid is for superusers; the
 * statistics view has it for everybody. */
const SUBSCRIPTIONS = `
  SELECT DISTINCT s.subname AS owner, w.schema, w.name
  FROM pg_subscription s
  JOIN pg_stat_subscription v ON v.subname = s.subname JOIN pg_subscription_rel r ON r.srsubid = v.subid
  JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN json_to_recordset($1::json) AS w(schema text, name text) ON w.schema = n.nspname AND w.name = c.relname
  WHERE s.subenabled AND NOT starts_with(s.subname::text, 'switchback_') AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  ORDER BY 1, 2, 3`;

const membershipsOf = (rows: readonly TextRow[]): readonly Membership[] => {
  const members = new Map<string, TableName[]>();
  for (const row of rows) {
    const owner = textOf(row, 'owner');
    members.set(owner, [...(members.get(owner) ?? []), { schema: textOf(row, 'schema'), name: textOf(row, 'name') }]);
  }
  return [...members].map(([name, tables]) => ({ name, tables }));
};

/** Reads who else replicates these tables, from or to this side. */
export const readReplication = async (
  sql: SqlExecutor,
  options: { readonly side: string; readonly tables: readonly TableName[] },
): Promise<ReplicationFacts> => {
  const wanted = [namesParameter(options.tables)];
  return {
    side: options.side,
    publications: membershipsOf((await sql.query(PUBLICATIONS, wanted)).rows),
    subscriptions: membershipsOf((await sql.query(SUBSCRIPTIONS, wanted)).rows),
  };
};
