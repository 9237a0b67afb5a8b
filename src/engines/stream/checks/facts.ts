import type { SqlExecutor, TextRow } from '../../../domain/sql.ts';
import type { ReplicaIdentity, TableName } from '../../../domain/table.ts';
import { isTrue, namesOf, textOf } from '../../../platform/postgres/row.ts';

/** What decides whether a table's changes can be decoded on the side that a lane reads from. */
export interface OriginTable extends TableName {
  readonly logged: boolean;
  readonly identity: ReplicaIdentity;
  /** Columns of the old row that the log holds for an update or delete; empty for none, and for FULL. */
  readonly identityColumns: readonly string[];
  /** The primary key's name when it is deferrable, which the server does not accept as an identity. */
  readonly deferrableKey: string | null;
  readonly hasPrimaryKey: boolean;
  /** Indexes that could be chosen as replica identity. */
  readonly candidates: readonly string[];
  /** Columns GENERATED ALWAYS AS IDENTITY. */
  readonly identityAlways: readonly string[];
  /** Average size of what is stored apart from the rows, per row; 0 where there is nothing. */
  readonly toastBytesPerRow: number;
}

/**
 * An index is accepted as identity as the server does: unique, immediate, valid, whole, over plain NOT NULL columns. Each
 * table's indexes are looked up by it, once: the server takes the names for a handful, and to look all tables' indexes
 * through for each of 5,000 tables took 5 s.
 */
const TABLES = `
  WITH wanted AS (
    SELECT c.*, n.nspname FROM json_to_recordset($1::json) AS w(schema text, name text)
    JOIN pg_namespace n ON n.nspname = w.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind = 'r')
  SELECT w.nspname AS schema, w.relname AS name, w.relpersistence = 'p' AS logged, w.relreplident AS identity,
         coalesce(u.identity_columns -> 0, '[]') AS identity_columns,
         (SELECT k.conname FROM pg_constraint k WHERE k.conrelid = w.oid AND k.contype = 'p' AND k.condeferrable) AS deferrable,
         EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = w.oid AND k.contype = 'p') AS has_primary,
         coalesce(u.candidates, '[]') AS candidates,
         (SELECT coalesce(json_agg(a.attname), '[]') FROM pg_attribute a
          WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = 'a') AS identity_always,
         CASE WHEN w.reltoastrelid = 0 OR w.reltuples <= 0 THEN 0
              ELSE (SELECT t.relpages::numeric * current_setting('block_size')::int / w.reltuples::numeric
                    FROM pg_class t WHERE t.oid = w.reltoastrelid) END::bigint AS toast_bytes
  FROM wanted w CROSS JOIN LATERAL (
    SELECT json_agg(i.relname ORDER BY i.relname) FILTER (WHERE NOT x.indisprimary) AS candidates,
           json_agg(k.names) FILTER (WHERE CASE w.relreplident WHEN 'd' THEN x.indisprimary WHEN 'i' THEN x.indisreplident
                                           ELSE false END) AS identity_columns
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_am am ON am.oid = i.relam AND am.amname = 'btree'
    CROSS JOIN LATERAL (
      SELECT json_agg(a.attname ORDER BY u.ord) AS names, count(*) AS columns, bool_and(a.attnotnull) AS not_null
      FROM unnest(x.indkey::int2[]) WITH ORDINALITY u(attnum, ord)
      JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum = u.attnum WHERE u.ord <= x.indnkeyatts) k
    WHERE x.indrelid = w.oid AND x.indisunique AND x.indimmediate AND x.indisvalid AND x.indpred IS NULL
      AND k.columns = x.indnkeyatts AND k.not_null) u
  ORDER BY w.nspname COLLATE "C", w.relname COLLATE "C"`;

const identityOf = (letter: string): ReplicaIdentity => {
  switch (letter) {
    case 'i':
      return 'index';
    case 'f':
      return 'full';
    case 'n':
      return 'nothing';
    default:
      return 'default';
  }
};

const tableOf = (row: TextRow): OriginTable => ({
  schema: textOf(row, 'schema'),
  name: textOf(row, 'name'),
  logged: isTrue(row, 'logged'),
  identity: identityOf(textOf(row, 'identity')),
  identityColumns: namesOf(row, 'identity_columns'),
  deferrableKey: row.deferrable ?? null,
  hasPrimaryKey: isTrue(row, 'has_primary'),
  candidates: namesOf(row, 'candidates'),
  identityAlways: namesOf(row, 'identity_always'),
  toastBytesPerRow: Number(textOf(row, 'toast_bytes')),
});

/** Reads these tables on the side that a lane reads from; those that do not exist there are left out. Any role may. */
export const readOriginTables = async (
  sql: SqlExecutor,
  tables: readonly TableName[],
): Promise<readonly OriginTable[]> => {
  const wanted = JSON.stringify(tables.map(({ schema, name }) => ({ schema, name })));
  return (await sql.query(TABLES, [wanted])).rows.map(tableOf);
};
