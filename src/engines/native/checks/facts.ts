import type { TableName } from '../../../domain/table.ts';
import { isTrue, onlyRow, textOf } from '../../../platform/postgres/row.ts';
import type { PostgresServer } from '../../../platform/postgres/server.ts';

/** What decides whether subscriptions can be made and run on a side. */
export interface SubscriberFacts {
  readonly version: number;
  readonly mayCreate: boolean;
  /** Functions of replication origins that our role may not call. */
  readonly forbidden: readonly string[];
  /** Workers that may run for subscriptions, and how many other subscriptions take one each. */
  readonly workers: number;
  readonly others: number;
  /** All background workers, of which those are some. */
  readonly processes: number;
  /** How many positions of origins the server can keep, and the setting's name. */
  readonly origins: number;
  readonly originSetting: string;
  /** Before 16 no more than one worker begins in this time. */
  readonly startEveryMs: number;
}

const SETTINGS = `
  SELECT current_setting('server_version_num') AS version,
         current_setting('max_logical_replication_workers') AS workers,
         current_setting('max_worker_processes') AS processes,
         coalesce(current_setting('max_active_replication_origins', true), current_setting('max_replication_slots')) AS origins,
         current_setting('max_active_replication_origins', true) IS NOT NULL AS has_origin_setting,
         (SELECT setting FROM pg_settings WHERE name = 'wal_retrieve_retry_interval') AS start_every,
         (SELECT count(*) FROM pg_subscription s WHERE s.subenabled AND NOT starts_with(s.subname::text, 'switchback_'))
           AS others,
         (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
         (SELECT count(*) > 0 FROM pg_roles r WHERE r.rolname = 'pg_create_subscription' AND pg_has_role(r.oid, 'MEMBER'))
           AS is_creator,
         (SELECT coalesce(json_agg(p.oid::regprocedure::text), '[]') FROM pg_proc p
           WHERE p.oid IN ('pg_replication_origin_progress(text, boolean)'::regprocedure,
                           'pg_replication_origin_advance(text, pg_lsn)'::regprocedure)
             AND NOT has_function_privilege(p.oid, 'EXECUTE')) AS forbidden`;

/** Reads what a side can do as the one that subscribes. */
export const readSubscriber = async (server: PostgresServer): Promise<SubscriberFacts> => {
  const row = onlyRow(await server.query(SETTINGS));
  const number = (column: string): number => Number(textOf(row, column));
  return {
    version: number('version'),
    mayCreate: isTrue(row, 'is_superuser') || isTrue(row, 'is_creator'),
    forbidden: JSON.parse(textOf(row, 'forbidden')) as readonly string[],
    workers: number('workers'),
    others: number('others'),
    processes: number('processes'),
    origins: number('origins'),
    originSetting: isTrue(row, 'has_origin_setting') ? 'max_active_replication_origins' : 'max_replication_slots',
    startEveryMs: number('start_every'),
  };
};

/** Columns whose type has no equality by itself. An array, a range, an enum or a composite type has that of its parts. */
const UNEQUAL = `
  SELECT n.nspname AS schema, c.relname AS name, a.attname AS col, format_type(a.atttypid, NULL) AS type
    FROM json_to_recordset($1::json) AS w(schema text, name text)
    JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
   WHERE b.typtype = 'b' AND b.typelem = 0 AND NOT EXISTS (
     SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname IN ('btree', 'hash')
      WHERE o.opcdefault AND (o.opcintype = b.oid OR EXISTS (
        SELECT FROM pg_cast k WHERE k.castsource = b.oid AND k.casttarget = o.opcintype
           AND k.castmethod = 'b' AND k.castcontext = 'i')))
   ORDER BY 1, 2, a.attnum`;

/** A column that a whole row cannot be compared by. */
export interface UnequalColumn extends TableName {
  readonly column: string;
  readonly type: string;
}

/** Columns without an equality in tables that are compared as a whole. */
export const readUnequal = async (
  server: PostgresServer,
  tables: readonly TableName[],
): Promise<readonly UnequalColumn[]> => {
  const wanted = JSON.stringify(tables.map(({ schema, name }) => ({ schema, name })));
  const { rows } = await server.query(UNEQUAL, [wanted]);
  return rows.map((row) => ({
    schema: textOf(row, 'schema'),
    name: textOf(row, 'name'),
    column: textOf(row, 'col'),
    type: textOf(row, 'type'),
  }));
};
