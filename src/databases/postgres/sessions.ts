import type pg from 'pg';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { ServerDescription, Sessions } from '../sessions.ts';

/** Prefix of application_name on every session of ours; the worker's id follows, then the session's purpose. */
export const applicationName = (holder: string): string => `switchback/${holder}`;

const OWN_TOKEN =
  "SELECT pid || '@' || backend_start::text AS token FROM pg_stat_activity WHERE pid = pg_backend_pid()";

/**
 * What tells one database of one running server from all others, in words that any role may ask and that come out the same
 * whatever a session is set to.
 */
export const DESCRIBED = {
  identity: `'postgresql:' || s.system_identifier || '/' || d.oid`,
  started: `pg_catalog.to_char(pg_catalog.pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')`,
  from: 'pg_catalog.pg_control_system() s, pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()',
} as const;

/** Sessions of one PostgreSQL database. */
export class PostgresSessions implements Sessions {
  readonly #server: PostgresServer;
  #present: Promise<{ readonly client: pg.Client; readonly token: string }> | null = null;

  constructor(server: PostgresServer) {
    this.#server = server;
  }

  /** Identity is the cluster's system identifier and the database's oid; the instance adds when its server was started. */
  async describe(): Promise<ServerDescription> {
    const { rows } = await this.#server.query(
      `SELECT ${DESCRIBED.identity} AS identity, ${DESCRIBED.started} AS started,
              current_setting('server_version') AS version
       FROM ${DESCRIBED.from}`,
    );
    const identity = String(rows[0]?.identity);
    return {
      identity,
      instance: `${identity}@${rows[0]?.started}`,
      version: `PostgreSQL ${rows[0]?.version?.split(' ')[0]}`,
    };
  }

  async presence(): Promise<string> {
    this.#present ??= this.#open();
    const present = this.#present;
    try {
      return (await present).token;
    } catch (error) {
      // A server that could not be reached now may be reached the next time.
      if (this.#present === present) this.#present = null;
      throw error;
    }
  }

  async isPresent(token: string): Promise<boolean> {
    const [pid, started] = token.split('@');
    const { rowCount } = await this.#server.query(
      `SELECT 1 FROM pg_stat_activity WHERE pid::text = $1 AND backend_start::text = $2
       UNION ALL SELECT 1 WHERE nullif($2, '')::timestamptz < pg_postmaster_start_time()`,
      [pid ?? '', started ?? ''],
    );
    return rowCount > 0;
  }

  async endWorker(holder: string): Promise<number> {
    const { rowCount } = await this.#server.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE starts_with(application_name, $1) AND pid <> pg_backend_pid()`,
      [`${applicationName(holder)}:`],
    );
    return rowCount;
  }

  async endStrangers(holder: string): Promise<number> {
    const { rowCount } = await this.#server.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE starts_with(application_name, $1) AND NOT starts_with(application_name, $2)
         AND datname = current_database() AND backend_xid IS NOT NULL
         AND xact_start < clock_timestamp() - interval '1 second'`,
      [applicationName(''), `${applicationName(holder)}:`],
    );
    return rowCount;
  }

  /** Ends this worker's presence. */
  async close(): Promise<void> {
    const present = await this.#present?.catch(() => null);
    this.#present = null;
    await present?.client.end().catch(() => undefined);
  }

  async #open(): Promise<{ readonly client: pg.Client; readonly token: string }> {
    const client = await this.#server.connect('presence');
    const { rows } = await client.query<{ token: string }>(OWN_TOKEN).catch(async (error: unknown) => {
      await client.end().catch(() => undefined);
      throw this.#server.wrap(error);
    });
    // The next call opens a new one; whoever looks meanwhile rightly sees that this worker is not there.
    client.on('end', () => {
      this.#present = null;
    });
    return { client, token: rows[0]?.token ?? '' };
  }
}
