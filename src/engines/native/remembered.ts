import type { SqlExecutor } from '../../domain/sql.ts';
import { quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import { onlyRow, textOf } from '../../platform/postgres/row.ts';
import type { LaneSpec } from '../engine.ts';
import { touchedTable } from './names.ts';

/** What the written side's database knows of the subscription that was made there last. */
export interface Remembered {
  readonly slot: string;
  /** The timeline that the server wrote then, as {@link timelineOf} gives it; null when a version of ours noted none. */
  readonly timeline: string | null;
}

/** The timeline that a server writes; it begins another one when it is promoted, or restored to a point in time. */
export const timelineOf = async (sql: SqlExecutor): Promise<string> =>
  textOf(
    onlyRow(await sql.query('SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) AS timeline')),
    'timeline',
  );

/**
 * Remembers in the database that there is a subscription of ours for a slot, or that there is none. Without it one that somebody
 * dropped could not be told from one that was never made, and a second would apply again what the first had applied.
 */
export const remember = async (sql: SqlExecutor, spec: LaneSpec, slot: string | null): Promise<void> => {
  const table = quoteTable(touchedTable(spec));
  const { rows } = await sql.query('SELECT to_regclass($1)::text AS found', [table]);
  if (rows[0]?.found == null) return;
  const text = slot === null ? 'NULL' : quoteText(`${slot} ${await timelineOf(sql)}`);
  await sql.query(`COMMENT ON TABLE ${table} IS ${text}`);
};

/** Reads what {@link remember} wrote; null when there is no subscription. */
export const readRemembered = async (sql: SqlExecutor, spec: LaneSpec): Promise<Remembered | null> => {
  const table = quoteTable(touchedTable(spec));
  const { rows } = await sql.query(`SELECT obj_description(to_regclass($1), 'pg_class') AS text`, [table]);
  const [slot = '', timeline = null] = (rows[0]?.text ?? '').split(' ');
  return slot === '' ? null : { slot, timeline };
};
