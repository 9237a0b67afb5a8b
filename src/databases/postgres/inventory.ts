import type { SqlExecutor, TextRow } from '../../domain/sql.ts';
import type { Column, Key, Sequence, Table, TableName } from '../../domain/table.ts';
import { isTrue, namesOf, textOf } from '../../platform/postgres/row.ts';
import type { Inventory } from '../database.ts';

/** Which relations are the user's: no system schema, no temporary one, not our sidecar, no member of an extension. */
export const isUserRelation = (relation: string, namespace: string): string => `
  left(${namespace}.nspname, 3) <> 'pg_' AND ${namespace}.nspname NOT IN ('information_schema', 'switchback')
  AND ${relation}.relpersistence <> 't'
  AND NOT EXISTS (SELECT FROM pg_depend e
                  WHERE e.classid = 'pg_class'::regclass AND e.objid = ${relation}.oid AND e.deptype = 'e')`;

/** Plain tables and leaf partitions. A foreign table holds no rows of this database. */
const TABLES = `
  SELECT c.oid, n.nspname, c.relname, c.relreplident, c.reltuples, c.relpages,
         pg_table_size(c.oid) AS bytes, pg_relation_size(c.oid) / current_setting('block_size')::int AS pages,
         rn.nspname AS root_schema, r.relname AS root_name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_class r ON c.relispartition AND r.oid = pg_partition_root(c.oid)
  LEFT JOIN pg_namespace rn ON rn.oid = r.relnamespace
  WHERE c.relkind = 'r' AND ${isUserRelation('c', 'n')}`;

/**
 * `estimated` is the planner's own estimate: the density at the last ANALYZE times today's pages, or what fits on them
 * when there was none. Names are sorted as bytes, so that both sides agree whatever their collations.
 */
const TABLES_SORTED = `
  WITH tables AS (${TABLES}),
  widths AS (SELECT attrelid, sum(CASE WHEN attlen > 0 THEN attlen ELSE 32 END) AS bytes
             FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped GROUP BY attrelid)
  SELECT t.oid, t.nspname AS schema, t.relname AS name, t.relreplident AS identity, t.bytes, t.root_schema, t.root_name,
         round(t.pages * CASE WHEN t.reltuples > 0 AND t.relpages > 0 THEN (t.reltuples / t.relpages)::numeric
                              ELSE current_setting('block_size')::int / (28 + coalesce(w.bytes, 0))::numeric END) AS estimated
  FROM tables t LEFT JOIN widths w ON w.attrelid = t.oid
  ORDER BY t.nspname COLLATE "C", t.relname COLLATE "C"`;

const COLUMNS = `
  WITH tables AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relkind = 'r' AND ${isUserRelation('c', 'n')})
  SELECT a.attrelid AS oid, a.attname AS name, format_type(a.atttypid, -1) AS type,
         format_type(a.atttypid, a.atttypmod) AS full_type, a.attnotnull AS not_null, a.attgenerated <> '' AS generated,
         a.attidentity AS identity
  FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  ORDER BY a.attrelid, a.attnum`;

/**
 * The best key of each table. Order: the index chosen as replica identity, the primary key, and with identity FULL any
 * other one that qualifies, the narrowest first. What the server itself does not accept as an identity (deferrable,
 * partial, over an expression or a column that may be null) does not qualify.
 */
const KEYS = `
  SELECT DISTINCT ON (x.indrelid) x.indrelid AS oid, i.relname AS index, k.names
  FROM pg_index x
  JOIN pg_class c ON c.oid = x.indrelid AND c.relkind = 'r' JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am am ON am.oid = i.relam
  CROSS JOIN LATERAL (
    SELECT json_agg(a.attname ORDER BY u.ord) AS names, bool_and(a.attnotnull) AS all_not_null, count(*) AS columns
    FROM unnest(x.indkey::int2[]) WITH ORDINALITY u(attnum, ord)
    JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = u.attnum
    WHERE u.ord <= x.indnkeyatts) k
  WHERE ${isUserRelation('c', 'n')}
    AND x.indisunique AND x.indimmediate AND x.indisvalid AND x.indisready AND x.indpred IS NULL
    AND am.amname = 'btree' AND k.columns = x.indnkeyatts AND k.all_not_null
    AND (x.indisprimary OR (x.indisreplident AND c.relreplident = 'i') OR c.relreplident = 'f')
  ORDER BY x.indrelid, (x.indisreplident AND c.relreplident = 'i') DESC, x.indisprimary DESC, x.indnkeyatts,
           i.relname COLLATE "C"`;

const ROOTS = `
  SELECT n.nspname AS schema, c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'p' AND NOT c.relispartition AND ${isUserRelation('c', 'n')}
  ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`;

