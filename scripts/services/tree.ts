import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { mirrorIn } from './mirror.ts';

/** Programs of the tree: servers of which this distribution has older versions or none, and pgcopydb. */
export const SERVICES = {
  pgcopydb: 'usr/bin/pgcopydb',
  pgbouncer: 'usr/sbin/pgbouncer',
  haproxy: 'usr/sbin/haproxy',
  etcd: 'usr/bin/etcd',
  moto_server: 'usr/bin/moto_server',
} as const;
export type ServiceName = keyof typeof SERVICES;

/** What they come in, with what they call: a shell for their wrappers, users, a locale that is UTF-8, and moto's own server. */
const PACKAGES = [
  ...['base-files', 'base-passwd', 'coreutils', 'dash', 'libc-bin'],
  ...['pgcopydb', 'pgbouncer', 'haproxy', 'etcd-server'],
  ...['python3-moto', 'python3-flask', 'python3-flask-cors', 'python3-docker', 'python3-jsondiff', 'python3-joserfc'],
  ...['python3-openapi-spec-validator', 'python3-yaml', 'python3-pyparsing'],
];
/** The files by which it is known that the tree is whole. */
const PROGRAMS = [...Object.values(SERVICES), 'usr/bin/psql', 'usr/bin/pg_dump', 'etc/passwd'];
/** What maintainer scripts would make of the packages' own patterns: users, and names that need no network. */
const FILES = [
  { path: 'etc/passwd', from: 'usr/share/base-passwd/passwd.master' },
  { path: 'etc/group', from: 'usr/share/base-passwd/group.master' },
  { path: 'etc/hosts', text: '127.0.0.1 localhost\n::1 localhost\n' },
] as const;
const SUITE = 'unstable';
const APT = '/etc/apt';
/** Debian's keys where its package of keys has them; apt's own place for them is empty on newer systems. */
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** Enters a tree with the machine's devices and the directories after its name, in mounts that nobody else sees and that end with it. */
const ENTER = `
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" || exit
while [ "$1" != -- ]; do mkdir -p "$0$1" && mount --rbind "$1" "$0$1" || exit; shift; done
shift; exec chroot "$@"`;

/** Where the tree is: `SWITCHBACK_SERVICES`, or a directory for the whole machine. */
export const servicesDirectory = (): string => process.env.SWITCHBACK_SERVICES ?? '/var/lib/switchback-services';

/** Programs that are missing in a tree, relative to it; none when it can be used. */
export const missingIn = (directory: string): readonly string[] =>
  PROGRAMS.filter((program) => !existsSync(join(directory, program)));

/** All of the machine's apt sources, in the order in which apt reads them. */
const aptSources = (): readonly string[] => {
  const parts = join(APT, 'sources.list.d');
  const names = existsSync(parts) ? readdirSync(parts).filter((name) => /\.(list|sources)$/.test(name)) : [];
  return [join(APT, 'sources.list'), ...names.sort().map((name) => join(parts, name))].filter(existsSync);
};

/** The mirror that this machine itself uses. Throws when no source names one of the distribution's own suites. */
export const findMirror = (): string => {
  const texts = aptSources().map((path) => readFileSync(path, 'utf8'));
  const mirror = mirrorIn(texts);
  if (mirror === undefined) throw new Error(`no source in ${APT} names a mirror of Debian itself (main)`);
  return mirror;
};

const run = (argv: readonly [string, ...string[]]): void => {
  const [program, ...words] = argv;
  const { status, error } = spawnSync(program, words, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
  });
  if (status !== 0) throw new Error(`${argv.join(' ')} ended with ${status ?? error?.message}`);
};

const requireMaker = (tell: (line: string) => void): void => {
  if (spawnSync('mmdebstrap', ['--version']).status === 0) return;
  tell('installing mmdebstrap');
  run(['apt-get', 'update', '-qq']);
  run(['apt-get', 'install', '-y', '-qq', '--no-install-recommends', 'mmdebstrap']);
};

