import type pg from 'pg';
import { SwitchbackError } from '../../domain/errors.ts';
import { quoteName } from './quote.ts';
import { codeOf } from './server.ts';

const INSUFFICIENT_PRIVILEGE = '42501';

/** Function that a DBA installs where a role without superuser cannot set session_replication_role itself (before 15). */
export const BECOME_APPLIER_FUNCTION = 'switchback_admin.become_applier()';

/**
 * SQL that a superuser runs once per database, so that `role` may make its own session an applier. It does that one thing;
 * search_path is pinned, and nobody else may call it. Needed before PostgreSQL 15, where no GRANT can give the privilege.
 */
export const becomeApplierSql = (role: string): string => `CREATE SCHEMA IF NOT EXISTS switchback_admin;
CREATE OR REPLACE FUNCTION ${BECOME_APPLIER_FUNCTION} RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
  AS $$ SELECT pg_catalog.set_config('session_replication_role', 'replica', false) $$;
REVOKE ALL ON FUNCTION ${BECOME_APPLIER_FUNCTION} FROM PUBLIC;
GRANT USAGE ON SCHEMA switchback_admin TO ${quoteName(role)};
GRANT EXECUTE ON FUNCTION ${BECOME_APPLIER_FUNCTION} TO ${quoteName(role)};`;

/** SQL that a superuser runs once per server from PostgreSQL 15 on, instead of {@link becomeApplierSql}. */
export const grantApplierSql = (role: string): string =>
  `GRANT SET ON PARAMETER session_replication_role TO ${quoteName(role)};`;

/**
 * Makes a session ours to apply with: `session_replication_role = replica`, so that it passes the fence and fires neither
 * the application's triggers nor foreign keys. It lasts as long as the session. Call it right after connecting, outside a
 * transaction. Throws kind `refused` with the statement that a superuser has to run when the privilege is missing.
 */
export const becomeApplier = async (client: pg.ClientBase): Promise<void> => {
  try {
    await client.query('SET session_replication_role = replica');
    return;
  } catch (error) {
    if (codeOf(error) !== INSUFFICIENT_PRIVILEGE) throw error;
  }
  const { rows } = await client.query<{ role: string; version: string; installed: string | null }>(
    `SELECT current_user AS role, current_setting('server_version_num') AS version,
            to_regprocedure('${BECOME_APPLIER_FUNCTION}')::text AS installed`,
  );
  const [session] = rows;
  if (session === undefined) throw new SwitchbackError('internal', 'the server did not say who we are');
  if (session.installed !== null) {
    try {
      await client.query(`SELECT ${BECOME_APPLIER_FUNCTION}`);
      return;
    } catch (error) {
      if (codeOf(error) !== INSUFFICIENT_PRIVILEGE) throw error;
    }
  }
  const sql = session.version >= '150000' ? grantApplierSql(session.role) : becomeApplierSql(session.role);
  throw new SwitchbackError('refused', `role "${session.role}" may not set session_replication_role`, {
    remedy: `as a superuser, in this database: ${sql} Then: switchback resume PLAN PHASE`,
  });
};
