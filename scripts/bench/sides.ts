import { quoteTable } from '../../src/platform/postgres/quote.ts';
import type { Check } from './part.ts';
import { runSql, withClient } from './servers.ts';

const KINDS = ['rows', 'indexes', 'constraints', 'statistics'] as const;

/** What must be the same on both sides after a move: by kind, a list of lines. */
export type Contents = Readonly<Record<(typeof KINDS)[number], readonly string[]>>;

/** Values have one text form on every major. */
const PINNED = `SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres';
  SET extra_float_digits = 3; SET bytea_output = 'hex'; SET jit = off`;

const USER_TABLES = `SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'switchback', 'pgcopydb')
    AND n.nspname !~ '^pg_' ORDER BY 1, 2`;

const INDEXES = `SELECT schemaname || '.' || indexdef AS line FROM pg_indexes
  WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'switchback', 'pgcopydb') ORDER BY 1`;

const CONSTRAINTS = `SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) AS line FROM pg_constraint
  WHERE contype IN ('p', 'u', 'f', 'c', 'x')
    AND connamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'switchback', 'pgcopydb') ORDER BY 1`;

/** Tables that the planner knows something of. */
const STATISTICS = `SELECT DISTINCT schemaname || '.' || tablename AS line FROM pg_stats
  WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'switchback', 'pgcopydb') ORDER BY 1`;

/** Digests of every table by the server itself, over rows' whole text: none of ours, which are what is measured. */
const rowsOf = async (url: string): Promise<readonly string[]> =>
  await withClient(url, async (client) => {
    await client.query(PINNED);
    const { rows: tables } = await client.query<{ schema: string; name: string }>(USER_TABLES);
    const lines: string[] = [];
    for (const table of tables) {
      const { rows } = await client.query<{ line: string }>(
        `SELECT concat_ws(' ', count(*), sum(hashtextextended(t::text COLLATE "C", 7))) AS line FROM ONLY ${quoteTable(table)} t`,
      );
      lines.push(`${table.schema}.${table.name} ${rows[0]?.line ?? ''}`);
    }
    return lines;
  });

const linesOf = async (url: string, sql: string): Promise<readonly string[]> =>
  (await runSql(url, sql)).map((row) => String(row.line));

/** Reads a side's tables, indexes, constraints and which tables have statistics. Takes a scan of everything. */
export const contentsOf = async (url: string): Promise<Contents> => ({
  rows: await rowsOf(url),
  indexes: await linesOf(url, INDEXES),
  constraints: await linesOf(url, CONSTRAINTS),
  statistics: await linesOf(url, STATISTICS),
});

/** One check per kind: the same lines, in any order, or the first that differ. */
export const compareContents = (
  what: { readonly case: string; readonly by: string },
  expected: Contents,
  found: Contents,
): readonly Check[] =>
  KINDS.map((kind) => {
    const missing = expected[kind].filter((line) => !found[kind].includes(line));
    const extra = found[kind].filter((line) => !expected[kind].includes(line));
    const isSame = missing.length === 0 && extra.length === 0;
    const check = { case: what.case, what: `${what.by}: ${kind} equal to the source's`, ok: isSame };
    if (isSame) return check;
    const says = [`missing ${missing.slice(0, 3).join('; ')}`, `not the source's ${extra.slice(0, 3).join('; ')}`];
    return { ...check, found: says.join(', ') };
  });

/** Compares the rows of every table on both sides as they are now. */
export const checkRows = async (
  what: { readonly case: string; readonly by: string },
  urls: { readonly source: string; readonly target: string },
): Promise<Check> => {
  const [source, target] = await Promise.all([rowsOf(urls.source), rowsOf(urls.target)]);
  const missing = source.filter((line) => !target.includes(line));
  const isSame = missing.length === 0 && source.length === target.length;
  const check = { case: what.case, what: `${what.by}: rows of ${source.length} tables equal`, ok: isSame };
  return isSame ? check : { ...check, found: `differing: ${missing.slice(0, 3).join('; ')}` };
};
