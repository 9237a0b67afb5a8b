import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, closeSync, existsSync, fstatSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { messageOf, SwitchbackError } from '../domain/errors.ts';
import { monotonicMs, sleep } from '../platform/clock.ts';
import { type Binaries, type EmbeddedMajor, findBinaries, giveTo, makeTemporaryDirectory } from './binaries.ts';

/** What to start. */
export interface StartOptions {
  readonly version: EmbeddedMajor;
  /** Lines of postgresql.conf, over {@link DEFAULT_SETTINGS}. Values are raw; they are quoted here. */
  readonly settings?: Readonly<Record<string, string>>;
  /** An empty or missing directory to keep the data in; without it a temporary one is made. */
  readonly directory?: string;
  /** Variables for the server's process, over those of ours. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** An embedded server. Its port and directory stay the same over `stop`, `kill` and `start`. */
export interface RunningServer {
  /** As the server says it, such as `13.23`. */
  readonly version: string;
  readonly port: number;
  /** The superuser `postgres` on the database `postgres`; connections are trusted. */
  readonly url: string;
  /** Holds `data/` and `server.log`. */
  readonly directory: string;
  /** The postmaster's; undefined while the server is down. Changes with every start. */
  readonly pid: number | undefined;
  /** The URL of a database (not created by this) as a user, `postgres` without one. */
  urlFor(database: string, user?: string): string;
  /** Fast shutdown; an immediate one when a session (a stuck WAL sender) holds it up for 10 s. Nothing when it is down. */
  stop(): Promise<void>;
  /** A crash: SIGKILL to the postmaster. Its backends notice by themselves and end. */
  kill(): Promise<void>;
  /** Starts again on the same directory and port, with crash recovery if need be. Nothing when it is up. */
  start(): Promise<void>;
  /** Stops and removes the directory. */
  stopAndRemove(): Promise<void>;
  /** Lets the server outlive this process, which otherwise takes it along however it ends. Until the next start. */
  leaveRunning(): void;
}

/** Logical replication both ways, room for every lane and client of a test, and real durability (crashes are tested). */
const DEFAULT_SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  wal_level: 'logical',
  max_wal_senders: '40',
  max_replication_slots: '40',
  max_connections: '200',
  shared_buffers: '256MB',
  max_wal_size: '4GB',
  fsync: 'on',
};

const READY_WITHIN_MS = 60_000;
const STOP_WITHIN_MS = 10_000;
const PORT_TRIES = 5;

/**
 * Makes a database cluster (UTF8, locale C.UTF-8) and starts its server on a free port of the loopback address. The caller
 * calls `stopAndRemove`. Throws kind `usage` when the server's programs are not here, `internal` when it does not start.
 */
