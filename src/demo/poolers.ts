import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { giveTo, makeTemporaryDirectory, unprivileged } from './binaries.ts';
import { GuardedProcess } from './guarded.ts';
import { freePort } from './servers.ts';

/** How a pooler is set up. */
export interface PoolerOptions {
  readonly mode: 'transaction' | 'session';
  /** Lines of `[databases]`. */
  readonly entries: string;
  /** How many sessions each user has on the server of each entry at most; 40 without it, more than any test has clients. */
  readonly poolSize?: number;
  /** More lines of `[pgbouncer]`. */
  readonly more?: string;
  /** Words before its arguments, for another program than the one on PATH. They see to it that it does not run as root. */
  readonly program?: readonly string[];
}

/** A PgBouncer of this machine, with its databases in a file that its configuration includes. */
export interface Pooler {
  /** URL of the console, as an administrator. */
  readonly admin: string;
  /** URL of the console, as somebody who may only look. */
  readonly viewer: string;
  /** The included file. */
  readonly config: string;
  /** The file that includes it. */
  readonly mainConfig: string;
  readonly port: number;
  /** For clients: the application's user of a database of the pooler. */
  urlFor(database: string): string;
  /** A command on the console. */
  ask(command: string): Promise<Record<string, unknown>[]>;
  /** Replaces the databases' file and has it read. */
  setEntries(entries: string): Promise<void>;
  entries(): string;
  signal(signal: NodeJS.Signals): void;
  /** Starts anew after `stop`, with the same port and files. */
  start(): Promise<void>;
  stop(): Promise<void>;
  stopAndRemove(): Promise<void>;
}

const ADMIN_PASSWORD = 'pooler-secret';

/** What keeps PgBouncer from running here; undefined when nothing does. */
export const poolerProblem = (): string | undefined => {
  const result = askVersion();
  return result.status === 0 ? undefined : (result.error?.message ?? result.stderr.trim());
};

/** Such as `1.18.0`, of the PgBouncer on PATH or of another program; undefined when it does not run. */
export const poolerVersion = (program?: readonly string[]): string | undefined =>
  /^PgBouncer (\S+)/.exec(askVersion(program).stdout ?? '')?.[1];

/** Debian has it where only root's PATH leads. */
const askVersion = ([program = 'pgbouncer', ...words]: readonly string[] = []) =>
  spawnSync(program, [...words, '--version'], { env: environment(), encoding: 'utf8' });

const environment = (): NodeJS.ProcessEnv => ({ ...process.env, PATH: `${process.env.PATH}:/usr/sbin` });

/** Starts a PgBouncer on a free port of the loopback address. The caller calls `stopAndRemove`. */
export const startPooler = async (options: PoolerOptions): Promise<Pooler> => {
  const pooler = new LocalPooler(options, await freePort());
  await pooler.start();
  return pooler;
};

class LocalPooler implements Pooler {
  readonly port: number;
  readonly config: string;
  readonly mainConfig: string;
  readonly #directory: string;
  readonly #runAs = unprivileged();
  readonly #program: readonly string[] | undefined;
  #process: GuardedProcess | undefined;

  constructor({ mode, entries, poolSize = 40, more = '', program }: PoolerOptions, port: number) {
    this.#program = program;
    this.port = port;
    this.#directory = makeTemporaryDirectory('switchback-pgbouncer-', this.#runAs);
    this.config = join(this.#directory, 'databases.ini');
    this.mainConfig = join(this.#directory, 'pgbouncer.ini');
    this.#write('users.txt', `"admin" "${ADMIN_PASSWORD}"\n"viewer" "viewer-secret"\n"postgres" "client-secret"\n`);
    this.#write('databases.ini', entries);
    const settings = [
      '[databases]',
      `%include ${this.config}`,
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      `listen_port = ${port}`,
      'unix_socket_dir =',
      'auth_type = md5',
      `auth_file = ${join(this.#directory, 'users.txt')}`,
      'admin_users = admin',
      'stats_users = viewer',
      `pool_mode = ${mode}`,
      'max_client_conn = 200',
      `default_pool_size = ${poolSize}`,
      more,
    ];
    this.#write('pgbouncer.ini', `${settings.join('\n')}\n`);
  }

  get admin(): string {
    return `postgresql://admin:${ADMIN_PASSWORD}@127.0.0.1:${this.port}/pgbouncer`;
  }

  get viewer(): string {
    return `postgresql://viewer:viewer-secret@127.0.0.1:${this.port}/pgbouncer`;
  }

  urlFor(database: string): string {
    return `postgresql://postgres:client-secret@127.0.0.1:${this.port}/${database}`;
  }

  async ask(command: string): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ connectionString: this.admin, application_name: 'administrator' });
    client.on('error', () => undefined);
    await client.connect();
    try {
      return (await client.query(command)).rows;
    } finally {
      await client.end();
    }
  }

  async setEntries(entries: string): Promise<void> {
    this.#write('databases.ini', entries);
    await this.ask('RELOAD');
  }

  entries(): string {
    return readFileSync(this.config, 'utf8');
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.signal(signal);
  }

  async start(): Promise<void> {
    this.#process = await GuardedProcess.start({
      argv: [...(this.#program ?? ['pgbouncer']), '-q', this.mainConfig],
      log: join(this.#directory, 'log'),
      cwd: this.#directory,
      environment: environment(),
      ...(this.#program === undefined ? { runAs: this.#runAs } : {}),
    });
    await this.#process.untilReady(() => this.ask('SHOW VERSION'));
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
    this.#process = undefined;
  }

  async stopAndRemove(): Promise<void> {
    await this.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #write(name: string, text: string): void {
    const path = join(this.#directory, name);
    writeFileSync(path, text);
    chmodSync(path, 0o640);
    giveTo(path, this.#runAs);
  }
}
