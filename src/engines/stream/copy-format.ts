import { SwitchbackError } from '../../domain/errors.ts';
import type { SqlExecutor, SqlSide, TextRow } from '../../domain/sql.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { onlyRow, textOf } from '../../platform/postgres/row.ts';

/** The format in which COPY carries a table's rows. */
export type CopyFormat = 'text' | 'binary';

/**
 * Built-in types that a server of 13 or newer sends in the same bytes as any other receives, and whose bytes are all of the
 * value: numbers as they are (a NaN's payload, a `money` in its smallest unit), texts in the session's encoding, json and
 * jsonb as texts (jsonb with a version), ranges by flags and bounds. A value that only newer servers have (an infinite
 * numeric) is refused by an older one in either format.
 *
 * Not here, and so carried as text: `reg…` and `oidvector`, of which the bytes are numbers that mean something else on
 * another server, where the text is a name; `xml`, whose bytes declare an encoding that the other side would keep; `xid`,
 * `tid`, `tsquery`, `jsonpath`, `pg_snapshot`, which are rare; everything that an extension brings, because its format is as
 * that extension's version wants it; composites, which carry the numbers of their columns' types.
 */
const SAME_BYTES = new Set(
  `bool bytea char name int2 int4 int8 oid text json jsonb point lseg path box polygon line circle
   float4 float8 numeric money bpchar varchar date time timetz timestamp timestamptz interval bit varbit inet cidr macaddr
   macaddr8 uuid pg_lsn tsvector int4range int8range numrange daterange tsrange tstzrange int4multirange int8multirange
   nummultirange datemultirange tsmultirange tstzmultirange`.split(/\s+/),
);

/** Every type that the tables' columns have, and those that they are made of. */
const TYPES = `
  WITH RECURSIVE wanted AS (
    SELECT a.attname, a.atttypid, t.schema, t.name FROM unnest($1::text[], $2::text[]) AS t (schema, name)
    JOIN pg_namespace n ON n.nspname = t.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name AND c.relkind = 'r'
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
  reached AS (
    SELECT DISTINCT atttypid AS oid FROM wanted
    UNION
    SELECT CASE WHEN t.typbasetype <> 0 THEN t.typbasetype ELSE t.typelem END FROM reached r
    JOIN pg_type t ON t.oid = r.oid WHERE t.typbasetype <> 0 OR t.typelem <> 0)`;

const TYPES_OF = `${TYPES}
  SELECT t.oid, t.typtype AS kind, n.nspname AS schema, t.typname AS name, t.typbasetype AS base,
         (SELECT e.oid FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid) AS element
    FROM reached r JOIN pg_type t ON t.oid = r.oid JOIN pg_namespace n ON n.oid = t.typnamespace`;

const COLUMNS_OF = `${TYPES} SELECT schema, name, attname AS column, atttypid AS type FROM wanted`;

/** What the bytes of a column are, the same text on both sides if they are the same; null if that cannot be told. */
const wireOf = (type: string | undefined, types: ReadonlyMap<string, TextRow>): string | null => {
  const row = types.get(type ?? '');
  if (row === undefined) return null;
  const kind = textOf(row, 'kind');
  if (kind === 'd') return wireOf(textOf(row, 'base'), types);
  // Its label, by which the other side finds its own.
  if (kind === 'e') return `enum ${JSON.stringify([row.schema, row.name])}`;
  if (row.schema !== 'pg_catalog') return null;
  if (SAME_BYTES.has(textOf(row, 'name'))) return textOf(row, 'oid');
  // An array names its elements' type by a number, which is the same on both sides for built-in types only.
  const element = types.get(row.element ?? '');
  if (element?.schema !== 'pg_catalog' || !SAME_BYTES.has(element.name ?? '')) return null;
  return `array ${element.oid}`;
};

/** A table's columns with what their bytes are. */
type Wires = ReadonlyMap<string, string | null>;

const readWires = async (sql: SqlExecutor, tables: readonly Table[]): Promise<ReadonlyMap<string, Wires>> => {
  const names = [tables.map((t) => t.schema), tables.map((t) => t.name)];
  const types = new Map((await sql.query(TYPES_OF, names)).rows.map((row) => [textOf(row, 'oid'), row]));
  const wires = new Map<string, Map<string, string | null>>();
  for (const row of (await sql.query(COLUMNS_OF, names)).rows) {
    const name = displayName({ schema: textOf(row, 'schema'), name: textOf(row, 'name') });
    const columns = wires.get(name) ?? new Map<string, string | null>();
    wires.set(name, columns.set(textOf(row, 'column'), wireOf(row.type ?? undefined, types)));
  }
  return wires;
};

const ENCODING = `SELECT current_setting('server_encoding') AS encoding`;

/**
 * Chooses the format of each table, by its display name: binary, which costs either server less, where both sides' types
 * make sure that the bytes mean the same; text otherwise, also when the sides' encodings differ.
 *
 * Throws kind `halted` when a table of the origin has other columns than it is known with: a column that has come since
 * would be left out of the copy, and of the verification after it, without a word (S13).
 */
export const chooseFormats = async (
  sides: { readonly from: SqlSide; readonly to: SqlSide },
  tables: readonly Table[],
): Promise<ReadonlyMap<string, CopyFormat>> => {
  const [from, to] = await Promise.all([readWires(sides.from, tables), readWires(sides.to, tables)]);
  const encodings = await Promise.all(
    [sides.from, sides.to].map(async (side) => textOf(onlyRow(await side.query(ENCODING)), 'encoding')),
  );
  const isOneEncoding = encodings[0] === encodings[1];
  const format = (table: Table): CopyFormat => {
    const given: Wires = from.get(displayName(table)) ?? new Map();
    const taken = to.get(displayName(table));
    const carried = table.columns.filter((column) => !column.generated);
    if (given.size !== carried.length || carried.some(({ name }) => !given.has(name))) throw otherColumns(table);
    const isSafe = carried.every(({ name }) => given.get(name) != null && given.get(name) === taken?.get(name));
    return isOneEncoding && isSafe && carried.length > 0 ? 'binary' : 'text';
  };
  return new Map(tables.map((table) => [displayName(table), format(table)]));
};

const otherColumns = (table: Table): SwitchbackError =>
  new SwitchbackError('halted', `${displayName(table)} cannot be copied: its columns have changed in the meantime`, {
    remedy: 'look that both sides have the same columns, then: switchback resume PLAN PHASE',
  });
