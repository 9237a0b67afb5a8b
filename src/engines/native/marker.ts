import type { Guard, SqlExecutor } from '../../domain/sql.ts';
import { quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
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
 * they were on disk and does not send them again; nobody else would notice (S14). The first of all may be any.
 */
const COUNT = `
BEGIN
  IF NEW.seq > OLD.expected THEN NEW.missing := coalesce(OLD.missing, OLD.expected); END IF;
  NEW.expected := NEW.seq + 1;
  RETURN NEW;
END`;

const STANDING = `
  SELECT EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                  WHERE t.tgrelid = w.oid AND t.tgname = $2 AND t.tgenabled = 'R' AND p.proname = $3) AS stands,
         EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = w.oid AND t.tgname = $2) AS has_some,
         (SELECT count(*) = 2 FROM pg_attribute a
           WHERE a.attrelid = w.oid AND a.attname IN ('expected', 'missing') AND NOT a.attisdropped) AS is_whole
    FROM (SELECT to_regclass($1)::oid AS oid) w`;

const namesOf = (spec: LaneSpec) => ({
  table: quoteTable(markerTable(spec.publication, spec.direction)),
  // By its name `dropWritten` finds it.
  counter: `${touchPrefix(spec)}marker`,
});

const readStanding = async (sql: SqlExecutor, spec: LaneSpec) => {
  const { table, counter } = namesOf(spec);
  const [row] = (await sql.query(STANDING, [table, TOUCH_TRIGGERS.rows, counter])).rows;
  return { stands: row?.stands === 't', hasSome: row?.has_some === 't', isWhole: row?.is_whole === 't' };
};

/** Whether markers that arrive are counted; those of a lane that an earlier version of ours began are not. */
export const countsMarkers = async (sql: SqlExecutor, spec: LaneSpec): Promise<boolean> => {
  const { stands, isWhole } = await readStanding(sql, spec);
  return stands && isWhole;
};

/**
 * Columns and trigger that stand are left alone, because to add or drop one waits for readers as well, such as a dump, and in
 * the window of a switch nobody can.
 */
const makeCounter = async (sql: SqlExecutor, spec: LaneSpec): Promise<void> => {
  const { table, counter } = namesOf(spec);
  const name = `switchback.${counter}`;
  const { rows: trigger } = TOUCH_TRIGGERS;
  const { stands, hasSome, isWhole } = await readStanding(sql, spec);
  const columns = 'ADD COLUMN IF NOT EXISTS expected bigint, ADD COLUMN IF NOT EXISTS missing bigint';
  const statements = [
    ...(isWhole ? [] : [`ALTER TABLE ${table} ${columns}`]),
    `CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS ${quoteText(COUNT)}`,
    ...(hasSome && !stands ? [`DROP TRIGGER ${trigger} ON ${table}`] : []),
    ...(stands
      ? []
      : [
          `CREATE TRIGGER ${trigger} BEFORE UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION ${name}()`,
          `ALTER TABLE ${table} ENABLE REPLICA TRIGGER ${trigger}`,
        ]),
  ];
  await sql.query(statements.join(';\n'));
};

/**
 * The table that markers arrive in, in the caller's transaction and while no worker writes to it. Its row is there before the
 * first marker is, which then comes as an update. What we write to it ourselves is not counted: the trigger fires for replicas.
 *
 * What has been counted stays, since the subscription may have been made anew while what the slot sends next has a hole: the
 * first marker behind it is still to come. Only where the stream engine's lane has applied markers meanwhile, which `marker`
 * shows, or where some came that were not counted, may the next one be any. {@link forgetArrivals} is for a lane that begins.
 */
export const makeArrivals = async (sql: SqlExecutor, spec: LaneSpec, marker: bigint): Promise<void> => {
  const { table } = namesOf(spec);
  await sql.query(arrivalsSql(table));
  await makeCounter(sql, spec);
  await sql.query(
    `INSERT INTO ${table} AS m (lane, seq) VALUES ($1, $2) ON CONFLICT (lane) DO UPDATE
       SET seq = greatest(m.seq, excluded.seq),
           expected = CASE WHEN m.expected > greatest(m.seq, excluded.seq) THEN m.expected END`,
    [spec.lane, String(marker)],
  );
};

/**
 * Lets the next marker be any, as if none had arrived: for a lane that begins, and for one whose written side is known to be
 * another server now. `guard` runs in the transaction: whoever slept would hide what is missing from the one that took over (S7).
 */
export const forgetArrivals = async (to: PostgresServer, spec: LaneSpec, guard: Guard): Promise<void> => {
  await to.transaction(async (sql) => {
    // A table of an earlier version has counted nothing.
    if (!(await readStanding(sql, spec)).isWhole) return;
    await guard(sql);
    const { table } = namesOf(spec);
    await sql.query(`UPDATE ${table} SET seq = 0, expected = NULL, missing = NULL WHERE lane = $1`, [spec.lane]);
  });
};

/** What is missing, of a row `m` of arrivals; a table that an earlier version of ours made may lack the column. */
export const MISSING = `to_jsonb(m) ->> 'missing'`;

/** The first marker that is known to be lost of those that the lane's subscription has brought, or null. There has to be one. */
export const missingMarker = async (sql: SqlExecutor, spec: LaneSpec): Promise<string | null> => {
  const { table } = namesOf(spec);
  const { rows } = await sql.query(`SELECT ${MISSING} AS missing FROM ${table} m WHERE lane = $1`, [spec.lane]);
  return rows[0]?.missing ?? null;
};
