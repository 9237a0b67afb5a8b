import type pg from 'pg';
import { messageOf } from '../../../domain/errors.ts';
import type { Guard, SqlExecutor, TextRow } from '../../../domain/sql.ts';
import { quoteName } from '../../../platform/postgres/quote.ts';
import { textOf } from '../../../platform/postgres/row.ts';
import { codeOf, isConnectionLost, runTransaction } from '../../../platform/postgres/server.ts';
import type { CreatedObject, RemainingObject } from '../../schema.ts';
import { type SchemaSettings, schemaSettings, settingsChanged } from './namespaces.ts';

/** Catalogues whose rows are objects that a schema script can make. */
const CATALOGUES = [
  'pg_namespace',
  'pg_class',
  'pg_type',
  'pg_proc',
  'pg_extension',
  'pg_collation',
  'pg_operator',
  'pg_opclass',
  'pg_opfamily',
  'pg_cast',
  'pg_conversion',
  'pg_ts_config',
  'pg_ts_dict',
  'pg_ts_parser',
  'pg_ts_template',
  'pg_language',
  'pg_foreign_data_wrapper',
  'pg_foreign_server',
  'pg_trigger',
  'pg_constraint',
  'pg_rewrite',
  'pg_policy',
  'pg_event_trigger',
  'pg_statistic_ext',
  'pg_transform',
  'pg_attrdef',
  'pg_am',
  'pg_default_acl',
] as const;

/** User mappings hold passwords, so only superusers may read their catalogue; its view tells everybody which there are. */
const USER_MAPPINGS = `SELECT 'pg_catalog.pg_user_mapping'::regclass::oid AS classid, umid AS objid FROM pg_catalog.pg_user_mappings`;

const ALL_OBJECTS = [
  ...CATALOGUES.map(
    (name) => `SELECT 'pg_catalog.${name}'::regclass::oid AS classid, oid AS objid FROM pg_catalog.${name}`,
  ),
  USER_MAPPINGS,
].join(' UNION ALL ');

const IDS = `SELECT classid, objid FROM (${ALL_OBJECTS}) o WHERE objid >= 16384`;

/**
 * Puts default privileges back to what they are without an entry, which removes the entry. For a whole role that is the
 * built-in default: everything to the role itself, functions and types to everybody.
 */
const RESET_DEFAULT_PRIVILEGES = `
  SELECT format('%s REVOKE ALL ON %s FROM %s', w.head, w.word, g.names)
         || CASE WHEN p.defaclnamespace = 0 THEN format('; %s GRANT ALL ON %s TO %s', w.head, w.word, w.defaults) ELSE '' END
  FROM (SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s', pg_get_userbyid(p.defaclrole),
                      (SELECT format(' IN SCHEMA %I', nspname) FROM pg_namespace WHERE oid = p.defaclnamespace)) AS head,
               CASE p.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
                                    WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS word,
               quote_ident(pg_get_userbyid(p.defaclrole))
                 || CASE WHEN p.defaclobjtype IN ('f', 'T') THEN ', PUBLIC' ELSE '' END AS defaults) w,
       (SELECT coalesce(string_agg(DISTINCT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                                   ', '), 'PUBLIC') AS names FROM aclexplode(p.defaclacl)) g`;

// An object that goes with another new one (a column's default, a type's array, an index) is not listed by itself. Foreign
// keys are, because two tables that refer to each other could not be dropped one after the other. Parts are looked up once for
// all: for each object by itself it took 18 s with 2,000 tables, and four times that with twice as many.
const NEW_OBJECTS = `
  WITH new AS (
    SELECT classid, objid FROM (${IDS}) o
    WHERE NOT EXISTS (SELECT FROM unnest($1::oid[], $2::oid[]) AS b (classid, objid)
                      WHERE b.classid = o.classid AND b.objid = o.objid)),
  parts AS (
    SELECT DISTINCT d.classid, d.objid FROM pg_depend d JOIN new p ON p.classid = d.refclassid AND p.objid = d.refobjid
    WHERE d.objsubid = 0 AND d.deptype IN ('i', 'a', 'e', 'P', 'S') AND (p.classid, p.objid) <> (d.classid, d.objid)),
  apart AS (
    SELECT n.classid, n.objid, f.oid IS NOT NULL AS is_foreign_key FROM new n
    LEFT JOIN parts p ON p.classid = n.classid AND p.objid = n.objid
    LEFT JOIN pg_constraint f ON n.classid = 'pg_constraint'::regclass AND f.oid = n.objid
      AND f.contype = 'f' AND f.conparentid = 0
    WHERE f.oid IS NOT NULL OR p.objid IS NULL)
  SELECT i.type AS kind, i.identity, c.conname AS own_name, um.usename AS mapped_user, um.srvname AS mapped_server,
         CASE WHEN p.oid IS NOT NULL THEN (${RESET_DEFAULT_PRIVILEGES}) END AS reset,
         CASE WHEN c.conrelid <> 0 THEN c.conrelid::regclass::text WHEN c.contypid <> 0 THEN c.contypid::regtype::text
              WHEN e.oid IS NOT NULL THEN format('%s ALTER COLUMN %I', a.attrelid::regclass, a.attname) END AS owner
  FROM apart o
  CROSS JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) i
  LEFT JOIN pg_constraint c ON o.classid = 'pg_constraint'::regclass AND c.oid = o.objid
  LEFT JOIN pg_attrdef e ON o.classid = 'pg_attrdef'::regclass AND e.oid = o.objid
  LEFT JOIN pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum
  LEFT JOIN pg_user_mappings um ON o.classid = 'pg_user_mapping'::regclass AND um.umid = o.objid
  LEFT JOIN pg_default_acl p ON o.classid = 'pg_default_acl'::regclass AND p.oid = o.objid
  WHERE i.identity IS NOT NULL
    AND coalesce(i.schema, '') NOT LIKE 'pg\\_toast%' AND coalesce(i.schema, '') NOT LIKE 'pg\\_temp%'
  ORDER BY o.is_foreign_key DESC, o.objid DESC`;