/**
 * Unpacks the packages and what they depend on, and runs none of their maintainer scripts: those of servers fail where no
 * init system is. debootstrap would run them, and does not resolve virtual packages. The suite's list may be past its date on
 * a machine whose clock is ahead; its signature is checked all the same.
 */
const unpack = (directory: string, mirror: string): void => {
  const keys = existsSync(KEYRING) ? [`--keyring=${KEYRING}`] : [];
  const how = ['--mode=root', '--variant=extract', '--skip=check/signed-by', ...keys, '--aptopt=Acquire::Retries "3"'];
  const dates = '--aptopt=Acquire::Check-Valid-Until "false"';
  run(['mmdebstrap', '--quiet', ...how, dates, `--include=${PACKAGES.join(',')}`, SUITE, directory, mirror]);
  for (const file of FILES) {
    const path = join(directory, file.path);
    if ('from' in file) copyFileSync(join(directory, file.from), path);
    else writeFileSync(path, file.text);
  }
};

/**
 * Makes the tree unless it is whole already. It is made beside its place and moved there when it is whole, so that one which
 * stands can be relied on. Throws when not run as root, when something else is in its place, or when a step fails.
 */
export const makeTree = (directory: string, tell: (line: string) => void): void => {
  const lacking = missingIn(directory);
  if (lacking.length === 0) {
    tell(`${directory} stands already: nothing to do`);
    return;
  }
  if (existsSync(directory) && readdirSync(directory).length > 0) {
    throw new Error(`${directory} lacks ${lacking.join(', ')}: remove it, or name another by SWITCHBACK_SERVICES`);
  }
  if (process.getuid?.() !== 0) throw new Error('only root can make a tree of another suite: it is used by chroot');
  const mirror = findMirror();
  requireMaker(tell);
  tell(`making ${directory}: ${Object.keys(SERVICES).join(', ')} of ${SUITE} from ${mirror}; this takes half a minute`);
  mkdirSync(dirname(directory), { recursive: true });
  const draft = mkdtempSync(`${directory}.`);
  try {
    unpack(draft, mirror);
    const missing = missingIn(draft);
    if (missing.length > 0) throw new Error(`the packages of ${SUITE} came without ${missing.join(', ')}`);
    chmodSync(draft, 0o755);
    renameSync(draft, directory);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    throw error;
  }
  tell(`made ${directory}`);
};

/**
 * The words before a program of the tree and its arguments. Files in the directories for temporary files have the same names
 * for it as outside. It becomes the process that is started, so that signals reach it. Needs root.
 */
export const insideTree = (directory: string, runAs: { readonly uid?: number; readonly gid?: number } = {}) => {
  const shared = ['/tmp', '/var/tmp', tmpdir()].filter((path, index, all) => all.indexOf(path) === index);
  const user = runAs.uid === undefined ? [] : [`--userspec=${runAs.uid}:${runAs.gid ?? runAs.uid}`];
  return ['unshare', '--mount', 'sh', '-c', ENTER, directory, ...shared, '--', ...user, directory];
};

/** Why a program of the tree cannot be run, with what to do; undefined when it can. */
export const serviceProblem = (name: ServiceName): string | undefined => {
  const directory = servicesDirectory();
  if (!existsSync(join(directory, SERVICES[name]))) {
    return `no ${name} in ${directory}: make it with npm run services, or name a tree by SWITCHBACK_SERVICES`;
  }
  if (process.getuid?.() !== 0) return `only root can enter ${directory}`;
  const [program = '', ...words] = [...insideTree(directory), '/usr/bin/true'];
  const { status, error, stderr } = spawnSync(program, words, { encoding: 'utf8' });
  return status === 0 ? undefined : `${directory} cannot be entered: ${error?.message ?? stderr.trim()}`;
};
