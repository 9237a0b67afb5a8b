import pg from 'pg';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { TextRow } from '../../domain/sql.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { quoteName } from '../../platform/postgres/quote.ts';
import { isTlsRefusal, rawText, redactUrl } from '../../platform/postgres/server.ts';
import { readPostgresUrl } from '../../platform/postgres/url.ts';
import { before, within } from '../bounded.ts';
import { inTurn } from '../in-turn.ts';
import type { Address } from './ini.ts';
import { resumeOn } from './resume.ts';
import { Sessions } from './sessions.ts';

/** A database as the pooler shows it. */
export interface ShownDatabase {
  readonly address: Address;
  readonly isPaused: boolean;
  /** `session`, `transaction` or `statement`; null where the pooler's own mode holds. */
  readonly poolMode: string | null;
}

/** A session of the pooler's on a server. */
export interface ServerSession {
  /** Of its process on the server. */
  readonly pid: string;
  readonly user: string;
  /** It was made before the last change of its database's entry, and is closed when its client lets go of it. */
  readonly isOutdated: boolean;
  /** The client that uses it, in words; null when none does. */
  readonly client: string | null;
}

/** How long a command may take that is answered at once, connecting included, in milliseconds. */
const ANSWER_MS = 5_000;
const LOOK_AGAIN_MS = 10;
const DATABASE = 'pgbouncer';
/** PgBouncer has one code, 08P01, for everything it says. */
const NOT_LET_IN = /admin access needed|not allowed|authentication failed|no such user|no pg_hba|login rejected|SASL/i;
const ALREADY_PAUSED = /already paused/;

/**
 * The admin console of one PgBouncer. It understands simple queries only, and no settings of a session; PAUSE and
 * WAIT_CLOSE keep their session busy until they are done, so everything is done on sessions of its own.
 */
export class Console {
  /** For messages, without a password. */
  readonly name: string;
  /** Whether it is on this machine, as far as its URL tells. */
  readonly isLocal: boolean;
  /** Its TCP port; null when it is reached by a Unix socket. */
  readonly port: number | null;
  /** Whom we log in as. */
  readonly user: string;
  readonly #sessions: Sessions;
  readonly #url: string;

  /** Connects to nothing yet. Throws kind `usage` for a URL that cannot be read or names another database. */
  constructor(url: string) {
    const { driver, protection } = readPostgresUrl(url, 'PgBouncer');
    if (driver.database !== undefined && driver.database !== DATABASE) {
      throw new SwitchbackError('usage', `the PgBouncer's URL names the database ${driver.database}`, {
        remedy: `its admin console is the database ${DATABASE}: write that`,
      });
    }
    this.name = `PgBouncer at ${driver.host}:${driver.port ?? 6432}`;
    this.isLocal = protection.local;
    this.port = driver.host?.startsWith('/') ? null : (driver.port ?? 6432);
    this.#url = url;
    this.user = driver.user ?? '';
    const config = { port: 6432, ...driver, database: DATABASE, application_name: 'switchback', types: rawText };
    this.#sessions = new Sessions(config);
  }

  /** What the pooler has of a database; null when it does not know it. */
  async database(database: string, withinMs = ANSWER_MS): Promise<ShownDatabase | null> {
    return (await this.databases(withinMs)).get(database) ?? null;
  }

  /** All that the pooler has of its databases, by their names. */
  async databases(withinMs = ANSWER_MS): Promise<ReadonlyMap<string, ShownDatabase>> {
    const rows = await this.#ask('SHOW DATABASES', withinMs);
    return new Map(rows.map((row) => [row.name ?? '', shownOf(row)]));
  }

  /** Such as `1.26.1`; empty when it does not say. */
  async version(): Promise<string> {
    const [row = {}] = await this.#ask('SHOW VERSION');
    return /\d+(\.\d+)+/.exec(Object.values(row).join(' '))?.[0] ?? '';
  }

  /** Its settings by name. */
  async settings(): Promise<ReadonlyMap<string, string>> {
    const rows = await this.#ask('SHOW CONFIG');
    return new Map(rows.map(({ key, value }) => [key ?? '', value ?? '']));
  }

  /** Its sessions on the servers of a database, those that no client uses among them. */
  async serverSessions(database: string, withinMs = ANSWER_MS): Promise<readonly ServerSession[]> {
    const [servers, clients] = await Promise.all([
      this.#ask('SHOW SERVERS', withinMs),
      this.#ask('SHOW CLIENTS', withinMs),
    ]);
    return servers
      .filter((row) => row.database === database)
      .map((row) => {
        const client = clients.find(({ ptr }) => ptr === row.link);
        return {
          pid: row.remote_pid ?? '',
          user: row.user ?? '',
          isOutdated: row.close_needed === '1',
          client: client === undefined ? null : clientText(client),
        };
      });
  }

