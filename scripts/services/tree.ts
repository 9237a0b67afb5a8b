import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mirrorIn } from './mirror.ts';

/** What the tree holds besides the base system: programs that npm has not, in versions that this distribution has not. */
const PACKAGES = ['pgcopydb', 'etcd-server'] as const;
/** The programs by which it is known that the tree is whole. */
const PROGRAMS = ['usr/bin/pgcopydb', 'usr/bin/psql', 'usr/bin/pg_dump', 'usr/bin/etcd'] as const;
const SUITE = 'unstable';
const APT = '/etc/apt';

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

const requireDebootstrap = (tell: (line: string) => void): void => {
  if (spawnSync('debootstrap', ['--version']).status === 0) return;
  tell('installing debootstrap');
  run(['apt-get', 'update', '-qq']);
  run(['apt-get', 'install', '-y', '-qq', '--no-install-recommends', 'debootstrap']);
};

/**
 * Makes the tree unless it is whole already. One that is not, after a run that was interrupted, is completed by
 * debootstrap's own rules. Throws when not run as root, or when a step fails.
 */
export const makeTree = (directory: string, tell: (line: string) => void): void => {
  if (missingIn(directory).length === 0) {
    tell(`${directory} stands already: nothing to do`);
    return;
  }
  if (process.getuid?.() !== 0) throw new Error('only root can make a tree of another suite: debootstrap needs chroot');
  const mirror = findMirror();
  requireDebootstrap(tell);
  tell(`making ${directory}: ${SUITE} from ${mirror} with ${PACKAGES.join(', ')}; this takes a minute`);
  run(['debootstrap', '--variant=minbase', `--include=${PACKAGES.join(',')}`, SUITE, directory, mirror]);
  const missing = missingIn(directory);
  if (missing.length > 0) throw new Error(`${directory} was made and lacks ${missing.join(', ')}`);
  tell(`made ${directory}`);
};
