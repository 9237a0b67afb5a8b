import { constants, type Dirent } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import { partsOfKey, partsOfPrefix } from './key.ts';
import type { ObjectEntry, Objects } from './objects.ts';

const READ_BYTES = 1024 * 1024;
/** A folder that another process removes as empty, between our making it and our writing there, is made again. */
const TRIES = 5;

/** The caller's rights do not allow it, or something else stands there. */
const REFUSED = new Set([
  'EACCES',
  'EPERM',
  'EROFS',
  'ENOENT',
  'ENOTDIR',
  'EISDIR',
  'ENAMETOOLONG',
  'ELOOP',
  'ENOTEMPTY',
]);
const NO_ROOM = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

let writes = 0;

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';

const unlessMissing = (error: unknown): null => {
  if (codeOf(error) === 'ENOENT') return null;
  throw error;
};

/**
 * Objects as files of a directory, which is made if only itself is missing: a place whose folder is not there is a disk that
 * is not mounted. An object is written under another name beside its own, and gets that when all of it is on disk. Names that
 * begin with a dot are no objects.
 */
export class DirectoryObjects implements Objects {
  readonly label: string;

  constructor(root: string) {
    this.label = resolve(root);
  }

  async put(key: string, bytes: AsyncIterable<Uint8Array>): Promise<ObjectEntry> {
    const path = this.#pathOf(key);
    const act = this.#acting(`writing ${path}`);
    const { handle, temporary } = await act(() => this.#begin(path));
    let size = 0;
    try {
      try {
        // What the source throws is its own.
        for await (const piece of bytes) {
          await act(() => handle.writeFile(piece));
          size += piece.length;
        }
        await act(() => handle.sync());
      } finally {
        await handle.close();
      }
      await act(() => rename(temporary, path));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    await act(() => syncFolder(dirname(path)));
    return { key, bytes: size };
  }

  async *get(key: string, from = 0): AsyncGenerator<Uint8Array> {
    const path = this.#pathOf(key);
    const act = this.#acting(`reading ${path}`);
    const handle = await act(() => open(path, 'r'));
    try {
      for (let at = from; ; ) {
        const { bytesRead, buffer } = await act(() => handle.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES, at));
        if (bytesRead === 0) return;
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await handle.close();
    }
  }

  async *list(prefix: string): AsyncGenerator<ObjectEntry> {
    yield* this.#below(partsOfPrefix(prefix));
  }

  async remove(key: string): Promise<void> {
    const parts = partsOfKey(key);
    const path = this.#pathOf(key);
    await this.#acting(`removing ${path}`)(async () => {
      if ((await stat(dirname(path)).catch(unlessMissing)) === null) return;
      await rm(path, { force: true });
      await removeLeftOvers(path);
      await syncFolder(dirname(path)).catch(unlessMissing);
    });
    for (let depth = parts.length - 1; depth > 0; depth--) {
      const isGone = await rmdir(join(this.label, ...parts.slice(0, depth))).then(
        () => true,
        () => false,
      );
      if (!isGone) return;
    }
  }

  #pathOf(key: string): string {
    return join(this.label, ...partsOfKey(key));
  }

  /** Opens the file that is to become the object. What earlier attempts left of it goes; one that still runs then fails. */
  async #begin(path: string): Promise<{ readonly handle: FileHandle; readonly temporary: string }> {
    for (let attempt = 1; ; attempt++) {
      await this.#makeFolder(dirname(path));
      const temporary = `${temporaryPrefix(path)}${process.pid}-${++writes}`;
      try {
        await removeLeftOvers(path);
        return { handle: await open(temporary, 'wx', 0o600), temporary };
      } catch (error) {
        if (codeOf(error) !== 'ENOENT' || attempt === TRIES) throw error;
      }
    }
  }

  /** Makes a folder and those above it up to the place itself, each durably. */
  async #makeFolder(path: string): Promise<void> {
    if ((await stat(path).catch(unlessMissing)) !== null) return;
    if (path !== this.label) await this.#makeFolder(dirname(path));
    await mkdir(path, 0o700).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
    });
    await syncFolder(dirname(path));
  }

  /** Objects below a folder, in the order of their keys: a folder's own name counts with the `/` behind it. */
  async *#below(parts: readonly string[]): AsyncGenerator<ObjectEntry> {
    const folder = join(this.label, ...parts);
    const act = this.#acting(`reading ${folder}`);
    const found = (await act(() => readdir(folder, { withFileTypes: true }).catch(unlessMissing))) ?? [];
    if (found.length === 0 && parts.length === 0) await act(() => this.#requireParent());
    for (const { entry, name } of inOrder(found)) {
      if (entry.isDirectory()) yield* this.#below([...parts, entry.name]);
      if (!entry.isFile()) continue;
      const stats = await act(() => stat(join(folder, name)).catch(unlessMissing));
      if (stats !== null) yield { key: [...parts, name].join('/'), bytes: stats.size };
    }
  }

  /** An empty list from a disk that is not mounted would say that there are no objects. */
  async #requireParent(): Promise<void> {
    await stat(dirname(this.label));
  }

  #acting(what: string) {
    return async <T>(work: () => Promise<T>): Promise<T> => {
      try {
        return await work();
      } catch (error) {
        throw this.#failure(what, error);
      }
    };
  }

  #failure(what: string, error: unknown): SwitchbackError {
    const code = codeOf(error);
    const kind = REFUSED.has(code) ? 'refused' : 'unreachable';
    const remedy = NO_ROOM.has(code)
      ? `make room on the disk of ${this.label}, or name another place`
      : code === 'ENOENT'
        ? `see that it is there, and that the disk of ${this.label} is mounted`
        : `let our user read and write ${this.label}, and see that its disk answers`;
    return new SwitchbackError(kind, `${what} failed: ${messageOf(error)}`, { remedy, cause: error });
  }
}

const inOrder = (entries: readonly Dirent[]): readonly { readonly entry: Dirent; readonly name: string }[] =>
  entries
    .filter(({ name }) => !name.startsWith('.'))
    .map((entry) => ({ entry, name: entry.name, order: entry.isDirectory() ? `${entry.name}/` : entry.name }))
    .sort((a, b) => Buffer.compare(Buffer.from(a.order), Buffer.from(b.order)));

const temporaryPrefix = (path: string): string =>
  join(dirname(path), `.${path.slice(dirname(path).length + 1)}.writing-`);

/** Removes what processes that died have left of an object that they were writing. */
const removeLeftOvers = async (path: string): Promise<void> => {
  const prefix = temporaryPrefix(path).slice(dirname(path).length + 1);
  const names = (await readdir(dirname(path)).catch(unlessMissing)) ?? [];
  for (const name of names) if (name.startsWith(prefix)) await rm(join(dirname(path), name), { force: true });
};

const syncFolder = async (path: string): Promise<void> => {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};
