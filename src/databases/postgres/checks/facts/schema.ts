import type { SqlExecutor } from '../../../../domain/sql.ts';
import type { TableName } from '../../../../domain/table.ts';
import { quoteText } from '../../../../platform/postgres/quote.ts';
import { textOf } from '../../../../platform/postgres/row.ts';
import { FENCE_TRIGGER } from '../../fence.ts';
import { isUserRelation } from '../../inventory.ts';
import { namesParameter } from '../look.ts';

/** Everything that a schema consists of, as far as two sides are compared. */
const SCHEMA_KINDS = [
  'table',
  'column',
  'not null',
  'default',
  'generated column',
  'identity',
  'collation',
  'check',
  'exclusion',
  'unique index',
  'index',
  'foreign key',
  'trigger',
  'partition key',
  'partition bound',
  'enum',
  'domain',
  'composite type',
  'extension',
  'sequence',
  'view',
  'function',
] as const;

/** One of {@link SCHEMA_KINDS}. */
export type SchemaKind = (typeof SCHEMA_KINDS)[number];

/** One part of a schema as the catalogue spells it under search_path = pg_catalog. */
export interface SchemaItem {
  readonly kind: SchemaKind;
  /** The table it belongs to; null for what stands by itself. */
  readonly table: TableName | null;
  readonly name: string;
  /** What it is, as SQL or in a word. */
  readonly definition: string;
}

/** The relations asked for and all partitions below them; what belongs to each. */
const OF_TABLES = `
  WITH RECURSIVE wanted AS (
    SELECT c.oid FROM json_to_recordset($1::json) AS w(schema text, name text)
    JOIN pg_namespace n ON n.nspname = w.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
    UNION
    SELECT i.inhrelid FROM wanted w JOIN pg_inherits i ON i.inhparent = w.oid
    JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition),
  rel AS (SELECT c.*, n.nspname FROM wanted w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace),
  col AS (SELECT r.nspname, r.relname, r.relispartition, a.* FROM rel r
          JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped),
  items AS (
    SELECT 'table' AS kind, nspname, relname, '' AS name,
           CASE relpersistence WHEN 'u' THEN 'unlogged ' ELSE '' END
           || CASE relkind WHEN 'p' THEN 'partitioned table' ELSE 'table' END AS definition FROM rel
    UNION ALL SELECT 'column', nspname, relname, attname, format_type(atttypid, atttypmod) FROM col
    UNION ALL SELECT 'not null', nspname, relname, attname, CASE WHEN attnotnull THEN 'NOT NULL' ELSE 'nullable' END FROM col
    UNION ALL SELECT 'default', nspname, relname, attname, pg_get_expr(d.adbin, d.adrelid) FROM col
              JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum WHERE attgenerated = ''
    UNION ALL SELECT 'generated column', nspname, relname, attname, pg_get_expr(d.adbin, d.adrelid) FROM col
              JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum WHERE attgenerated <> ''
    -- From 17 on a partition has the identity of its root, before it has none: compared where it is declared.
    UNION ALL SELECT 'identity', nspname, relname, attname,
              CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END FROM col
              WHERE attidentity <> '' AND NOT relispartition
    UNION ALL SELECT 'collation', nspname, relname, attname, co.collname FROM col
              JOIN pg_collation co ON co.oid = attcollation WHERE co.collname <> 'default'
    UNION ALL SELECT CASE k.contype WHEN 'c' THEN 'check' WHEN 'x' THEN 'exclusion' ELSE 'foreign key' END,
              nspname, relname, k.conname, pg_get_constraintdef(k.oid) FROM rel JOIN pg_constraint k ON k.conrelid = rel.oid
              WHERE k.contype IN ('c', 'x', 'f') AND k.conparentid = 0
    UNION ALL SELECT CASE WHEN x.indisunique THEN 'unique index' ELSE 'index' END, nspname, rel.relname, i.relname,
              regexp_replace(pg_get_indexdef(x.indexrelid), '^.*? USING ', '')
              || CASE WHEN x.indisunique AND NOT x.indimmediate THEN ' DEFERRABLE' ELSE '' END
              FROM rel JOIN pg_index x ON x.indrelid = rel.oid AND NOT x.indisexclusion
              JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indisvalid
    UNION ALL SELECT 'trigger', nspname, relname, t.tgname, pg_get_triggerdef(t.oid)
              || CASE t.tgenabled WHEN 'D' THEN ' DISABLED' ELSE '' END
              FROM rel JOIN pg_trigger t ON t.tgrelid = rel.oid
              WHERE NOT t.tgisinternal AND t.tgname <> '${FENCE_TRIGGER}'
                AND NOT EXISTS (SELECT FROM pg_proc f JOIN pg_namespace fn ON fn.oid = f.pronamespace
                                 WHERE f.oid = t.tgfoid AND fn.nspname = 'switchback')
    UNION ALL SELECT 'partition key', nspname, relname, '', pg_get_partkeydef(oid) FROM rel WHERE relkind = 'p'
    UNION ALL SELECT 'partition bound', rel.nspname, rel.relname, '',
              pn.nspname || '.' || p.relname || ' ' || pg_get_expr(rel.relpartbound, rel.oid)
              FROM rel JOIN pg_inherits h ON h.inhrelid = rel.oid JOIN pg_class p ON p.oid = h.inhparent
              JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE rel.relispartition)
  SELECT kind, nspname AS schema, relname AS table_name, name, definition FROM items
  ORDER BY nspname COLLATE "C", relname COLLATE "C", kind, name COLLATE "C"`;

