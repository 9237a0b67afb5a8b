import type { SqlExecutor, TextRow } from '../../domain/sql.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { quoteName } from '../../platform/postgres/quote.ts';
import { isTrue, namesOf, textOf } from '../../platform/postgres/row.ts';

/** A column of a table as the written side has it now. */
export interface WrittenColumn {
  readonly name: string;
  /** Safe in a cast: no length or precision. */
  readonly type: string;
  readonly typeId: number;
  readonly typeModifier: number;
  /** Schema and name of the type; of the base type when it is a domain. */
  readonly baseSchema: string;
  readonly baseName: string;
  readonly isGenerated: boolean;
  /** GENERATED ALWAYS AS IDENTITY: can be inserted, but not updated. */
  readonly isIdentityAlways: boolean;
  /** Whether a value can be stored apart from the row, and so be sent as unchanged. */
  readonly isToastable: boolean;
  /** Quoted name of a collation that is not the default one, or null. */
  readonly collation: string | null;
  /**
   * Equality of the type's own index operators, for SQL. Named in full where it is not a built-in one: under our search_path
   * a plain `=` on citext means text's, which is another equality and does not use the key's index.
   */
  readonly equals: string;
  /** Put around a text before it is cast, so that the type's own input function reads it. */
  readonly reading: { readonly before: string; readonly after: string };
}

/** A table as the written side has it now. */
export interface WrittenTable {
  readonly columns: readonly WrittenColumn[];
  /** Column names of each usable unique index. */
  readonly uniqueKeys: readonly (readonly string[])[];
  readonly isPartitioned: boolean;
}

/** The written side's tables by {@link displayName}; all partitioned ones are there, and those of the lane. */
export type WrittenTables = ReadonlyMap<string, WrittenTable>;

// A cast from text runs the function in pg_cast where there is one. It may differ from the type's own input function:
// before 16, text::"char" knows no octal escapes; text::regclass knows no numbers; an extension's may do anything. Then
// the input function is called itself, or, where its result has no type of its own (composites), a detour is made over
// another string type that has no such cast.
const COLUMNS = `
  SELECT n.nspname AS schema, c.relname AS name, c.relkind = 'p' AS partitioned, a.attname AS column_name,
         format_type(a.atttypid, -1) AS type, a.atttypid::text AS type_id, a.atttypmod::text AS type_modifier,
         bn.nspname AS base_schema, b.typname AS base_name, a.attgenerated <> '' AS generated,
         a.attidentity = 'a' AS identity_always, a.attlen = -1 AND a.attstorage <> 'p' AS toastable,
         cn.nspname AS collation_schema, co.collname AS collation_name,
         pn.nspname AS input_schema, p.proname AS input_name,
         CASE WHEN b.typelem <> 0 THEN b.typelem ELSE b.oid END::text AS input_parameter, p.pronargs::text AS input_arguments,
         k.oid IS NOT NULL AS has_cast, v.oid IS NOT NULL AS has_varchar_cast,
         eq.schema AS equals_schema, eq.name AS equals_name
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN LATERAL (
      WITH RECURSIVE chain AS (
        SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid
        UNION ALL SELECT t.oid, t.typtype, t.typbasetype FROM chain JOIN pg_type t ON t.oid = chain.typbasetype)
      SELECT oid FROM chain WHERE typtype <> 'd') base ON true
    LEFT JOIN pg_type b ON b.oid = base.oid
    LEFT JOIN pg_namespace bn ON bn.oid = b.typnamespace
    LEFT JOIN pg_collation co ON co.oid = a.attcollation AND co.collname <> 'default'
    LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
    LEFT JOIN pg_cast k ON k.castsource = 'text'::regtype AND k.casttarget = b.oid AND k.castmethod = 'f'
    LEFT JOIN pg_cast v ON v.castsource = 'varchar'::regtype AND v.casttarget = b.oid AND v.castmethod = 'f'
    LEFT JOIN pg_proc p ON k.oid IS NOT NULL AND p.oid = b.typinput AND p.prorettype = b.oid
    LEFT JOIN pg_namespace pn ON pn.oid = p.pronamespace
    LEFT JOIN LATERAL (
      SELECT opn.nspname AS schema, op.oprname AS name
        FROM pg_opclass oc JOIN pg_am am ON am.oid = oc.opcmethod AND am.amname = 'btree'
        JOIN pg_amop o ON o.amopfamily = oc.opcfamily AND o.amoplefttype = b.oid AND o.amoprighttype = b.oid AND o.amopstrategy = 3
        JOIN pg_operator op ON op.oid = o.amopopr JOIN pg_namespace opn ON opn.oid = op.oprnamespace
       WHERE oc.opcintype = b.oid AND oc.opcdefault AND opn.nspname <> 'pg_catalog') eq ON true
   WHERE c.relkind = 'p' OR c.relkind = 'r' AND (n.nspname, c.relname) IN (SELECT * FROM unnest($1::text[], $2::text[]))
   ORDER BY c.oid, a.attnum`;