/** What is there before a schema is made. */
export interface Census {
  readonly classes: readonly string[];
  readonly objects: readonly string[];
  readonly settings: ReadonlyMap<string, SchemaSettings>;
}

/** Counts what is there. In the transaction that then makes the schema. */
export const takeCensus = async (sql: SqlExecutor): Promise<Census> => {
  const { rows } = await sql.query(IDS);
  return {
    classes: rows.map((row) => textOf(row, 'classid')),
    objects: rows.map((row) => textOf(row, 'objid')),
    settings: await schemaSettings(sql),
  };
};

/** What has come since the census, foreign keys first and then the newest first: the order in which it can be dropped. */
export const createdSince = async (sql: SqlExecutor, before: Census): Promise<readonly CreatedObject[]> => {
  const { rows } = await sql.query(NEW_OBJECTS, [before.classes, before.objects]);
  const objects = rows.map((row) => ({
    kind: textOf(row, 'kind'),
    identity: textOf(row, 'identity'),
    drop: dropStatement(row),
  }));
  return [...objects, ...settingsChanged(before.settings, await schemaSettings(sql))];
};

/** Where DROP does not take the kind and the identity as the catalogue spells them. */
const DROP_WORDS: Readonly<Record<string, string>> = {
  'composite type': 'TYPE',
  'foreign-data wrapper': 'FOREIGN DATA WRAPPER',
  'statistics object': 'STATISTICS',
};

const dropStatement = (row: TextRow): string => {
  const kind = textOf(row, 'kind');
  const owner = row.owner ?? '';
  switch (kind) {
    case 'table constraint':
      return `ALTER TABLE ${owner} DROP CONSTRAINT ${quoteName(textOf(row, 'own_name'))}`;
    case 'domain constraint':
      return `ALTER DOMAIN ${owner} DROP CONSTRAINT ${quoteName(textOf(row, 'own_name'))}`;
    case 'default value':
      return `ALTER TABLE ${owner} DROP DEFAULT`;
    case 'default acl':
      return textOf(row, 'reset');
    case 'user mapping': {
      const user = row.mapped_user === 'public' ? 'PUBLIC' : quoteName(textOf(row, 'mapped_user'));
      return `DROP USER MAPPING FOR ${user} SERVER ${quoteName(textOf(row, 'mapped_server'))}`;
    }
    default:
      return `DROP ${DROP_WORDS[kind] ?? kind.toUpperCase()} ${textOf(row, 'identity')}`;
  }
};

/** No such table, column, function, object, schema: it has gone already, by itself or with another. */
const GONE = new Set(['42P01', '42703', '42883', '42704', '3F000']);
const GONE_ALREADY = 'it has gone already';
const LOCK_TIMEOUT_MS = 5_000;
/** 6,000 objects one by one are 18,000 round trips; when one will not go, its neighbours are repeated one by one. */
const DROPS_AT_ONCE = 50;

/**
 * Drops the objects in passes, each statement in a savepoint, until a pass drops nothing. What depends on what need not be
 * known for that, and an object on which something of somebody else's depends stays.
 */
export const undoCreated = async (
  client: pg.ClientBase,
  {
    label,
    created,
    guard,
  }: { readonly label: string; readonly created: readonly CreatedObject[]; readonly guard: Guard },
): Promise<readonly RemainingObject[]> =>
  await runTransaction(client, label, async (sql) => {
    await sql.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
    await guard(sql);
    let left: readonly RemainingObject[] = created.map((object) => ({ ...object, reason: '' }));
    for (;;) {
      const failed: RemainingObject[] = [];
      for (let at = 0; at < left.length; at += DROPS_AT_ONCE)
        failed.push(...(await dropSome(sql, left.slice(at, at + DROPS_AT_ONCE))));
      if (failed.length === 0 || failed.length === left.length) return failed;
      left = failed;
    }
  });

/** Drops some objects by one text, or each by itself when one of them will not go; returns those that are left. */
const dropSome = async (sql: SqlExecutor, objects: readonly RemainingObject[]): Promise<readonly RemainingObject[]> => {
  if (objects.length > 1 && (await tryDrop(sql, objects.map(({ drop }) => drop).join(';\n'))) === null) return [];
  const failed: RemainingObject[] = [];
  for (const object of objects) {
    const reason = await tryDrop(sql, object.drop);
    if (reason !== null && reason !== GONE_ALREADY) failed.push({ ...object, reason });
  }
  return failed;
};

/** Null when it was done, else why it was not. */
const tryDrop = async (sql: SqlExecutor, drop: string): Promise<string | null> => {
  try {
    await sql.query(`SAVEPOINT one; ${drop}; RELEASE SAVEPOINT one`);
    return null;
  } catch (error) {
    if (isConnectionLost(error)) throw error;
    await sql.query('ROLLBACK TO SAVEPOINT one; RELEASE SAVEPOINT one');
    if (GONE.has(codeOf(error))) return GONE_ALREADY;
    const detail = error instanceof Error && 'detail' in error ? error.detail : undefined;
    return typeof detail === 'string' ? `${messageOf(error)} (${detail})` : messageOf(error);
  }
};
