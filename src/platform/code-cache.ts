import { mkdirSync, realpathSync, statSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

const EVERYBODY_ELSE = 0o077;
const OTHERS_WRITE = 0o022;
/** Entries of such a folder are renamed and removed by their owners alone, as in `/tmp`. */
const STICKY = 0o1000;

/**
 * Whether nobody but this user and root can write into a folder or put another in its place. Throws when it cannot be
 * looked at. Where users have no numbers (Windows), a profile is its user's alone.
 */
export const isPrivateFolder = (folder: string): boolean => {
  const user = process.getuid?.();
  if (user === undefined) return true;
  const path = realpathSync(folder);
  const own = statSync(path);
  if (own.uid !== user || (own.mode & EVERYBODY_ELSE) !== 0) return false;
  for (let at = path; at !== dirname(at); at = dirname(at)) {
    const { uid, mode } = statSync(dirname(at));
    if (uid !== user && uid !== 0) return false;
    if ((mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0) return false;
  }
  return true;
};

/** Where programs of this user keep what can be made again. Absolute. */
const cacheFolder = (): string => {
  const { XDG_CACHE_HOME: named } = process.env;
  return named !== undefined && isAbsolute(named) ? named : join(homedir(), '.cache');
};

/**
 * Lets Node keep the compiled code of our modules for the next start. What lies there is executed without a look at who
 * made it, so it is kept in a folder of this user's alone, never in Node's own choice, which is below `/tmp`. Without such
 * a folder (no home, a read-only one, one that others may write to) every start compiles again and nothing else is
 * different. `NODE_COMPILE_CACHE` and `NODE_DISABLE_COMPILE_CACHE` are Node's own and come first.
 */
export const keepCompiledCode = (): void => {
  try {
    const folder = join(cacheFolder(), 'switchback');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (isPrivateFolder(folder)) enableCompileCache(folder);
  } catch {
    // It only saves time.
  }
};
