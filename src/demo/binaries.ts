import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { SwitchbackError } from '../domain/errors.ts';

/** The PostgreSQL majors that come as optional dependencies, each as the package `pg<major>`. */
export type EmbeddedMajor = 13 | 18;

/** Whom a child process runs as; empty for the user we are. */
export interface RunAs {
  readonly uid?: number;
  readonly gid?: number;
}

/** Where a server's programs are and as whom they have to be run. */
export interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
  readonly runAs: RunAs;
}

/** `nobody` and `nogroup` on Debian; the numbers work where the names do not exist. */
const UNPRIVILEGED: Required<RunAs> = { uid: 65534, gid: 65534 };

/** PostgreSQL refuses to run as root, so root runs it as an unprivileged user. */
export const unprivileged = (): RunAs => (process.getuid?.() === 0 ? UNPRIVILEGED : {});

/** A new directory for temporary data that the given user owns and can reach. The caller removes it. */
export const makeTemporaryDirectory = (prefix: string, owner: RunAs): string => {
  const directory = mkdtempSync(join(temporaryRootFor(owner), prefix));
  giveTo(directory, owner);
  return directory;
};

/** Makes the user the owner of one file or directory; nothing when it is the user we are. */
export const giveTo = (path: string, owner: RunAs): void => {
  if (owner.uid !== undefined && owner.gid !== undefined) chownSync(path, owner.uid, owner.gid);
};

/**
 * Finds the programs of a major and makes sure that they can be run. As root they may lie where the unprivileged user may
 * not look (a checkout below /root): then they are copied to the temporary directory once, and left there for the next time.
 * Throws kind `usage` when the optional dependency is not installed or does not run on this system.
 */
export const findBinaries = (major: EmbeddedMajor): Binaries => {
  const runAs = unprivileged();
  const native = installedAt(major);
  if (!existsSync(join(native, 'bin', 'postgres'))) throw unavailable(major, 'its package holds no server');
  const problem = runs(native, runAs);
  if (problem === undefined) return binariesIn(native, runAs);
  if (runAs.uid === undefined) throw unavailable(major, problem);
  const copy = copyFor(native, major);
  const stillWrong = runs(copy, runAs);
  if (stillWrong !== undefined) throw unavailable(major, stillWrong);
  return binariesIn(copy, runAs);
};

const binariesIn = (native: string, runAs: RunAs): Binaries => ({
  postgres: join(native, 'bin', 'postgres'),
  initdb: join(native, 'bin', 'initdb'),
  runAs,
});

const installedAt = (major: EmbeddedMajor): string => {
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`pg${major}`)), '..', 'native');
  } catch (error) {
    throw unavailable(major, 'it is not installed', error);
  }
};

const unavailable = (major: EmbeddedMajor, why: string, cause?: unknown): SwitchbackError =>
  new SwitchbackError('usage', `the embedded PostgreSQL ${major} cannot be used here: ${why}`, {
    remedy:
      'install with optional dependencies and install scripts on Linux x64 (npm install --include=optional), ' +
      'or name two empty databases of your own in SWITCHBACK_DEMO_SOURCE_URL and SWITCHBACK_DEMO_TARGET_URL',
    cause,
  });

/** What is wrong with the programs for that user, or undefined when they run. */
const runs = (native: string, runAs: RunAs): string | undefined => {
  const result = spawnSync(join(native, 'bin', 'postgres'), ['--version'], { ...runAs, cwd: '/', encoding: 'utf8' });
  if (result.status === 0) return undefined;
  return result.error?.message ?? (result.stderr.trim() || `exit code ${result.status}`);
};

/**
 * A copy that everybody can read, made by the first process that needs it. A directory in a sticky directory that belongs
 * to us cannot be changed or replaced by others; one of that name that is not ours is not trusted.
 */
const copyFor = (native: string, major: EmbeddedMajor): string => {
  const root = temporaryRootFor(unprivileged());
  const target = join(root, `switchback-pg${major}-programs-${versionAt(native)}`);
  if (existsSync(target)) {
    if (lstatSync(target).isDirectory() && lstatSync(target).uid === process.getuid?.()) return target;
    throw unavailable(major, `${target} belongs to somebody else`);
  }
  const draft = mkdtempSync(join(root, 'switchback-programs-'));
  cpSync(native, draft, { recursive: true, verbatimSymlinks: true });
  chmodSync(draft, 0o755);
  for (const entry of readdirSync(draft, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isSymbolicLink()) chmodSync(path, statSync(path).mode | (entry.isDirectory() ? 0o555 : 0o444));
  }
  for (const program of ['postgres', 'initdb']) chmodSync(join(draft, 'bin', program), 0o755);
  try {
    renameSync(draft, target);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
    // Another process was faster; its copy is as good as ours, and is looked at as above.
    return copyFor(native, major);
  }
  return target;
};

const versionAt = (native: string): string => {
  const manifest: unknown = JSON.parse(readFileSync(join(native, '..', 'package.json'), 'utf8'));
  const version = typeof manifest === 'object' && manifest !== null && 'version' in manifest ? manifest.version : '';
  return String(version).replaceAll(/[^\w.-]/g, '');
};

const temporaryRootFor = (owner: RunAs): string =>
  [tmpdir(), '/tmp', '/var/tmp'].find((path) => owner.uid === undefined || isOpenToOthers(path)) ?? tmpdir();

const isOpenToOthers = (path: string): boolean => {
  if (!existsSync(path) || (statSync(path).mode & 0o001) === 0) return false;
  return path === dirname(path) || isOpenToOthers(dirname(path));
};
