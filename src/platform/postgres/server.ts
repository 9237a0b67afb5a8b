import type { Socket } from 'node:net';
import pg from 'pg';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { SqlExecutor, SqlResult, SqlSide, TextRow } from '../../domain/sql.ts';
import { BoundedClient } from './bounded-client.ts';
import { type PostgresUrl, type Protection, readPostgresUrl } from './url.ts';

/**
 * Settings pinned on every session of ours, at both ends, so that a value has one text form wherever it is printed
 * (notes: type-opaque rule), no timeout of the server's ends our long reads, and a commit that we were told of is on disk
 * whatever the server's default is (S6).
 */
export const PINNED_SETTINGS: Readonly<Record<string, string>> = {
  DateStyle: 'ISO,MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  extra_float_digits: '3',
  bytea_output: 'hex',
  lc_monetary: 'C',
  xmloption: 'content',
  search_path: 'pg_catalog',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  synchronous_commit: 'on',
  // A policy that would hide rows from us is an error rather than a smaller digest.
  row_security: 'off',
};

/** Settings of pooled sessions: bookkeeping and looks do not wait for ever for a table that somebody keeps locked. */
export const POOL_SETTINGS: Readonly<Record<string, string>> = { ...PINNED_SETTINGS, lock_timeout: '15000' };

const startupOptions = (settings: Readonly<Record<string, string>>): string =>
  Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');

/** Leaves every value as the text that the server sent. */
export const rawText = { getTypeParser: () => (value: string | Buffer) => value };

const CONNECTION_LOST = new Set(['08000', '08001', '08003', '08004', '08006', '57P01', '57P02', '57P03', '53300']);
/** Deadlock, a full disk, no memory, a cancelled statement. */
const PASSING = /^(40|53|57014|58)/;
/** A full disk, as a session meets it that begins; its code, XX000, would say anything. */
const NO_ROOM_TO_BEGIN = /could not write init file/;
const LOCK_NOT_AVAILABLE = '55P03';
/** Wrong password, no entry in pg_hba.conf, no such database: a second attempt would get the same answer. */
const NOT_LET_IN = new Set(['28P01', '28000', '3D000']);
const TLS_REFUSED = /^(ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA)/;
const NO_TLS = /server does not support SSL|error establishing an SSL connection/i;
const SOCKET_LOST = /^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)/;

/** The SQLSTATE or system code of anything that a driver threw, also when it is the cause of an error of ours. */
export const codeOf = (error: unknown): string => {
  if (error instanceof SwitchbackError) return codeOf(error.cause);
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
};

/** Whether an error means that the connection, not the statement, failed. */
export const isConnectionLost = (error: unknown): boolean => {
  const code = codeOf(error);
  return (
    CONNECTION_LOST.has(code) ||
    SOCKET_LOST.test(code) ||
    /Connection terminated|connection timeout|timeout expired|timeout exceeded when trying to connect|Query read timeout|Client has encountered a connection error|not queryable/i.test(
      messageOf(error),
    )
  );
};

/** Whether the other end is not who the URL means, or has no TLS where it is asked for: no repetition mends that. */
export const isTlsRefusal = (error: unknown): boolean =>
  TLS_REFUSED.test(codeOf(error)) || NO_TLS.test(messageOf(error));

/** A URL without its password, for messages. Never throws. */
export const redactUrl = (url: string): string => {
  try {
    const parsed = new URL(url);
    if (parsed.password !== '') parsed.password = '***';
    for (const name of ['password', 'sslpassword']) {
      if (parsed.searchParams.has(name)) parsed.searchParams.set(name, '***');
    }
    return parsed.toString();
  } catch {
    return '(unreadable URL)';
  }
};

const executorOf = (client: pg.ClientBase): SqlExecutor => ({
  async query(sql, params) {
    const result = await client.query<TextRow>(
      params === undefined ? { text: sql } : { text: sql, values: [...params] },
    );
    // Several statements in one text give an array of results; the last one answers.
    const last: pg.QueryResult<TextRow> | undefined = Array.isArray(result) ? result.at(-1) : result;
    return { rows: last?.rows ?? [], rowCount: last?.rowCount ?? 0 };
  },
});

/** A statement of our own bookkeeping that is not answered for this long counts as a lost connection, in milliseconds. */
const SILENT_MS = 60_000;
/** How a session is told apart in pg_stat_activity; a deposed worker's sessions are found by it. */
export interface ServerOptions {
  readonly url: string;
  /** Shown in messages: `source` or `target`. */
  readonly label: string;
  /** `switchback` or `switchback:<worker>`; each connection adds its purpose. */
  readonly application: string;
}

/** What a session of its own may have. */
export interface SessionOptions {
  /** In milliseconds; see {@link PostgresServer.connect}. */
  readonly silentMs?: number;
  /** Makes its socket. Not asked when the session is encrypted: the driver then makes its own. */
  readonly socket?: () => Socket;
}

/** A PostgreSQL server as we reach it: makes pinned sessions and runs bookkeeping statements from a small pool. */
export class PostgresServer implements SqlSide {
  readonly label: string;
  readonly #options: ServerOptions;
  readonly #url: PostgresUrl;
  readonly #pool: pg.Pool;

  constructor(options: ServerOptions) {
    this.label = options.label;
    this.#options = options;
    this.#url = readPostgresUrl(options.url, options.label);
    const config = { ...this.config('pool'), options: startupOptions(POOL_SETTINGS), query_timeout: SILENT_MS };
    this.#pool = new pg.Pool({ ...config, Client: BoundedClient, max: 8, idleTimeoutMillis: 30_000 });
    // An idle pooled session that breaks is replaced at the next use; without a listener it would end the process.
    this.#pool.on('error', () => undefined);
  }

