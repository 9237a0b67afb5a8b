import type { KeyText } from '../../databases/digests.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { quoteName, quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import { textOf } from '../../platform/postgres/row.ts';
import { PINNED_SETTINGS } from '../../platform/postgres/settings.ts';
import type { LaneSpec, Touched } from '../engine.ts';
import { TOUCH_TRIGGERS, touchedTable, touchPrefix } from './names.ts';

/**
 * Bytes do not pass through us, so the written side notes itself which keys its worker changes: triggers that fire for replicas
 * only add them to a table of the lane, in the transaction of the change.
 *
 * None can be missed. A key is committed with its row. One worker applies one transaction after the other, so whoever sees a
 * marker that arrived sees, in any later statement, the keys of everything before it; and the lane looks at the marker first, then
 * takes the keys, and only then lets a drain end. Keys are taken by deleting exactly what is told, in a transaction whose loss
 * leaves them there. Those of a time when no worker looked are told to the next one, which verifies everything anyway.
 */

/** Beyond this many keys of a table at once they are not told one by one. */
const MAX_KEYS = 20_000;

/** Types whose text does not depend on any setting. */
const PLAIN_TYPE = /^(smallint|integer|bigint|numeric|text|character varying|bpchar|"char"|name|uuid|boolean|oid)$/;

/** What texts of other types depend on; the server's own settings may be any. */
const TEXT_SETTINGS = ['DateStyle', 'IntervalStyle', 'TimeZone', 'extra_float_digits', 'bytea_output', 'lc_monetary'];

const keyOf = (table: Table, row: 'OLD' | 'NEW'): string => {
  const columns = table.key?.columns ?? [];
  return table.key === null
    ? 'NULL::text[]'
    : `ARRAY[${columns.map((column) => `${row}.${quoteName(column)}::pg_catalog.text`).join(', ')}]`;
};

const bodyOf = (table: Table, touched: string): string => {
  const note = (key: string): string => `INSERT INTO ${touched} VALUES (${quoteText(displayName(table))}, ${key});`;
  return `DECLARE before pg_catalog.text[]; after pg_catalog.text[];
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    ${note('NULL')}
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN before := ${keyOf(table, 'OLD')}; END IF;
  IF TG_OP <> 'DELETE' THEN after := ${keyOf(table, 'NEW')}; END IF;
  IF TG_OP <> 'INSERT' THEN ${note('before')} END IF;
  IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND after IS DISTINCT FROM before) THEN ${note('after')} END IF;
  RETURN NULL;
END`;
};

const settingsFor = (table: Table): string => {
  const types = table.columns.filter(({ name }) => table.key?.columns.includes(name)).map(({ type }) => type);
  const names = types.every((type) => PLAIN_TYPE.test(type)) ? [] : TEXT_SETTINGS;
  return names.map((name) => ` SET ${name} = ${quoteText(PINNED_SETTINGS[name] ?? '')}`).join('');
};

/** The worker may act as each table's owner, who need not be let into our schema: the function acts as its own. */
const functionSql = (table: Table, name: string, touched: string): string =>
  `CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
     SET search_path = pg_catalog${settingsFor(table)} AS ${quoteText(bodyOf(table, touched))};`;

/** Without others of these names nothing is dropped: that would wait for readers as well, in the window of a switch. */
const triggersSql = (table: Table, name: string, hasOthers: boolean): string => {
  const on = quoteTable(table);
  const { rows, truncate } = TOUCH_TRIGGERS;
  const drops = `DROP TRIGGER IF EXISTS ${rows} ON ${on}; DROP TRIGGER IF EXISTS ${truncate} ON ${on};`;
  return `${hasOthers ? drops : ''}
    CREATE TRIGGER ${rows} AFTER INSERT OR UPDATE OR DELETE ON ${on} FOR EACH ROW EXECUTE FUNCTION ${name}();
    CREATE TRIGGER ${truncate} AFTER TRUNCATE ON ${on} FOR EACH STATEMENT EXECUTE FUNCTION ${name}();
    ALTER TABLE ONLY ${on} ENABLE REPLICA TRIGGER ${rows}, ENABLE REPLICA TRIGGER ${truncate};`;
};

