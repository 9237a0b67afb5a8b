import { constants } from 'node:fs';
import { type FileHandle, link, lstat, open, readlink, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

/** More than any file that names routes; a larger one was named by mistake. */
const MAX_BYTES = 1024 * 1024;
const MAX_LINKS = 40;

let replacements = 0;

/** What a file held when it was read; `bytes` is null when there was none. */
export interface FileContent {
  /** The real file behind any symbolic links, also when it is not there yet. */
  readonly path: string;
  readonly bytes: Buffer | null;
}

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;

const unlessMissing = (error: unknown): null => {
  if (hasCode(error, 'ENOENT')) return null;
  throw error;
};

/** The real path of a file, following links also to a file that is not there yet. */
const realFile = async (path: string, links = 0): Promise<string> => {
  const real = await realpath(path).catch(unlessMissing);
  if (real !== null) return real;
  const folder = await realpath(dirname(path));
  const here = join(folder, basename(path));
  const stats = await lstat(here).catch(unlessMissing);
  if (stats === null) return here;
  if (!stats.isSymbolicLink() || links >= MAX_LINKS) throw new Error(`${path} is a link that leads nowhere`);
  return realFile(resolve(folder, await readlink(here)), links + 1);
};

/** Reads a whole regular file. Throws for anything else, and for one of more than 1 MiB. */
export const readContent = async (path: string): Promise<FileContent> => {
  const real = await realFile(path);
  const stats = await lstat(real).catch(unlessMissing);
  if (stats === null) return { path: real, bytes: null };
  if (!stats.isFile()) throw new Error(`${real} is not a regular file`);
  if (stats.size > MAX_BYTES) throw new Error(`${real} is larger than ${MAX_BYTES} bytes`);
  const handle = await open(real, 'r').catch(unlessMissing);
  if (handle === null) return { path: real, bytes: null };
  try {
    return { path: real, bytes: await handle.readFile() };
  } finally {
    await handle.close();
  }
};

/** Makes a file and its name durable, for a caller that found what it wanted and cannot know who wrote it when. */
export const syncFile = async (path: string): Promise<void> => {
  await syncAt(path, constants.O_RDONLY);
  await syncAt(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
};

const syncAt = async (path: string, flags: number): Promise<void> => {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

/** Gives a new file the mode and owner of the one it replaces; throws when we may not, since readers could be locked out. */
const inherit = async (handle: FileHandle, path: string): Promise<void> => {
  const old = await lstat(path).catch(unlessMissing);
  if (old === null) return;
  const own = await handle.stat();
  if (own.uid !== old.uid || own.gid !== old.gid) await handle.chown(old.uid, old.gid);
  await handle.chmod(old.mode & 0o7777);
};

const temporaryFor = (path: string): string =>
  join(dirname(path), `.${basename(path)}.switchback-${process.pid}-${++replacements}`);

/** Makes the file that is to take a place, durably, with the mode and owner of what is there. */
const make = async (temporary: string, path: string, bytes: Uint8Array): Promise<void> => {
  const handle = await open(temporary, 'wx', 0o644);
  try {
    await inherit(handle, path);
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
};

/**
 * Throws where `replaceFile` would fail, as far as that can be seen without replacing anything, and leaves nothing behind:
 * makes the new file with all of the content, mode and owner. A file that is mounted by itself is told by a hard link, which
 * fails with EXDEV across mounts; comparing devices would miss one that is mounted from the same file system.
 */
export const tryReplacing = async (path: string): Promise<void> => {
  const read = await readContent(path);
  const temporary = temporaryFor(read.path);
  try {
    await make(temporary, read.path, read.bytes ?? new Uint8Array());
    await rm(temporary);
    await link(read.path, temporary).catch((error: unknown) => {
      if (hasCode(error, 'EXDEV'))
        throw new Error(`${read.path} is mounted by itself, so that no other can take its place`);
    });
  } finally {
    await rm(temporary, { force: true });
  }
};

/**
 * Replaces a file atomically and durably: readers see the old or the new content, also after a power cut. Mode and owner
 * are kept; access control lists, extended attributes and further hard links are not. `stillAsRead` false means that
 * somebody wrote in between, and nothing was changed. A write by another process in the moment between that look and the
 * rename would be lost; within one process the caller keeps writes apart.
 */
export const replaceFile = async (read: FileContent, bytes: Uint8Array): Promise<{ readonly stillAsRead: boolean }> => {
  const folder = dirname(read.path);
  const temporary = temporaryFor(read.path);
  try {
    await make(temporary, read.path, bytes);
    const now = await readContent(read.path);
    if (!sameBytes(now.bytes, read.bytes)) {
      await rm(temporary);
      return { stillAsRead: false };
    }
    await rename(temporary, read.path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncAt(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  return { stillAsRead: true };
};

const sameBytes = (a: Buffer | null, b: Buffer | null): boolean => (a === null || b === null ? a === b : a.equals(b));
