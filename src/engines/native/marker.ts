import type { SqlExecutor } from '../../domain/sql.ts';
import { quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import type { LaneSpec } from '../engine.ts';
import { markerTable, TOUCH_TRIGGERS, touchPrefix } from './names.ts';

/** The statement that makes a table of markers on the side that they are written on. */
export const markerTableSql = (table: string): string =>
  `CREATE TABLE IF NOT EXISTS ${table}
     (lane text PRIMARY KEY, seq bigint NOT NULL, at timestamptz NOT NULL DEFAULT now())`;

/** Columns beyond those of the other side are this side's own: no marker that arrives writes to them. */
const arrivalsSql = (table: string): string =>
  `CREATE TABLE IF NOT EXISTS ${table}
     (lane text PRIMARY KEY, seq bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(),
      expected bigint, missing bigint)`;

/**
 * Each marker is written by adding one to the one before, and each comes as a change of its own: so one that follows another
 * from further away shows that those between were lost here, with whatever was committed between them. The slot was told that
 * they were on disk and does not send them again; nobody else would notice (S14). The first after a start may be any.
 */
const COUNT = `
BEGIN
  IF NEW.seq > OLD.expected THEN NEW.missing := coalesce(OLD.missing, OLD.expected); END IF;
  NEW.expected := NEW.seq + 1;
  RETURN NEW;
END`;

/**
 * The table that markers arrive in, in the caller's transaction and while no worker writes to it. Its row is there before the
 * first marker is, which then comes as an update. What we write to it ourselves is not counted: the trigger fires for replicas.
 */
export const makeArrivals = async (sql: SqlExecutor, spec: LaneSpec, marker: bigint): Promise<void> => {
  const table = quoteTable(markerTable(spec.publication, spec.direction));
  // By its name `dropWritten` finds it.
  const name = `switchback.${touchPrefix(spec)}marker`;
  const { rows: trigger } = TOUCH_TRIGGERS;
  await sql.query(`${arrivalsSql(table)};
    CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS ${quoteText(COUNT)};
    DROP TRIGGER IF EXISTS ${trigger} ON ${table};
    CREATE TRIGGER ${trigger} BEFORE UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION ${name}();
    ALTER TABLE ${table} ENABLE REPLICA TRIGGER ${trigger};`);
  await sql.query(
    `INSERT INTO ${table} (lane, seq) VALUES ($1, $2) ON CONFLICT (lane) DO UPDATE
       SET seq = excluded.seq, expected = NULL, missing = NULL`,
    [spec.lane, String(marker)],
  );
};

/** The first marker that is known to be lost of those that the lane's subscription has brought, or null. There has to be one. */
export const missingMarker = async (sql: SqlExecutor, spec: LaneSpec): Promise<string | null> => {
  const table = quoteTable(markerTable(spec.publication, spec.direction));
  const { rows } = await sql.query(`SELECT missing::text AS missing FROM ${table} WHERE lane = $1`, [spec.lane]);
  return rows[0]?.missing ?? null;
};