const STANDING = `
  SELECT w.at, c.oid::text AS oid,
         (SELECT count(*) = 2 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
           WHERE t.tgrelid = c.oid AND t.tgname = ANY ($3::text[])
             AND t.tgenabled = 'R' AND p.proname = $2 || c.oid) AS stands,
         EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = ANY ($3::text[])) AS has_some
    FROM json_to_recordset($1::json) AS w(at int, schema text, name text)
    JOIN pg_namespace n ON n.nspname = w.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind = 'r'`;

/**
 * Makes the written side note keys, in the caller's transaction and before its worker begins. Triggers that stand are left
 * alone, because making one waits for whoever writes; those of an earlier lane in this direction serve the next one.
 */
export const noteKeys = async (sql: SqlExecutor, spec: LaneSpec): Promise<void> => {
  const touched = quoteTable(touchedTable(spec));
  await sql.query(`CREATE TABLE IF NOT EXISTS ${touched} (tbl text NOT NULL, key text[])
    WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)`);
  const wanted = JSON.stringify(spec.tables.map(({ schema, name }, at) => ({ at, schema, name })));
  const { rows } = await sql.query(STANDING, [wanted, touchPrefix(spec), Object.values(TOUCH_TRIGGERS)]);
  const statements = rows.flatMap((row) => {
    const table = spec.tables[Number(textOf(row, 'at'))];
    if (table === undefined) return [];
    const name = `switchback.${quoteName(`${touchPrefix(spec)}${textOf(row, 'oid')}`)}`;
    return [
      functionSql(table, name, touched),
      ...(row.stands === 't' ? [] : [triggersSql(table, name, row.has_some === 't')]),
    ];
  });
  if (statements.length > 0) await sql.query(statements.join('\n'));
};

/** Whether keys have been noted for a lane of this spec. */
export const notesKeys = async (sql: SqlExecutor, spec: LaneSpec): Promise<boolean> => {
  const { rows } = await sql.query('SELECT to_regclass($1)::text AS found', [quoteTable(touchedTable(spec))]);
  return rows[0]?.found != null;
};

const TAKE = (touched: string): string => `
  WITH gone AS MATERIALIZED (DELETE FROM ${touched} RETURNING tbl, key),
  numbered AS (SELECT tbl, key, row_number() OVER () AS at FROM gone),
  counted AS (SELECT *, row_number() OVER (PARTITION BY tbl ORDER BY at) AS nth FROM numbered)
  SELECT tbl, count(*)::text AS changes, (bool_or(key IS NULL) OR count(*) > ${MAX_KEYS})::text AS is_all,
         coalesce(json_agg(key ORDER BY at) FILTER (WHERE key IS NOT NULL AND nth <= ${MAX_KEYS}), '[]')::text AS keys
    FROM counted GROUP BY tbl ORDER BY min(at)`;

/** What the written side has noted since the last time. */
export interface TakenKeys {
  readonly changes: number;
  readonly touched: readonly Touched[];
}

/**
 * Takes what has been noted. To be told as soon as this has answered, also if its transaction then fails: its changes are
 * there whatever becomes of the note, and to tell a key twice does no harm.
 */
export const takeKeys = async (sql: SqlExecutor, spec: LaneSpec): Promise<TakenKeys> => {
  const { rows } = await sql.query(TAKE(quoteTable(touchedTable(spec))));
  let changes = 0;
  const touched = rows.map((row): Touched => {
    changes += Number(textOf(row, 'changes'));
    const table = textOf(row, 'tbl');
    if (row.is_all === 'true') return { table, keys: 'all' };
    const keys = JSON.parse(textOf(row, 'keys')) as readonly KeyText[];
    return { table, keys: [...new Map(keys.map((key) => [JSON.stringify(key), key])).values()] };
  });
  return { changes, touched };
};
