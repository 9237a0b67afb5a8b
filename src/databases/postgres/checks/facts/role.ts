import { isKind } from '../../../../domain/errors.ts';
import type { TableName } from '../../../../domain/table.ts';
import { becomeApplier } from '../../../../platform/postgres/applier.ts';
import { isTrue, onlyRow, textOf } from '../../../../platform/postgres/row.ts';
import type { PostgresServer } from '../../../../platform/postgres/server.ts';
import { namesParameter } from '../look.ts';

/** A table that our role does not own, and who does. */
export interface ForeignOwned extends TableName {
  readonly owner: string;
}

/** What our role may do on one side. */
export interface RoleFacts {
  readonly side: string;
  readonly role: string;
  readonly database: string;
  readonly superuser: boolean;
  /** REPLICATION, or what a managed service has in its place. */
  readonly replication: boolean;
  readonly managed: boolean;
  readonly bypassesRowSecurity: boolean;
  readonly createsInDatabase: boolean;
  readonly temporary: boolean;
  /** May end other roles' sessions. */
  readonly signals: boolean;
  /** Sees other roles' statements. */
  readonly readsStats: boolean;
  /** The statement that lets it apply, when it may not. */
  readonly applierRemedy: string | null;
  readonly notOwned: readonly ForeignOwned[];
  readonly schemas: readonly { readonly name: string; readonly usage: boolean; readonly create: boolean }[];
  /** Sequences whose state it cannot both read and set. */
  readonly sequences: readonly TableName[];
}

const ROLE = `
  SELECT r.rolname AS role, current_database() AS database, r.rolsuper AS superuser, r.rolbypassrls AS bypasses,
         EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') AS managed,
         r.rolreplication OR r.rolsuper OR coalesce(
           (SELECT pg_has_role(m.oid, 'MEMBER') FROM pg_roles m WHERE m.rolname = 'rds_replication'), false) AS replication,
         has_database_privilege(current_database(), 'CREATE') AS creates,
         has_database_privilege(current_database(), 'TEMPORARY') AS temporary,
         r.rolsuper OR pg_has_role('pg_signal_backend', 'USAGE') AS signals,
         r.rolsuper OR pg_has_role('pg_read_all_stats', 'USAGE') AS stats
  FROM pg_roles r WHERE r.rolname = current_user`;

const NOT_OWNED = `
  SELECT n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner
  FROM json_to_recordset($1::json) AS w(schema text, name text)
  JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
  WHERE NOT pg_has_role(c.relowner, 'USAGE')
  ORDER BY 1, 2`;

const SCHEMAS = `
  SELECT n.nspname AS name, has_schema_privilege(n.oid, 'USAGE') AS usage, has_schema_privilege(n.oid, 'CREATE') AS creates
  FROM pg_namespace n WHERE n.nspname IN (SELECT w.schema FROM json_to_recordset($1::json) AS w(schema text, name text))
  ORDER BY 1`;

const SEQUENCES = `
  SELECT n.nspname AS schema, c.relname AS name
  FROM json_to_recordset($1::json) AS w(schema text, name text)
  JOIN pg_namespace n ON n.nspname = w.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind = 'S'
  WHERE NOT (has_sequence_privilege(c.oid, 'SELECT') AND has_sequence_privilege(c.oid, 'UPDATE'))
  ORDER BY 1, 2`;

/** Not asked of the catalogue but tried, since services have ways of their own to allow it. */
const tryApplier = async (server: PostgresServer): Promise<string | null> => {
  const client = await server.connect('check');
  try {
    await becomeApplier(client);
    return null;
  } catch (error) {
    if (isKind(error, 'refused')) return error.remedy ?? '';
    throw server.wrap(error);
  } finally {
    await client.end().catch(() => undefined);
  }
};

/** Reads what our role may do with these relations of a side; those that do not exist there are left out. */
export const readRole = async (
  server: PostgresServer,
  relations: { readonly tables: readonly TableName[]; readonly sequences: readonly TableName[] },
): Promise<RoleFacts> => {
  const tables = namesParameter(relations.tables);
  const row = onlyRow(await server.query(ROLE));
  const [notOwned, schemas, sequences] = await Promise.all([
    server.query(NOT_OWNED, [tables]),
    server.query(SCHEMAS, [tables]),
    server.query(SEQUENCES, [namesParameter(relations.sequences)]),
  ]);
  return {
    side: server.label,
    role: textOf(row, 'role'),
    database: textOf(row, 'database'),
    superuser: isTrue(row, 'superuser'),
    replication: isTrue(row, 'replication'),
    managed: isTrue(row, 'managed'),
    bypassesRowSecurity: isTrue(row, 'superuser') || isTrue(row, 'bypasses'),
    createsInDatabase: isTrue(row, 'creates'),
    temporary: isTrue(row, 'temporary'),
    signals: isTrue(row, 'signals'),
    readsStats: isTrue(row, 'stats'),
    applierRemedy: await tryApplier(server),
    notOwned: notOwned.rows.map((r) => ({
      schema: textOf(r, 'schema'),
      name: textOf(r, 'name'),
      owner: textOf(r, 'owner'),
    })),
    schemas: schemas.rows.map((r) => ({
      name: textOf(r, 'name'),
      usage: isTrue(r, 'usage'),
      create: isTrue(r, 'creates'),
    })),
    sequences: sequences.rows.map((r) => ({ schema: textOf(r, 'schema'), name: textOf(r, 'name') })),
  };
};
