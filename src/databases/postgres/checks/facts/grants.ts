import type { SqlExecutor, TextRow } from '../../../../domain/sql.ts';
import type { TableName } from '../../../../domain/table.ts';
import { textOf } from '../../../../platform/postgres/row.ts';
import { namesParameter } from '../look.ts';

/** A privilege that a role has been given on something. */
export interface Grant {
  readonly on: 'TABLE' | 'SEQUENCE' | 'SCHEMA';
  /** A schema has its own name twice over: its `schema` is empty. */
  readonly object: TableName;
  /** `PUBLIC` for everybody. */
  readonly grantee: string;
  readonly privilege: string;
}

/** A setting that a session gets from its role or its database. */
export interface SessionSetting {
  /** Empty for one that every role gets. */
  readonly role: string;
  /** `name=value`. */
  readonly setting: string;
}

/** Who may do what with the tables of a run, and how their sessions are set up, on one side. */
export interface GrantFacts {
  readonly grants: readonly Grant[];
  readonly settings: readonly SessionSetting[];
  readonly roles: readonly string[];
  /** Who owns the tables. */
  readonly owners: readonly string[];
}

/** Owners' own privileges go without saying; CREATE on a schema is a matter of versions (15 took it from PUBLIC). */
const GRANTS = `
  WITH wanted AS (
    SELECT c.oid, c.relnamespace, c.relowner, c.relacl, n.nspname, c.relname, c.relkind
    FROM json_to_recordset($1::json) AS w(schema text, name text)
    JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name)
  SELECT CASE w.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS object_kind, w.nspname AS schema, w.relname AS name,
         coalesce(r.rolname, 'PUBLIC') AS grantee, a.privilege_type AS privilege
  FROM wanted w CROSS JOIN LATERAL aclexplode(w.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
  WHERE a.grantee <> w.relowner AND (a.grantee = 0 OR r.oid IS NOT NULL)
  UNION ALL
  SELECT 'SCHEMA', '', n.nspname, coalesce(r.rolname, 'PUBLIC'), a.privilege_type
  FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
  WHERE n.oid IN (SELECT relnamespace FROM wanted) AND a.privilege_type = 'USAGE' AND a.grantee <> n.nspowner
    AND (a.grantee = 0 OR r.oid IS NOT NULL)
  ORDER BY 1, 2, 3, 4, 5`;

const SETTINGS = `
  SELECT coalesce(r.rolname, '') AS role, unnest(s.setconfig) AS setting
  FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
  WHERE (s.setdatabase = 0 OR s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
  ORDER BY 1, 2`;

const OWNERS = `
  SELECT DISTINCT pg_get_userbyid(c.relowner) AS owner FROM json_to_recordset($1::json) AS w(schema text, name text)
  JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name ORDER BY 1`;

const grantOf = (row: TextRow): Grant => ({
  on: row.object_kind === 'SCHEMA' ? 'SCHEMA' : row.object_kind === 'SEQUENCE' ? 'SEQUENCE' : 'TABLE',
  object: { schema: textOf(row, 'schema'), name: textOf(row, 'name') },
  grantee: textOf(row, 'grantee'),
  privilege: textOf(row, 'privilege'),
});

/** Reads grants on these tables and sequences of a side. Any role may. */
export const readGrants = async (sql: SqlExecutor, relations: readonly TableName[]): Promise<GrantFacts> => {
  const wanted = namesParameter(relations);
  return {
    grants: (await sql.query(GRANTS, [wanted])).rows.map(grantOf),
    settings: (await sql.query(SETTINGS)).rows.map((row) => ({
      role: textOf(row, 'role'),
      setting: textOf(row, 'setting'),
    })),
    roles: (await sql.query('SELECT rolname AS role FROM pg_roles ORDER BY 1')).rows.map((row) => textOf(row, 'role')),
    owners: (await sql.query(OWNERS, [wanted])).rows.map((row) => textOf(row, 'owner')),
  };
};
