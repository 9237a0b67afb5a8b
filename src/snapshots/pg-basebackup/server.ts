import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, chown, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { SwitchbackError } from '../../domain/errors.ts';
import { redactText } from '../../platform/redact.ts';
import { programIn, type Run, runToEnd } from '../local/program.ts';
import type { WaitOptions } from '../store.ts';

/** Names the socket and no port: the server listens on no address. */
const PORT = 5432;
/** What the system has room for in the name of a socket. */
const MAX_SOCKET_PATH = 107;
const START_SECONDS = 24 * 3600;
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
 * nor take part in the source's subscriptions, and nobody but us reaches it: who may do what on it is not settled yet.
 */
const settingsOf = ({ directory, purpose }: RestoredServer): Readonly<Record<string, string>> => ({
  listen_addresses: '',
  port: String(PORT),
  unix_socket_directories: socketFor(directory),
  unix_socket_permissions: '0700',
  ssl: 'off',
  archive_mode: 'off',
  archive_cleanup_command: '',
  synchronous_standby_names: '',
  primary_conninfo: '',
  max_logical_replication_workers: '0',
  logging_collector: 'off',
  // It takes connections when it is a server of its own, not before.
  hot_standby: 'off',
  restore_command: 'false',
  recovery_target_timeline: 'current',
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
    ...(signal === undefined ? {} : { signal }),
  };
  return await runToEnd(run);
};

/** Starts the server unless it runs, and waits until it takes connections. Throws with the end of its log when it does not. */
export const startServer = async (server: RestoredServer, wait: WaitOptions): Promise<void> => {
  const { directory } = server;
  const { code: status } = await control(server, ['status']);
  if (status === 0) return;
  const owner = await runAsFor(directory);
  const socket = socketFor(directory);
  await rm(socket, { recursive: true, force: true });
  await mkdir(socket, { mode: 0o700 });
  if (owner.uid !== undefined && owner.gid !== undefined) await chown(socket, owner.uid, owner.gid);
  wait.progress({ text: 'the restored server starts', percent: null });
  const log = join(directory, LOG);
  const args = ['start', '--wait', `--timeout=${START_SECONDS}`, '--silent', `--log=${log}`, '-o', filesOf(directory)];
  try {
    const { code, stderr } = await control(server, args, wait.signal);
    if (code === 0) return;
    const said = (await readFile(log, 'utf8').catch(() => '')).slice(-LOG_KEPT_CHARS).trim() || stderr.trim();
    throw new SwitchbackError('refused', `the restored server in ${directory} does not start: ${redactText(said)}`, {
      remedy: 'mend what its log says (a library that is missing here, too little memory), then give the command again',
    });
  } catch (error) {
    await stopServer(server);
    throw error;
  }
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
