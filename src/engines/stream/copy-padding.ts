import type { SqlSide } from '../../domain/sql.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { quoteName, quoteTable } from '../../platform/postgres/quote.ts';
import { onlyRow, textOf } from '../../platform/postgres/row.ts';
import type { CopyFormat } from './copy-format.ts';

/** Columns of type `character(n)` that are carried without the blanks at their end, with the n of each. */
export type Padding = ReadonlyMap<string, number>;

/** A table that is small is copied before a look at its rows would have paid. */
const WORTHWHILE_BYTES = 8 * 2 ** 20;
/** Blanks of a value, on average: cutting them off costs the origin about what so few of them cost the other side. */
const WORTHWHILE_BLANKS = 16;
const SAMPLED_ROWS = 1_000;
/** It only saves time, so it may not take any. */
const LOOK_MS = 2_000;

/**
 * Finds out which columns to carry without their padding. A `character(n)` is stored with blanks up to n characters, which
 * mean nothing. The receiving side walks over every one of them to count characters, in an encoding where these differ in
 * length, and puts them back by itself where they are missing. For pgbench's rows that walk is a third of what it costs to take them.
 *
 * Only for tables that are carried in binary, of databases in UTF-8, and columns that have the same length on both sides:
 * what arrives is then what would have arrived. Decided by the first rows of each table; a table without such columns costs no query.
 */
export const findPadding = async (
  sides: { readonly from: SqlSide; readonly to: SqlSide },
  tables: readonly Table[],
  formats: ReadonlyMap<string, CopyFormat>,
): Promise<ReadonlyMap<string, Padding>> => {
  const found = new Map<string, Padding>();
  const candidates = tables.filter(
    (table) =>
      table.bytes > WORTHWHILE_BYTES &&
      formats.get(displayName(table)) === 'binary' &&
      declaredLengths(table.columns).size > 0,
  );
  if (candidates.length === 0 || !(await isUtf8(sides.from))) return found;
  // Both anew: what the tables are known with is as old as the run.
  const [given, taken] = await Promise.all([readLengths(sides.from, candidates), readLengths(sides.to, candidates)]);
  for (const table of candidates) {
    const there = taken.get(displayName(table));
    const same = [...(given.get(displayName(table)) ?? [])].filter(([column, length]) => there?.get(column) === length);
    const padding = await worthwhile(sides.from, table, same);
    if (padding.size > 0) found.set(displayName(table), padding);
  }
  return found;
};

/** The value of a padded column on table `t`, as the bytes that its type would send, less the blanks at the end. */
export const withoutPadding = (column: string, length: number): string => {
  const value = `t.${quoteName(column)}`;
  // A padded value has exactly n characters, and a blank is one byte. There is no cheaper way to cut: a cast to text takes the value apart.
  const kept = `pg_catalog.octet_length(${value}) - ${length} + pg_catalog.length(${value})`;
  return `pg_catalog.substr(pg_catalog.bpcharsend(${value}), 1, ${kept})`;
};

/** A domain has another name, and is left alone. */
const PADDED = /^character\((\d+)\)$/;

const declaredLengths = (columns: readonly { readonly name: string; readonly fullType: string }[]): Padding => {
  const lengths = new Map<string, number>();
  for (const { name, fullType } of columns) {
    const length = Number(PADDED.exec(fullType)?.[1] ?? 0);
    if (length >= WORTHWHILE_BLANKS) lengths.set(name, length);
  }
  return lengths;
};

/** Octets are counted as the server stores them and cut as the session receives them. */
const isUtf8 = async (side: SqlSide): Promise<boolean> => {
  const row = onlyRow(
    await side.query(`SELECT current_setting('server_encoding') AS stored, current_setting('client_encoding') AS sent`),
  );
  return textOf(row, 'stored') === 'UTF8' && textOf(row, 'sent') === 'UTF8';
};

const TYPES = `
  SELECT t.schema, t.name, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type
    FROM unnest($1::text[], $2::text[]) AS t (schema, name)
    JOIN pg_namespace n ON n.nspname = t.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'bpchar'::regtype`;

const readLengths = async (side: SqlSide, tables: readonly Table[]): Promise<ReadonlyMap<string, Padding>> => {
  const { rows } = await side.query(TYPES, [tables.map((t) => t.schema), tables.map((t) => t.name)]);
  const named = Map.groupBy(rows, (row) => displayName({ schema: textOf(row, 'schema'), name: textOf(row, 'name') }));
  const lengths = new Map<string, Padding>();
  for (const [table, columns] of named) {
    lengths.set(
      table,
      declaredLengths(columns.map((row) => ({ name: textOf(row, 'column'), fullType: textOf(row, 'type') }))),
    );
  }
  return lengths;
};

const worthwhile = async (
  side: SqlSide,
  table: Table,
  columns: readonly (readonly [name: string, length: number])[],
): Promise<Padding> => {
  if (columns.length === 0) return new Map();
  const names = columns.map(([name]) => quoteName(name)).join(', ');
  const blanks = columns.map(([name, length], at) => `avg(${length} - length(${quoteName(name)})) AS c${at}`);
  const [row] = await side
    .transaction(async (sql) => {
      await sql.query(`SET LOCAL statement_timeout = ${LOOK_MS}; SET LOCAL lock_timeout = ${LOOK_MS}`);
      const look = `SELECT ${blanks.join(', ')} FROM (SELECT ${names} FROM ONLY ${quoteTable(table)} LIMIT ${SAMPLED_ROWS}) s`;
      return (await sql.query(look)).rows;
    })
    // A table whose first rows are dead by the million, or locked. It is copied all the same, with its padding.
    .catch(() => []);
  return new Map(columns.filter((_, at) => Number(row?.[`c${at}`] ?? 0) >= WORTHWHILE_BLANKS));
};