  /**
   * Pauses a database: no client gets a server any more. Resolves when those that had one have let go of it. How many
   * milliseconds to wait is asked of `mayWait`, again whenever they are over, until it throws; the pause then stands until
   * `resume`. From `untilMs` on, of the monotonic clock, none is begun. That PAUSE has been answered is not believed: 1.18 answers everybody who waits as soon as one pause, or one
   * WAIT_CLOSE, is done, whichever database it was for.
   */
  async pause(database: string, untilMs: number, mayWait: () => Promise<number>): Promise<void> {
    await this.#untilDone(mayWait, async (client) => {
      // Connecting may have taken all of it, while nobody looked.
      if (monotonicMs() >= untilMs) throw new Error('it let us in when the time to pause was over');
      await client.query(`PAUSE ${quoteName(database)}`).catch((error: unknown) => {
        if (!ALREADY_PAUSED.test(messageOf(error))) throw error;
      });
      await untilNone(client, (row) => row.database === database && row.link !== '');
    });
  }

  /**
   * Resolves when no session is left that was made before the last change of the database's entry; as `pause`. That is
   * what WAIT_CLOSE is for; but it would answer somebody else's PAUSE.
   */
  async waitClose(database: string, mayWait: () => Promise<number>): Promise<void> {
    await this.#untilDone(mayWait, async (client) => {
      await untilNone(client, (row) => row.database === database && row.close_needed === '1');
    });
  }

  /** Lets clients of databases go on; nothing for those that are not paused. */
  async resume(databases: readonly string[], withinMs = ANSWER_MS): Promise<void> {
    await inTurn(`${this.name} retry`, async () => {
      await this.#with(async (client, open) => {
        await before(
          withinMs,
          open().then(() => resumeOn(client, databases)),
        );
      });
    });
  }

  /** Ends all clients of databases and forgets what was learned from their servers. Who comes waits until `resume`. */
  async end(databases: readonly string[]): Promise<void> {
    for (const database of databases) await this.#ask(`KILL ${quoteName(database)}`);
  }

  /** Reads its configuration again. */
  async reload(): Promise<void> {
    await this.#ask('RELOAD');
  }

  async #ask(command: string, withinMs = ANSWER_MS): Promise<readonly TextRow[]> {
    return await this.#with(async (client, open) => {
      const answer = open().then(() => client.query<TextRow>(command));
      const { rows } = await before(withinMs, answer);
      return rows;
    });
  }

  /** Does something on a session that is cut when `mayWait` throws. */
  async #untilDone(mayWait: () => Promise<number>, work: (client: pg.Client) => Promise<void>): Promise<void> {
    await this.#with(async (client, open) => {
      const done = open().then(async () => {
        await work(client);
        return true;
      });
      for (;;) if (await within(await mayWait(), done)) return;
    });
  }

  async #with<T>(work: (client: pg.Client, open: () => Promise<void>) => Promise<T>): Promise<T> {
    try {
      return await this.#sessions.with(work);
    } catch (error) {
      throw this.#wrap(error);
    }
  }

  #wrap(error: unknown): unknown {
    if (error instanceof SwitchbackError) return error;
    const said = messageOf(error);
    const cause = { cause: error };
    if (isTlsRefusal(error)) {
      return new SwitchbackError('refused', `no session to ${this.name} that is as safe as its URL asks: ${said}`, {
        remedy:
          'name the authority that signs its certificate with sslrootcert=FILE, or say what is meant with sslmode',
        ...cause,
      });
    }
    if (NOT_LET_IN.test(said)) {
      return new SwitchbackError('refused', `${this.name} does not let us in: ${said}`, {
        remedy: `correct user and password of ${redactUrl(this.#url)}, and name the user in its admin_users; then RELOAD it`,
        ...cause,
      });
    }
    if (error instanceof pg.DatabaseError && error.severity === 'ERROR') {
      return new SwitchbackError('refused', `${this.name} refuses a command: ${said}`, {
        remedy: 'see what it knows with SHOW DATABASES on its admin console, mend that, then give the command again',
        ...cause,
      });
    }
    return new SwitchbackError('unreachable', `${this.name} cannot be asked: ${said}`, {
      remedy: `check that ${redactUrl(this.#url)} answers from this machine`,
      ...cause,
    });
  }
}

const shownOf = ({ host = null, port, database, paused, pool_mode = null }: TextRow): ShownDatabase => ({
  address: { host: host === '' ? null : host, port: port ?? '', dbname: database ?? '' },
  isPaused: paused === '1',
  poolMode: pool_mode,
});

/** Looks at the pooler's sessions on servers until none is one of those. */
const untilNone = async (client: pg.Client, isOne: (row: TextRow) => boolean): Promise<void> => {
  for (;;) {
    const { rows } = await client.query<TextRow>('SHOW SERVERS');
    if (!rows.some(isOne)) return;
    await sleep(LOOK_AGAIN_MS);
  }
};

const clientText = ({ user, application_name, addr, port }: TextRow): string =>
  `${user} from ${addr}:${port}${application_name ? ` (${application_name})` : ''}`;