export const startServer = async (options: StartOptions): Promise<RunningServer> => {
  const binaries = findBinaries(options.version);
  const directory = options.directory ?? makeTemporaryDirectory(`switchback-pg${options.version}-`, binaries.runAs);
  mkdirSync(directory, { recursive: true });
  giveTo(directory, binaries.runAs);
  await initialise(binaries, join(directory, 'data'));
  const settings = { ...DEFAULT_SETTINGS, ...options.settings };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`);
  appendFileSync(join(directory, 'data', 'postgresql.conf'), lines.join(''));
  for (let attempt = 1; ; attempt++) {
    const { environment = {} } = options;
    const server = new EmbeddedServer({ binaries, directory, port: await freePort(), environment });
    try {
      await server.start();
      return server;
    } catch (error) {
      // Somebody else may have taken the port between our look at it and the server's.
      if (attempt < PORT_TRIES && /address already in use/i.test(messageOf(error))) continue;
      if (options.directory === undefined) rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }
};

class EmbeddedServer implements RunningServer {
  readonly port: number;
  readonly directory: string;
  version = '';
  readonly #binaries: Binaries;
  readonly #environment: Readonly<Record<string, string>>;
  #postmaster: ChildProcess | undefined;
  #guard: ChildProcess | undefined;

  constructor(options: {
    readonly binaries: Binaries;
    readonly directory: string;
    readonly port: number;
    readonly environment: Readonly<Record<string, string>>;
  }) {
    this.port = options.port;
    this.directory = options.directory;
    this.#environment = options.environment;
    this.#binaries = options.binaries;
  }

  get url(): string {
    return this.urlFor('postgres');
  }

  get pid(): number | undefined {
    return this.#postmaster?.pid;
  }

  urlFor(database: string, user = 'postgres'): string {
    return `postgresql://${encodeURIComponent(user)}@127.0.0.1:${this.port}/${encodeURIComponent(database)}`;
  }

  async start(): Promise<void> {
    const deadlineMs = monotonicMs() + READY_WITHIN_MS;
    while (this.#postmaster === undefined) {
      const logStart = this.#spawn();
      const problem = await this.#ready(logStart, deadlineMs);
      if (problem === undefined) return;
      await this.#end('SIGQUIT');
      // Backends of a killed postmaster hold its shared memory for the moment that they need to notice.
      const isTransient = /pre-existing shared memory|lock file .* already exists/.test(problem);
      if (!isTransient || monotonicMs() > deadlineMs) {
        throw new SwitchbackError('internal', `the server in ${this.directory} does not start: ${problem}`);
      }
      await sleep(50);
    }
  }

  async stop(): Promise<void> {
    await this.#end('SIGINT');
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async stopAndRemove(): Promise<void> {
    await this.#end('SIGINT');
    // Backends of a killed postmaster may still be writing, and put back what was just removed.
    const deadlineMs = monotonicMs() + STOP_WITHIN_MS;
    do {
      rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
      if (!existsSync(this.directory)) return;
      await sleep(50);
    } while (monotonicMs() < deadlineMs);
    throw new SwitchbackError('internal', `${this.directory} cannot be removed: something still writes there`);
  }

  leaveRunning(): void {
    this.#guard?.kill('SIGKILL');
    this.#guard = undefined;
  }

  /** Returns the length of the log before this start, in bytes. */
  #spawn(): number {
    const log = openSync(this.#logPath(), 'a');
    const logStart = fstatSync(log).size;
    const data = join(this.directory, 'data');
    // A session of its own, so that Ctrl-C in a terminal reaches us and not the server.
    const child = spawn(this.#binaries.postgres, ['-D', data, '-p', String(this.port)], {
      ...this.#binaries.runAs,
      cwd: data,
      env: { ...process.env, ...this.#environment },
      detached: true,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    child.on('error', () => undefined);
    child.unref();
    this.#postmaster = child;
    this.#guard = guardOf(child);
    return logStart;
  }

  /** Undefined once the server answers, else what it said when it ended. */
  async #ready(logStart: number, deadlineMs: number): Promise<string | undefined> {
    while (monotonicMs() < deadlineMs) {
      if (hasEnded(this.#postmaster)) return this.#logFrom(logStart) || 'no message in its log';
      const client = new pg.Client({ connectionString: this.url, connectionTimeoutMillis: 2_000 });
      client.on('error', () => undefined);
      try {
        await client.connect();
        const answer = await client.query<{ v: string }>(
          "SELECT split_part(current_setting('server_version'), ' ', 1) v",
        );
        this.version = answer.rows[0]?.v ?? '';
        return undefined;
      } catch {
        await sleep(25);
      } finally {
        await client.end().catch(() => undefined);
      }
    }
    return `no answer within ${READY_WITHIN_MS / 1000} s`;
  }

  async #end(signal: 'SIGINT' | 'SIGQUIT' | 'SIGKILL'): Promise<void> {
    const child = this.#postmaster;
    if (child === undefined) return;
    if (!hasEnded(child)) {
      child.ref();
      const ended = once(child, 'exit');
      const late = setTimeout(() => child.kill('SIGQUIT'), STOP_WITHIN_MS);
      child.kill(signal);
      await ended;
      clearTimeout(late);
    }
    this.#guard?.kill('SIGKILL');
    this.#guard = undefined;
    this.#postmaster = undefined;
  }

  #logPath(): string {
    return join(this.directory, 'server.log');
  }

  #logFrom(start: number): string {
    return readFileSync(this.#logPath()).subarray(start).toString('utf8').trim();
  }
}

const hasEnded = (child: ChildProcess | undefined): boolean =>
  child === undefined || child.pid === undefined || child.exitCode !== null || child.signalCode !== null;

/**
 * A shell that waits for the end of its input, which we hold open, and then ends the server: it works also when we are
 * killed, where no handler of ours could run.
 */
const guardOf = (postmaster: ChildProcess): ChildProcess => {
  const guard = spawn('/bin/sh', ['-c', 'cat >/dev/null; kill -QUIT "$0"', String(postmaster.pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  guard.on('error', () => undefined);
  guard.unref();
  if (guard.stdin instanceof Socket) guard.stdin.unref();
  postmaster.once('exit', () => guard.kill('SIGKILL'));
  return guard;
};

const initialise = async (binaries: Binaries, data: string): Promise<void> => {
  // Without syncing: a crash of the machine in the middle of a test leaves nothing that anybody wants.
  const options = ['-D', data, '-E', 'UTF8', '--locale=C.UTF-8', '-A', 'trust', '-U', 'postgres', '--no-sync'];
  try {
    await promisify(execFile)(binaries.initdb, options, { ...binaries.runAs, cwd: '/' });
  } catch (error) {
    throw new SwitchbackError('internal', `initdb failed: ${messageOf(error)}`, { cause: error });
  }
};

/** Below the range from which the system takes ports for outgoing connections, so that a restart finds its port free. */
export const freePort = async (): Promise<number> => {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const probe = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => probe.close(resolve));
    return port;
  }
};
