import { createHash } from 'node:crypto';
import pg from 'pg';
import { expect, vi } from 'vitest';
import { runSql } from './servers.ts';

const TABLES = `
  SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'switchback')
     AND n.nspname NOT LIKE 'pg\\_temp%'
   ORDER BY 1`;

/** With these a value has one text, wherever it is printed. The oracle's own, so that a wrong setting of ours is seen. */
const ONE_TEXT = [
  'DateStyle=ISO,MDY',
  'IntervalStyle=postgres',
  'TimeZone=UTC',
  'extra_float_digits=3',
  'bytea_output=hex',
  'lc_monetary=C',
  'search_path=pg_catalog',
]
  .map((setting) => `-c ${setting}`)
  .join(' ');

/**
 * Every row of every table as the text that the types' output functions give, sorted as bytes; long rows as their length
 * and digest. A row's own text keeps what a cast of a value loses, such as the padding of `char(n)`.
 */
export const allRows = async (url: string): Promise<Readonly<Record<string, readonly string[]>>> => {
  const names = (await runSql(url, TABLES)).map(({ name }) => String(name));
  return await readRows(
    url,
    Object.fromEntries(names.map((name) => [name, `SELECT t::text AS row FROM ONLY ${name} t`])),
  );
};

/**
 * Waits until both sides have the same rows. Both are read each time: a lane may still bring what the other side is to be
 * compared with.
 */
export const untilEqualSides = async (sides: { readonly source: string; readonly target: string }): Promise<void> => {
  const compare = async () => expect(await allRows(sides.target)).toEqual(await allRows(sides.source));
  await vi.waitFor(compare, { timeout: 20_000, interval: 100 });
};

/** The results of queries with one text column `row`, in a session whose settings give a value one text; as {@link allRows}. */
export const readRows = async (
  url: string,
  queries: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, readonly string[]>>> => {
  const client = new pg.Client({ connectionString: url, options: ONE_TEXT });
  await client.connect();
  try {
    const found: Record<string, readonly string[]> = {};
    for (const [name, query] of Object.entries(queries)) {
      const { rows } = await client.query<{ row: string }>(`SELECT row FROM (${query}) q ORDER BY row COLLATE "C"`);
      found[name] = rows.map(({ row }) => (row.length <= 2_000 ? row : `${row.length} ${digest(row)}`));
    }
    return found;
  } finally {
    await client.end();
  }
};

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
