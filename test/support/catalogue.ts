import { allRows } from './rows.ts';
import { runSql } from './servers.ts';

const USER = `left(n.nspname, 3) <> 'pg_' AND n.nspname <> 'information_schema'`;

/**
 * Everything of a database's catalogue that a run could leave a trace in, one query per kind. Object ids are left out, and
 * the order within an access list, the flag in pg_class that a table once had a trigger, which the server itself clears only at the next VACUUM.
 */
const QUERIES: Readonly<Record<string, string>> = {
  schemas: `SELECT n.nspname, n.nspowner::regrole,
           (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(n.nspacl) a) AS acl FROM pg_namespace n WHERE ${USER} ORDER BY 1`,
  relations: `
    SELECT n.nspname, c.relname, c.relkind, c.relowner::regrole, c.relreplident, c.relpersistence, c.reloptions::text,
           (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(c.relacl) a) AS acl, c.relispartition, c.relrowsecurity, pg_get_expr(c.relpartbound, c.oid) AS bound,
           obj_description(c.oid, 'pg_class') AS comment
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE ${USER} ORDER BY n.nspname, c.relname`,
  columns: `
    SELECT n.nspname, c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,
           a.attidentity, a.attgenerated, a.attisdropped, a.attstorage, a.attstattarget, a.attcollation::regcollation,
           pg_get_expr(d.adbin, d.adrelid) AS value
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE ${USER} AND a.attnum > 0 ORDER BY n.nspname, c.relname, a.attnum`,
  indexes: `
    SELECT n.nspname, c.relname, pg_get_indexdef(x.indexrelid) AS definition, x.indisprimary, x.indisunique,
           x.indisreplident, x.indisclustered, x.indisvalid, x.indimmediate,
           obj_description(x.indexrelid, 'pg_class') AS comment,
           (SELECT i.inhparent::regclass FROM pg_inherits i WHERE i.inhrelid = x.indexrelid) AS parent
    FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE ${USER} ORDER BY n.nspname, c.relname`,
  constraints: `
    SELECT n.nspname, k.conrelid::regclass, k.conname, k.contype, pg_get_constraintdef(k.oid) AS definition,
           k.convalidated, k.condeferrable, k.condeferred, obj_description(k.oid, 'pg_constraint') AS comment
    FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
    WHERE ${USER} ORDER BY n.nspname, k.conrelid::regclass::text, k.conname`,
  triggers: `
    SELECT t.tgrelid::regclass, t.tgenabled, pg_get_triggerdef(t.oid) AS definition FROM pg_trigger t
    WHERE NOT t.tgisinternal ORDER BY t.tgrelid::regclass::text, t.tgname`,
  constraintTriggers: `
    SELECT t.tgrelid::regclass, t.tgenabled, t.tgfoid::regproc, count(*) FROM pg_trigger t
    WHERE t.tgisinternal GROUP BY 1, 2, 3
    ORDER BY (t.tgrelid::regclass)::text, t.tgenabled, (t.tgfoid::regproc)::text`,
  functions: `
    SELECT n.nspname, p.oid::regprocedure, p.prosrc, p.proacl::text FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ${USER} ORDER BY n.nspname, p.oid::regprocedure::text`,
  types: `
    SELECT n.nspname, t.typname, t.typtype, format_type(t.typbasetype, t.typtypmod) AS base,
           (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE ${USER} ORDER BY n.nspname, t.typname`,
  sequences: `
    SELECT schemaname, sequencename, data_type, start_value, increment_by, cache_size, cycle, last_value
    FROM pg_sequences WHERE left(schemaname, 3) <> 'pg_' ORDER BY schemaname, sequencename`,
  publications: 'SELECT pubname, puballtables FROM pg_publication ORDER BY pubname',
  subscriptions:
    'SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())',
  slots: 'SELECT slot_name, plugin FROM pg_replication_slots WHERE database = current_database() ORDER BY slot_name',
  eventTriggers: 'SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY evtname',
  policies: 'SELECT polname, polrelid::regclass FROM pg_policy ORDER BY polname',
  extensions: 'SELECT extname, extversion FROM pg_extension ORDER BY extname',
  settings: `
    SELECT s.setconfig::text FROM pg_db_role_setting s
    WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  prepared: 'SELECT gid FROM pg_prepared_xacts WHERE database = current_database()',
};

/** A database as it can be seen from outside: its catalogue, and its rows. */
export type Catalogue = Readonly<Record<string, readonly unknown[] | Readonly<Record<string, readonly string[]>>>>;

/** Reads the whole catalogue and all rows; equal values mean that nothing of ours is left behind. */
export const catalogueOf = async (url: string): Promise<Catalogue> => {
  const read: Record<string, readonly unknown[]> = {};
  for (const [kind, sql] of Object.entries(QUERIES)) read[kind] = await runSql(url, sql);
  return { ...read, rows: await allRows(url) };
};
