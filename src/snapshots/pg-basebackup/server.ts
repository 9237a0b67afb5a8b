import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, chown, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import { sleep } from '../../platform/clock.ts';
import { PostgresServer } from '../../platform/postgres/server.ts';
import { redactText } from '../../platform/redact.ts';
import { programIn, type Run, runToEnd } from '../local/program.ts';
import type { WaitOptions } from '../store.ts';

/** Names the socket and no port: the server listens on no address. */
const PORT = 5432;
/** What the system has room for in the name of a socket. */
const MAX_SOCKET_PATH = 107;
const START_SECONDS = 24 * 3600;
const POLL_MS = 100;
const LOG_KEPT_CHARS = 2_000;
const LOG = 'switchback-server.log';
const SETTINGS_MARK = '# By Switchback, while this restored server is not in use; take these lines out before it is.';

/** Whom a server's programs run as. */
export interface RunAs {
  readonly uid?: number;
  readonly gid?: number;
}

/** A server that is started on restored files. */
export interface RestoredServer {
  readonly directory: string;
  readonly bin: string | null;
  readonly purpose: 'restore' | 'drill';
}

/**
 * PostgreSQL does not run as root: then it runs as the owner of the folder that its directory is in. Throws kind `refused` where
 * that is root as well.
 */
export const runAsFor = async (directory: string): Promise<RunAs> => {
  if (process.getuid?.() !== 0) return {};
  const { uid, gid } = await stat(dirname(directory));
  if (uid !== 0) return { uid, gid };
  throw new SwitchbackError('refused', `PostgreSQL does not run as root, to whom ${dirname(directory)} belongs`, {
    remedy: `let the server's user own that folder: chown postgres ${dirname(directory)}; or give the command as that user`,
  });
};

/** A directory for the server's socket that nobody else can enter, with a name short enough for one. */
export const socketFor = (directory: string): string => {
  const path = join(tmpdir(), `switchback-${createHash('sha256').update(directory).digest('hex').slice(0, 12)}`);
  if (path.length + '/.s.PGSQL.5432'.length <= MAX_SOCKET_PATH) return path;
  throw new SwitchbackError('usage', `${path} is too long for the name of a socket`, {
    remedy: 'let TMPDIR name a directory with a shorter path',
  });
};