/** A sequence is used by the table that owns it and by every column default that names it; a root stands for its leaves too. */
const SEQUENCES = `
  WITH sequences AS (
    SELECT c.oid, n.nspname, c.relname, s.seqincrement
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid
    WHERE c.relkind = 'S' AND ${isUserRelation('c', 'n')}),
  uses AS (
    SELECT d.objid AS sequence, d.refobjid AS relation FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid, f.adrelid FROM pg_depend d
    JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
    WHERE d.refclassid = 'pg_class'::regclass),
  users AS (
    SELECT u.sequence, u.relation FROM uses u JOIN sequences s ON s.oid = u.sequence
    UNION
    SELECT u.sequence, p.relid FROM uses u JOIN sequences s ON s.oid = u.sequence
    JOIN pg_class c ON c.oid = u.relation AND c.relkind = 'p' CROSS JOIN LATERAL pg_partition_tree(c.oid) p)
  SELECT s.nspname AS schema, s.relname AS name, s.seqincrement AS increment,
         un.nspname AS user_schema, uc.relname AS user_name
  FROM sequences s
  LEFT JOIN users u ON u.sequence = s.oid
  LEFT JOIN pg_class uc ON uc.oid = u.relation AND uc.relkind IN ('r', 'p')
  LEFT JOIN pg_namespace un ON un.oid = uc.relnamespace
  ORDER BY s.nspname COLLATE "C", s.relname COLLATE "C", un.nspname COLLATE "C", uc.relname COLLATE "C"`;

const IDENTITIES = { d: 'default', i: 'index', f: 'full', n: 'nothing' } as const;

const replicaIdentityOf = (letter: string): Table['replicaIdentity'] =>
  letter === 'i' || letter === 'f' || letter === 'n' ? IDENTITIES[letter] : IDENTITIES.d;

const columnOf = (row: TextRow): Column => ({
  name: textOf(row, 'name'),
  type: textOf(row, 'type'),
  fullType: textOf(row, 'full_type'),
  notNull: isTrue(row, 'not_null'),
  generated: isTrue(row, 'generated'),
  identity: row.identity === 'a' ? 'always' : row.identity === 'd' ? 'by default' : null,
});

const tableOf = (row: TextRow, columns: readonly Column[], key: Key | null): Table => ({
  schema: textOf(row, 'schema'),
  name: textOf(row, 'name'),
  columns,
  key,
  replicaIdentity: replicaIdentityOf(textOf(row, 'identity')),
  root: row.root_name == null ? null : { schema: textOf(row, 'root_schema'), name: row.root_name },
  estimatedRows: Number(textOf(row, 'estimated')),
  bytes: Number(textOf(row, 'bytes')),
});

const readTables = async (sql: SqlExecutor): Promise<readonly Table[]> => {
  const tables = await sql.query(TABLES_SORTED);
  const columns = new Map<string, Column[]>();
  for (const row of (await sql.query(COLUMNS)).rows) {
    const oid = textOf(row, 'oid');
    const list = columns.get(oid);
    if (list === undefined) columns.set(oid, [columnOf(row)]);
    else list.push(columnOf(row));
  }
  const keys = new Map<string, Key>();
  for (const row of (await sql.query(KEYS)).rows) {
    keys.set(textOf(row, 'oid'), { index: textOf(row, 'index'), columns: namesOf(row, 'names') });
  }
  return tables.rows.map((row) => {
    const oid = textOf(row, 'oid');
    return tableOf(row, columns.get(oid) ?? [], keys.get(oid) ?? null);
  });
};

const readSequences = async (sql: SqlExecutor): Promise<readonly Sequence[]> => {
  const sequences = new Map<string, Sequence & { readonly usedBy: TableName[] }>();
  for (const row of (await sql.query(SEQUENCES)).rows) {
    const name = { schema: textOf(row, 'schema'), name: textOf(row, 'name') };
    const key = JSON.stringify([name.schema, name.name]);
    const sequence = sequences.get(key) ?? { ...name, increment: BigInt(textOf(row, 'increment')), usedBy: [] };
    sequences.set(key, sequence);
    if (row.user_name != null) sequence.usedBy.push({ schema: textOf(row, 'user_schema'), name: row.user_name });
  }
  return [...sequences.values()];
};

/**
 * Reads the catalogue in five statements, under one snapshot when `sql` is a REPEATABLE READ transaction. A sequence that
 * serves a partitioned table names the root and each of its partitions.
 */
export const readInventory = async (sql: SqlExecutor): Promise<Inventory> => ({
  tables: await readTables(sql),
  roots: (await sql.query(ROOTS)).rows.map((row) => ({ schema: textOf(row, 'schema'), name: textOf(row, 'name') })),
  sequences: await readSequences(sql),
});

/** Whether two names are the same relation's. */
export const sameTable = (a: TableName, b: TableName): boolean => a.schema === b.schema && a.name === b.name;

/** Names sorted as bytes by schema, then name, each once: the one order in which locks are taken. */
export const inLockOrder = <T extends TableName>(tables: readonly T[]): readonly T[] => {
  const unique = new Map(tables.map((table) => [`${table.schema}\0${table.name}`, table]));
  const sorted = [...unique].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return sorted.map(([, table]) => table);
};