/** A user's type, function or relation by itself; not what an extension brings. */
const notOfExtension = (catalogue: string, oid: string): string =>
  `NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = ${quoteText(catalogue)}::regclass AND e.objid = ${oid} AND e.deptype = 'e')`;

const OF_DATABASE = `
  WITH spaces AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE left(nspname, 3) <> 'pg_' AND nspname NOT IN ('information_schema', 'switchback', 'switchback_admin')),
  types AS (SELECT t.*, s.nspname FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace WHERE ${notOfExtension('pg_type', 't.oid')}),
  items AS (
    SELECT 'enum' AS kind, nspname || '.' || typname AS name,
           (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = types.oid)
             AS definition FROM types WHERE typtype = 'e'
    UNION ALL SELECT 'domain', nspname || '.' || typname,
           format_type(typbasetype, typtypmod) || CASE WHEN typnotnull THEN ' NOT NULL' ELSE '' END || coalesce(
             (SELECT string_agg(' ' || pg_get_constraintdef(k.oid), '' ORDER BY pg_get_constraintdef(k.oid) COLLATE "C")
              FROM pg_constraint k WHERE k.contypid = types.oid AND k.contype = 'c'), '') FROM types WHERE typtype = 'd'
    UNION ALL SELECT 'composite type', nspname || '.' || typname,
           (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
            FROM pg_attribute a WHERE a.attrelid = typrelid AND a.attnum > 0 AND NOT a.attisdropped)
           FROM types JOIN pg_class c ON c.oid = typrelid AND c.relkind = 'c' WHERE typtype = 'c'
    UNION ALL SELECT 'extension', extname, extversion FROM pg_extension
    UNION ALL SELECT 'sequence', n.nspname || '.' || c.relname,
           format('INCREMENT %s MINVALUE %s MAXVALUE %s%s', s.seqincrement, s.seqmin, s.seqmax, CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END)
           FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE ${isUserRelation('c', 'n')}
    UNION ALL SELECT 'view', n.nspname || '.' || c.relname, '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind IN ('v', 'm') AND ${isUserRelation('c', 'n')}
    UNION ALL SELECT 'function', s.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', ''
           FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace WHERE ${notOfExtension('pg_proc', 'p.oid')})
  SELECT kind, name, coalesce(definition, '') AS definition FROM items ORDER BY kind, name COLLATE "C"`;

const kindOf = (text: string): SchemaKind | undefined => SCHEMA_KINDS.find((kind) => kind === text);

/**
 * Reads the schema of these tables with all their partitions, and what stands by itself in the database. Tables that do
 * not exist on this side are absent. Any role may.
 */
export const readSchema = async (sql: SqlExecutor, tables: readonly TableName[]): Promise<readonly SchemaItem[]> => {
  const ofTables = await sql.query(OF_TABLES, [namesParameter(tables)]);
  const ofDatabase = await sql.query(OF_DATABASE);
  return [...ofTables.rows, ...ofDatabase.rows].flatMap((row) => {
    const kind = kindOf(textOf(row, 'kind'));
    if (kind === undefined) return [];
    const table = row.table_name == null ? null : { schema: textOf(row, 'schema'), name: row.table_name };
    return [{ kind, table, name: textOf(row, 'name'), definition: textOf(row, 'definition') }];
  });
};