  /** How sessions to it are protected. */
  get protection(): Protection {
    return this.#url.protection;
  }

  /** Connection settings for a session of the given purpose, also for a replication client. */
  config(purpose: string): pg.ClientConfig {
    return {
      ...this.#url.driver,
      application_name: `${this.#options.application}:${purpose}`.slice(0, 63),
      options: startupOptions(PINNED_SETTINGS),
      connectionTimeoutMillis: 10_000,
      keepAlive: true,
      keepAliveInitialDelayMillis: 5_000,
      types: rawText,
    };
  }

  /**
   * A session of its own. The caller ends it. With `silentMs` a statement that is not answered for so long counts as a lost
   * connection; without it a statement may take as long as it takes. Throws kind `unreachable`.
   */
  async connect(purpose: string, options: SessionOptions = {}): Promise<pg.Client> {
    const { silentMs, socket } = options;
    const bound = silentMs === undefined ? {} : { query_timeout: silentMs };
    const through = socket === undefined || this.#url.driver.ssl !== false ? {} : { stream: socket };
    const client = new BoundedClient({ ...this.config(purpose), ...bound, ...through });
    client.on('error', () => undefined);
    try {
      await client.connect();
    } catch (error) {
      await client.end().catch(() => undefined);
      throw this.wrap(error);
    }
    return client;
  }

  /** A statement on any pooled session. */
  async query(sql: string, params?: Parameters<SqlExecutor['query']>[1]): Promise<SqlResult> {
    return await this.#with((client) => executorOf(client).query(sql, params));
  }

  /** A transaction on a pooled session; see {@link SqlSide}. */
  async transaction<T>(work: (sql: SqlExecutor) => Promise<T>): Promise<T> {
    return await this.#with((client) => runTransaction(client, this.label, work));
  }

  /** Ends the pool. Sessions made by `connect` are their callers'. */
  async close(): Promise<void> {
    await this.#pool.end();
  }

  /** Turns a lost connection into kind `unreachable`, what may pass by itself into `busy`; leaves every other error as it is. */
  wrap(error: unknown): unknown {
    if (error instanceof SwitchbackError) return error;
    if (codeOf(error) === LOCK_NOT_AVAILABLE) {
      return new SwitchbackError('busy', `a lock on the ${this.label} could not be had: ${messageOf(error)}`, {
        remedy: 'see in pg_locks and pg_stat_activity who holds it, and end that; then give the command again',
        cause: error,
      });
    }
    const refusal = this.#refusal(error);
    if (refusal !== null) return refusal;
    if (isConnectionLost(error)) {
      return new SwitchbackError('unreachable', `the ${this.label} cannot be reached: ${messageOf(error)}`, {
        remedy: `check that ${redactUrl(this.#options.url)} answers from this machine`,
        cause: error,
      });
    }
    if (!PASSING.test(codeOf(error)) && !NO_ROOM_TO_BEGIN.test(messageOf(error))) return error;
    return new SwitchbackError('busy', `the ${this.label} cannot do it now: ${messageOf(error)}`, {
      remedy: 'mend what it names, unless it passes by itself; then repeat the command',
      cause: error,
    });
  }

  /** What no repetition mends: the other end is not who the URL means, or does not let us in. */
  #refusal(error: unknown): SwitchbackError | null {
    const { label } = this;
    const said = messageOf(error);
    if (isTlsRefusal(error)) {
      return new SwitchbackError('refused', `no session to the ${label} that is as safe as its URL asks: ${said}`, {
        remedy:
          `the URL means sslmode=${this.protection.mode}; name the authority that signs the server's certificate ` +
          `with sslrootcert=FILE, or, if you accept that anybody may read and change what passes, write sslmode=disable; then: switchback check PLAN`,
        cause: error,
      });
    }
    if (!NOT_LET_IN.has(codeOf(error))) return null;
    return new SwitchbackError('refused', `the ${label} does not let us in: ${said}`, {
      remedy: `correct user, password and database of ${redactUrl(this.#options.url)}, then: switchback check PLAN`,
      cause: error,
    });
  }

  async #with<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | undefined;
    let broken = false;
    const onError = () => {
      broken = true;
    };
    try {
      client = await this.#pool.connect();
      client.on('error', onError);
      return await work(client);
    } catch (error) {
      broken ||= isConnectionLost(error);
      throw this.wrap(error);
    } finally {
      client?.off('error', onError);
      client?.release(broken);
    }
  }
}

/**
 * Runs `work` between BEGIN and COMMIT on a session of the caller's. A connection lost during COMMIT throws kind `unknown`:
 * the server may have committed, so the truth has to be read before anything is repeated.
 */
export const runTransaction = async <T>(
  client: pg.ClientBase,
  label: string,
  work: (sql: SqlExecutor) => Promise<T>,
): Promise<T> => {
  const sql = executorOf(client);
  await sql.query('BEGIN');
  let result: T;
  try {
    result = await work(sql);
  } catch (error) {
    await sql.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
  try {
    await sql.query('COMMIT');
  } catch (error) {
    if (!isConnectionLost(error)) throw error;
    throw new SwitchbackError('unknown', `the ${label} dropped the connection during COMMIT; the outcome is unknown`, {
      remedy: 'see what became of it and go on: switchback resume PLAN',
      cause: error,
    });
  }
  return result;
};