const inConfig = (value: string): string => `'${value.replaceAll("'", "''")}'`;
const inShell = (value: string): string => `'${value.replaceAll("'", `'\\''`)}'`;

/**
 * What has to be otherwise than on the source. It must not write into the source's archive of WAL, wait for the source's standbys,
 * take part in the source's subscriptions, nor run its hooks and its jobs (those of pg_cron connect to the source's port), and nobody but us reaches it: who may do what on it is not settled yet.
 */
const settingsOf = ({ directory, purpose }: RestoredServer): Readonly<Record<string, string>> => ({
  listen_addresses: '',
  port: String(PORT),
  unix_socket_directories: socketFor(directory),
  unix_socket_permissions: '0700',
  ssl: 'off',
  archive_mode: 'off',
  archive_cleanup_command: '',
  recovery_end_command: '',
  'cron.launch_active_jobs': 'off',
  synchronous_standby_names: '',
  primary_conninfo: '',
  max_logical_replication_workers: '0',
  logging_collector: 'off',
  // It takes connections when it is a server of its own, not before.
  hot_standby: 'off',
  restore_command: 'false',
  recovery_target_timeline: 'current',
  // What an earlier recovery of the source has left would end this one elsewhere, or keep it from beginning.
  recovery_target: '',
  recovery_target_name: '',
  recovery_target_time: '',
  recovery_target_lsn: '',
  recovery_target_xid: '',
  // As little as a rehearsal on a smaller machine needs.
  ...(purpose === 'drill' ? { shared_buffers: '128MB', huge_pages: 'off' } : {}),
});

/** These name files, and are read from the command line, where nothing in a file can change them. */
const filesOf = (directory: string): string =>
  Object.entries({
    data_directory: directory,
    hba_file: join(directory, 'switchback-hba.conf'),
    ident_file: join(directory, 'switchback-ident.conf'),
    external_pid_file: '',
  })
    .map(([name, value]) => `-c ${name}=${inShell(value)}`)
    .join(' ');

/**
 * Makes extracted files ready for a start that ends on a timeline of its own, so that its history is told from the source's. Returns
 * whether the source kept its settings elsewhere, and they are missing.
 */
export const makeReady = async (draft: string, server: RestoredServer): Promise<{ readonly isBare: boolean }> => {
  const config = join(draft, 'postgresql.conf');
  const isBare = !existsSync(config);
  if (isBare) await writeFile(config, '');
  const lines = Object.entries(settingsOf(server)).map(([name, value]) => `${name} = ${inConfig(value)}`);
  await appendFile(join(draft, 'postgresql.auto.conf'), `\n${[SETTINGS_MARK, ...lines].join('\n')}\n`);
  await writeFile(join(draft, 'switchback-hba.conf'), 'local all all trust\nlocal replication all trust\n');
  await writeFile(join(draft, 'switchback-ident.conf'), '');
  await writeFile(join(draft, 'recovery.signal'), '');
  return { isBare };
};

const control = async (
  server: RestoredServer,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<Awaited<ReturnType<typeof runToEnd>>> => {
  const run: Run = {
    program: programIn(server.bin, 'pg_ctl'),
    args: [...args, `--pgdata=${server.directory}`],
    runAs: await runAsFor(server.directory),
    needsNoSecrets: true,
    ...(signal === undefined ? {} : { signal }),
  };
  return await runToEnd(run);
};

/**
 * Starts the server unless it runs, and waits until it is a server of its own that takes writes. Throws with the end of its log
 * when it does not start. One that ran before is never stopped, since it may be in use by now: kind `refused` when it has another
 * socket than ours, or does not let us in.
 */
export const startServer = async (server: RestoredServer, like: string, wait: WaitOptions): Promise<void> => {
  if (await runs(server)) {
    await assertUnused(server);
    await untilReady(server, like, wait);
    return;
  }
  try {
    await begin(server, wait);
    await untilReady(server, like, wait);
  } catch (error) {
    await stopServer(server);
    throw error;
  }
};

/**
 * A server's file of its process says the folder of its first socket in line 5, once there is one, and in line 8 how far it is
 * (`AddToDataDirLockFile`). One that we have started and that replays its log still has ours.
 */
const assertUnused = async (server: RestoredServer): Promise<void> => {
  const lines = (await readFile(join(server.directory, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
  const [socket, state] = [lines[4] ?? '', (lines[7] ?? '').trim()];
  if (socket === socketFor(server.directory) || (socket === '' && state !== 'ready')) return;
  throw new SwitchbackError(
    'refused',
    `the server in ${server.directory} runs with settings of its own (its socket: ${socket || 'none'}): it is in use`,
    { remedy: 'restore into another directory: switchback snapshot restore PLAN ID --into DIRECTORY' },
  );
};

const runs = async (server: RestoredServer): Promise<boolean> => (await control(server, ['status'])).code === 0;

const begin = async (server: RestoredServer, wait: WaitOptions): Promise<void> => {
  const { directory } = server;
  const { uid, gid } = await runAsFor(directory);
  const socket = socketFor(directory);
  await rm(socket, { recursive: true, force: true });
  await mkdir(socket, { mode: 0o700 });
  if (uid !== undefined && gid !== undefined) await chown(socket, uid, gid);
  const args = ['start', '--wait', `--timeout=${START_SECONDS}`, '--silent', `--log=${join(directory, LOG)}`];
  const { code, stderr } = await control(server, [...args, '-o', filesOf(directory)], wait.signal);
  if (code !== 0) throw await notStarting(server, stderr);
};

/** pg_ctl takes a server for started that only replays what was copied, and takes no connections yet. */
const untilReady = async (server: RestoredServer, like: string, wait: WaitOptions): Promise<void> => {
  const restored = new PostgresServer({
    url: urlOf(server, like),
    label: 'restored place',
    application: 'switchback:restore',
  });
  try {
    for (;;) {
      wait.progress({ text: 'the restored server replays its log', percent: null });
      try {
        const { rows } = await restored.query('SELECT pg_is_in_recovery()::text AS replays');
        if (rows[0]?.replays === 'false') return;
      } catch (error) {
        if (!isKind(error, 'unreachable')) throw error;
        if (!(await runs(server))) throw await notStarting(server, messageOf(error));
      }
      await sleep(POLL_MS, wait.signal);
    }
  } finally {
    await restored.close();
  }
};

const notStarting = async ({ directory }: RestoredServer, otherwise: string): Promise<SwitchbackError> => {
  const said = (await readFile(join(directory, LOG), 'utf8').catch(() => '')).slice(-LOG_KEPT_CHARS).trim();
  const text = redactText(said || otherwise.trim());
  return new SwitchbackError('refused', `the restored server in ${directory} does not start: ${text}`, {
    remedy: 'mend what its log says (a library that is missing here, too little memory), then give the command again',
  });
};

/** Stops the server at once, if it runs; nothing that it holds is wanted any more. */
export const stopServer = async (server: RestoredServer): Promise<void> => {
  await control(server, ['stop', '--wait', '--silent', '--mode=immediate']);
  await rm(socketFor(server.directory), { recursive: true, force: true });
};

/** URL of a database of it, as the user of another URL. */
export const urlOf = (server: RestoredServer, like: string): string => {
  const from = new URL(like);
  const user = from.searchParams.get('user') ?? decodeURIComponent(from.username);
  const parameters = new URLSearchParams({ host: socketFor(server.directory), port: String(PORT) });
  if (user !== '') parameters.set('user', user);
  return `postgresql://${from.pathname}?${parameters.toString().replaceAll('+', '%20')}`;
};
