import type { SqlExecutor, TextRow } from '../../../../domain/sql.ts';
import type { TableName } from '../../../../domain/table.ts';
import { isTrue, namesOf, onlyRow, textOf } from '../../../../platform/postgres/row.ts';
import { isUserRelation } from '../../inventory.ts';
import { namesParameter } from '../look.ts';

/** A foreign key, or a table that inherits from another without being its partition. */
export interface Link {
  readonly name: string;
  readonly child: TableName;
  readonly parent: TableName;
}

/** Row-level security that is switched on. */
export interface SecuredTable extends TableName {
  /** Our role is its owner, whom the policies bind only when they are forced. */
  readonly owned: boolean;
  readonly forced: boolean;
}

/** A trigger or rule that also fires for appliers. */
export interface FiringTrigger {
  readonly table: TableName;
  readonly name: string;
  readonly what: 'trigger' | 'rule';
}

/** What surrounds the tables of a run on one side. */
export interface RelationFacts {
  readonly foreignKeys: readonly Link[];
  readonly heirs: readonly Link[];
  readonly secured: readonly SecuredTable[];
  readonly firing: readonly FiringTrigger[];
  /** Cannot be in the change stream. */
  readonly foreignPartitions: readonly TableName[];
  readonly foreignTables: readonly TableName[];
  readonly materializedViews: readonly TableName[];
  readonly cyclingSequences: readonly TableName[];
  readonly largeObjects: number;
  /** Columns that can hold a large object's number: `schema.table.column`. */
  readonly largeObjectColumns: readonly string[];
}

const FOREIGN_KEYS = `
  SELECT k.conname AS name, cn.nspname AS child_schema, c.relname AS child, pn.nspname AS parent_schema, p.relname AS parent
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
  WHERE k.contype = 'f' AND k.conparentid = 0 AND ${isUserRelation('c', 'cn')}
  ORDER BY 2, 3, 1`;

const HEIRS = `
  SELECT '' AS name, cn.nspname AS child_schema, c.relname AS child, pn.nspname AS parent_schema, p.relname AS parent
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
  WHERE NOT c.relispartition AND c.relkind = 'r' AND ${isUserRelation('c', 'cn')}
  ORDER BY 2, 3`;

const SECURED = `
  SELECT n.nspname AS schema, c.relname AS name, pg_has_role(c.relowner, 'USAGE') AS owned, c.relforcerowsecurity AS forced
  FROM json_to_recordset($1::json) AS w(schema text, name text)
  JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
  WHERE c.relrowsecurity ORDER BY 1, 2`;

const FIRING = `
  WITH wanted AS (
    SELECT c.oid, n.nspname AS schema, c.relname AS name FROM json_to_recordset($1::json) AS w(schema text, name text)
    JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name)
  SELECT w.schema, w.name, t.tgname AS firing, 'trigger' AS what
  FROM wanted w JOIN pg_trigger t ON t.tgrelid = w.oid AND t.tgenabled IN ('A', 'R')
   AND NOT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                    WHERE p.oid = t.tgfoid AND n.nspname = 'switchback')
  UNION ALL
  SELECT w.schema, w.name, r.rulename, 'rule'
  FROM wanted w JOIN pg_rewrite r ON r.ev_class = w.oid AND r.ev_enabled IN ('A', 'R')
  ORDER BY 1, 2, 3`;

const OTHERS = `
  SELECT n.nspname AS schema, c.relname AS name,
         CASE WHEN c.relkind = 'm' THEN 'view' WHEN c.relispartition THEN 'partition' ELSE 'table' END AS what
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('f', 'm') AND ${isUserRelation('c', 'n')}
  ORDER BY 1, 2`;

const CYCLING = `
  SELECT n.nspname AS schema, c.relname AS name
  FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE s.seqcycle AND ${isUserRelation('c', 'n')} ORDER BY 1, 2`;

const LARGE_OBJECTS = `
  SELECT (SELECT count(*) FROM pg_largeobject_metadata) AS objects,
         (SELECT coalesce(json_agg(format('%s.%s.%s', n.nspname, c.relname, a.attname)), '[]')
          FROM json_to_recordset($1::json) AS w(schema text, name text)
          JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          JOIN pg_type t ON t.oid = a.atttypid
          WHERE t.oid = 'oid'::regtype OR (t.typtype = 'd' AND t.typbasetype = 'oid'::regtype)) AS columns`;

const nameOf = (row: TextRow): TableName => ({ schema: textOf(row, 'schema'), name: textOf(row, 'name') });

const linkOf = (row: TextRow): Link => ({
  name: textOf(row, 'name'),
  child: { schema: textOf(row, 'child_schema'), name: textOf(row, 'child') },
  parent: { schema: textOf(row, 'parent_schema'), name: textOf(row, 'parent') },
});

/** Reads what surrounds the given tables on a side. Any role may. */
export const readRelations = async (sql: SqlExecutor, tables: readonly TableName[]): Promise<RelationFacts> => {
  const wanted = namesParameter(tables);
  const others = (await sql.query(OTHERS)).rows;
  const othersThatAre = (what: string) => others.filter((row) => row.what === what).map(nameOf);
  const large = onlyRow(await sql.query(LARGE_OBJECTS, [wanted]));
  return {
    foreignKeys: (await sql.query(FOREIGN_KEYS)).rows.map(linkOf),
    heirs: (await sql.query(HEIRS)).rows.map(linkOf),
    secured: (await sql.query(SECURED, [wanted])).rows.map((row) => ({
      ...nameOf(row),
      owned: isTrue(row, 'owned'),
      forced: isTrue(row, 'forced'),
    })),
    firing: (await sql.query(FIRING, [wanted])).rows.map((row) => ({
      table: nameOf(row),
      name: textOf(row, 'firing'),
      what: row.what === 'rule' ? 'rule' : 'trigger',
    })),
    foreignPartitions: othersThatAre('partition'),
    foreignTables: othersThatAre('table'),
    materializedViews: othersThatAre('view'),
    cyclingSequences: (await sql.query(CYCLING)).rows.map(nameOf),
    largeObjects: Number(textOf(large, 'objects')),
    largeObjectColumns: namesOf(large, 'columns'),
  };
};
