import { SwitchbackError } from '../../domain/errors.ts';
import type { Guard, SqlExecutor } from '../../domain/sql.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { quoteName, quoteTable } from '../../platform/postgres/quote.ts';
import { textOf } from '../../platform/postgres/row.ts';
import { codeOf, type PostgresServer } from '../../platform/postgres/server.ts';
import { type LaneNames, markerTable, TOUCH_TRIGGERS, touchedTable, touchPrefix } from './names.ts';

/** Dropping a trigger waits for readers, and everybody waits behind it: so it is asked for in short attempts. */
const ATTEMPT_MS = 200;
const BUDGET_MS = 60_000;
const LOCK_NOT_AVAILABLE = '55P03';

/** Functions of the lanes' triggers, with the table that each is on; null when that is gone. */
const FUNCTIONS = `
  SELECT p.proname::text AS function, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS "table"
    FROM pg_proc p JOIN pg_namespace pn ON pn.oid = p.pronamespace AND pn.nspname = 'switchback'
    LEFT JOIN pg_trigger t ON t.tgfoid = p.oid LEFT JOIN pg_class c ON c.oid = t.tgrelid
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE starts_with(p.proname::text, $1) GROUP BY 1, 2 ORDER BY 1`;

/** Removes what the lanes of a publication in one direction have on the side that they write to; their slots are gone. */
export const dropWritten = async (server: PostgresServer, names: LaneNames, guard: Guard): Promise<void> => {
  const { rows } = await server.query(FUNCTIONS, [touchPrefix(names)]);
  const deadlineMs = monotonicMs() + BUDGET_MS;
  for (const row of rows) {
    const drop = dropTriggers(textOf(row, 'function'), row.table ?? null);
    while (!(await attempt(server, guard, drop))) {
      if (monotonicMs() > deadlineMs) {
        throw new SwitchbackError('busy', `the triggers of ${row.table} on the ${server.label} cannot be removed`, {
          remedy: 'see in pg_locks who uses the table for long, and end that; then give the command again',
        });
      }
      await sleep(ATTEMPT_MS);
    }
  }
  await server.transaction(async (sql) => {
    await guard(sql);
    await sql.query(`DROP TABLE IF EXISTS ${quoteTable(touchedTable(names))}`);
    await sql.query(`DROP TABLE IF EXISTS ${quoteTable(markerTable(names.publication, names.direction))}`);
  });
};

/** Removes the markers on the side that the lanes read from; the publication is gone. */
export const dropMarkers = async (server: PostgresServer, names: LaneNames, guard: Guard): Promise<void> => {
  await server.transaction(async (sql) => {
    await guard(sql);
    await sql.query(`DROP TABLE IF EXISTS ${quoteTable(markerTable(names.publication, names.direction))}`);
  });
};

const dropTriggers = (name: string, table: string | null) => {
  const { rows, truncate } = TOUCH_TRIGGERS;
  const triggers =
    table === null ? '' : [rows, truncate].map((t) => `DROP TRIGGER IF EXISTS ${t} ON ${table};`).join(' ');
  return async (sql: SqlExecutor): Promise<void> => {
    await sql.query(
      `SET LOCAL lock_timeout = '${ATTEMPT_MS}ms'; ${triggers} DROP FUNCTION IF EXISTS switchback.${quoteName(name)}();`,
    );
  };
};

const attempt = async (
  server: PostgresServer,
  guard: Guard,
  drop: (sql: SqlExecutor) => Promise<void>,
): Promise<boolean> => {
  try {
    await server.transaction(async (sql) => {
      await guard(sql);
      await drop(sql);
    });
    return true;
  } catch (error) {
    if (codeOf(error) === LOCK_NOT_AVAILABLE) return false;
    throw error;
  }
};