const UNIQUE_KEYS = `
  SELECT n.nspname AS schema, c.relname AS name,
         (SELECT json_agg(a.attname) FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) AS columns
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indisready
     AND i.indpred IS NULL AND i.indexprs IS NULL
     AND (n.nspname, c.relname) IN (SELECT * FROM unnest($1::text[], $2::text[]))`;

/** Reads the tables of a lane, and all partitioned ones, as the written side has them now. Two statements. */
export const readWrittenTables = async (sql: SqlExecutor, tables: readonly Table[]): Promise<WrittenTables> => {
  const names = [tables.map((t) => t.schema), tables.map((t) => t.name)];
  const columns = await sql.query(COLUMNS, names);
  const keys = await sql.query(UNIQUE_KEYS, names);
  const keysOf = Map.groupBy(keys.rows, nameOf);
  const written = new Map<string, WrittenTable>();
  for (const [name, rows] of Map.groupBy(columns.rows, nameOf)) {
    written.set(name, {
      columns: rows.filter((row) => row.column_name !== null).map(columnOf),
      uniqueKeys: (keysOf.get(name) ?? []).map((row) => namesOf(row, 'columns')),
      isPartitioned: rows.some((row) => isTrue(row, 'partitioned')),
    });
  }
  return written;
};

const nameOf = (row: TextRow): string => displayName({ schema: textOf(row, 'schema'), name: textOf(row, 'name') });

const columnOf = (row: TextRow): WrittenColumn => ({
  name: textOf(row, 'column_name'),
  type: textOf(row, 'type'),
  typeId: Number(textOf(row, 'type_id')),
  typeModifier: Number(textOf(row, 'type_modifier')),
  baseSchema: textOf(row, 'base_schema'),
  baseName: textOf(row, 'base_name'),
  isGenerated: isTrue(row, 'generated'),
  isIdentityAlways: isTrue(row, 'identity_always'),
  isToastable: isTrue(row, 'toastable'),
  collation: collationOf(row),
  equals: equalsOf(row),
  reading: readingOf(row),
});

const collationOf = (row: TextRow): string | null => {
  const { collation_schema: schema, collation_name: name } = row;
  return schema === null || schema === undefined || !name ? null : `${quoteName(schema)}.${quoteName(name)}`;
};

const equalsOf = (row: TextRow): string => {
  const { equals_schema: schema, equals_name: name } = row;
  return schema === null || schema === undefined || !name ? '=' : `OPERATOR(${quoteName(schema)}.${name})`;
};

const readingOf = (row: TextRow): WrittenColumn['reading'] => {
  if (!isTrue(row, 'has_cast')) return { before: '', after: '' };
  const { input_schema: schema, input_name: name } = row;
  if (schema === null || schema === undefined || !name) {
    return { before: '', after: isTrue(row, 'has_varchar_cast') ? '::pg_catalog.bpchar' : '::pg_catalog.varchar' };
  }
  const more = textOf(row, 'input_arguments') === '1' ? '' : `, ${textOf(row, 'input_parameter')}::oid, -1`;
  return { before: `${quoteName(schema)}.${quoteName(name)}(pg_catalog.textout(`, after: `)${more})` };
};
