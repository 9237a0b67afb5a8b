import type { SqlExecutor, TextRow } from '../../../../domain/sql.ts';
import type { TableName } from '../../../../domain/table.ts';
import { quoteTable } from '../../../../platform/postgres/quote.ts';
import { isTrue, textOf } from '../../../../platform/postgres/row.ts';
import { namesParameter } from '../look.ts';

const EXISTING = `
  SELECT n.nspname AS schema, c.relname AS name, row_security_active(c.oid) AS hidden, pg_relation_size(c.oid) = 0 AS bare
  FROM json_to_recordset($1::json) AS w(schema text, name text)
  JOIN pg_namespace n ON n.nspname = w.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p') ORDER BY 1, 2`;

const namesOfRows = (rows: readonly TextRow[]): readonly TableName[] =>
  rows.map((row) => ({ schema: textOf(row, 'schema'), name: textOf(row, 'name') }));

/** Which of the relations exist on a side. */
export const readExisting = async (sql: SqlExecutor, tables: readonly TableName[]): Promise<readonly TableName[]> => {
  return namesOfRows((await sql.query(EXISTING, [namesParameter(tables)])).rows);
};

/**
 * Which of the tables hold at least one row; those that do not exist are left out, and those whose rows a policy of row
 * security hides from us, which is a finding of its own. One statement for all that have a page: to plan a look into each of
 * 5,000 empty ones took longer than the looks.
 */
export const readFilled = async (sql: SqlExecutor, tables: readonly TableName[]): Promise<readonly TableName[]> => {
  const { rows } = await sql.query(EXISTING, [namesParameter(tables)]);
  const existing = namesOfRows(rows.filter((row) => !isTrue(row, 'hidden') && !isTrue(row, 'bare')));
  if (existing.length === 0) return [];
  const asked = existing.map((table, at) => `SELECT ${at} AS at WHERE EXISTS (SELECT FROM ONLY ${quoteTable(table)})`);
  const filled = new Set((await sql.query(asked.join(' UNION ALL '))).rows.map((row) => Number(textOf(row, 'at'))));
  return existing.filter((_, at) => filled.has(at));
};

/** Names of extensions that are in use, and of those that could be. */
export const readExtensions = async (
  sql: SqlExecutor,
): Promise<{ readonly installed: readonly string[]; readonly available: readonly string[] }> => {
  const installed = await sql.query('SELECT extname AS name FROM pg_extension ORDER BY 1');
  const available = await sql.query('SELECT name FROM pg_available_extensions ORDER BY 1');
  return {
    installed: installed.rows.map((row) => textOf(row, 'name')),
    available: available.rows.map((row) => textOf(row, 'name')),
  };
};
