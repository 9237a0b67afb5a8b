import { existsSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, open, readdir, rm, stat, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import { DirectoryObjects } from '../../platform/objects/directory.ts';
import type { Envelope, SealedObject } from '../../platform/objects/envelope.ts';
import type { Objects } from '../../platform/objects/objects.ts';
import type { WaitOptions } from '../store.ts';

const READ_BYTES = 1024 * 1024;
/** However many jobs there are: with S3 some 64 MB of each are in memory. */
const FILES_AT_ONCE = 8;

const failed = (what: string, error: unknown): SwitchbackError => {
  if (error instanceof SwitchbackError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return new SwitchbackError(
    code === 'EACCES' || code === 'EPERM' ? 'refused' : 'unreachable',
    `${what} failed: ${messageOf(error)}`,
    {
      remedy: 'make room where temporary files go, or let TMPDIR name a larger disk; then give the command again',
      cause: error,
    },
  );
};

/**
 * Directories for what stands between PostgreSQL's programs and the objects. Each has the name of a snapshot or of a restored
 * place, and begins with removing what a process that died left under the same name.
 */
export class Spool {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** Where it is, for people. */
  get label(): string {
    return this.#root;
  }

  /** Bytes that are free for us there, or where it would be made. */
  async free(): Promise<bigint> {
    let path = this.#root;
    while (!existsSync(path)) path = dirname(path);
    try {
      const { bavail, bsize } = await statfs(path, { bigint: true });
      return bavail * bsize;
    } catch (error) {
      throw failed(`looking at ${path}`, error);
    }
  }

  /** Lets work have an empty directory, and removes it. */
  async with<T>(name: string, work: (directory: string) => Promise<T>): Promise<T> {
    const prefix = `${name}.`;
    let directory: string;
    try {
      await mkdir(this.#root, { recursive: true, mode: 0o700 });
      await requireOwn(this.#root);
      for (const found of await readdir(this.#root))
        if (found.startsWith(prefix)) await remove(join(this.#root, found));
      directory = await mkdtemp(join(this.#root, prefix));
    } catch (error) {
      throw failed(`making a directory in ${this.#root}`, error);
    }
    try {
      return await work(directory);
    } finally {
      await remove(directory);
    }
  }
}

/**
 * Where dumps stand while they are made and read: on the disk of the snapshots themselves, which has to have the room, or among
 * temporary files when those are elsewhere.
 */
export const spoolFor = (objects: Objects): Spool =>
  new Spool(
    objects instanceof DirectoryObjects
      ? join(objects.label, '.spool')
      : join(tmpdir(), `switchback-spool-${process.getuid?.() ?? 'all'}`),
  );

/** Somebody else's directory under our name, or one that a link of theirs leads to, could be changed by them at any time. */
const requireOwn = async (path: string): Promise<void> => {
  const stats = await lstat(path);
  if (stats.isDirectory() && stats.uid === (process.getuid?.() ?? stats.uid)) return;
  throw new SwitchbackError('refused', `${path} is no directory of ours`, {
    remedy: 'let TMPDIR name a directory that is ours alone',
  });
};

/** A program that was killed with its process may still be writing for a moment. */
const remove = (path: string): Promise<void> =>
  rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });

const bytesOf = async function* (path: string): AsyncGenerator<Uint8Array> {
  const handle = await open(path, 'r');
  try {
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
};

/** What a transfer is told besides. */
export interface Transfer {
  readonly envelope: Envelope;
  /** Prefix of the keys: `shop-20261127-101500-ab12/data`. */
  readonly prefix: string;
  readonly parallel: number;
  readonly signal: AbortSignal;
  /** Called with the bytes of each file that is through. Must not throw. */
  readonly onBytes: (bytes: number) => void;
}

/** A transfer of a snapshot's objects that is told as it goes on; `total` is null where it is not known before. */
export const transferOf = (
  about: { readonly envelope: Envelope; readonly id: string; readonly parallel: number; readonly total: number | null },
  { signal, progress }: WaitOptions,
): Transfer => {
  const { envelope, id, total } = about;
  const parallel = Math.min(about.parallel, FILES_AT_ONCE);
  let done = 0;
  const onBytes = (bytes: number): void => {
    done += bytes;
    if (total === null) progress({ text: `${done} bytes kept in ${envelope.objects.label}`, percent: null });
    else progress({ text: `${done} of ${total} bytes proven`, percent: (100 * done) / Math.max(1, total) });
  };
  return { envelope, prefix: `${id}/data`, parallel, signal, onBytes };
};

/** Does something for each item, several at once; the first failure ends the others, after the item that each is at. */
const forEach = async <T>(items: readonly T[], { parallel, signal }: Transfer, act: (item: T) => Promise<void>) => {
  const queue = items.values();
  let isOver = false;
  const lanes = Array.from({ length: Math.min(parallel, items.length) }, async () => {
    try {
      for (const item of queue) {
        if (isOver) return;
        signal.throwIfAborted();
        await act(item);
      }
    } finally {
      isOver = true;
    }
  });
  const settled = await Promise.allSettled(lanes);
  for (const lane of settled) if (lane.status === 'rejected') throw lane.reason;
};

/** Puts every file of a directory as an object. The records are in the order of their keys. */
export const putFiles = async (directory: string, transfer: Transfer): Promise<readonly SealedObject[]> => {
  const names = (await readdir(directory)).toSorted();
  const records: SealedObject[] = [];
  await forEach(names, transfer, async (name) => {
    const path = join(directory, name);
    const { size } = await stat(path);
    const record = await transfer.envelope.put(`${transfer.prefix}/${name}`, bytesOf(path), size);
    // Nobody needs it any more, and the next ones find more room.
    await rm(path);
    transfer.onBytes(record.bytes);
    records.push(record);
  });
  return records.toSorted((a, b) => (a.key < b.key ? -1 : 1));
};

/** Gets objects as files of a directory. Throws kind `refused` as soon as one is not what was put. */
export const getFiles = async (
  objects: readonly SealedObject[],
  directory: string,
  transfer: Transfer,
): Promise<void> => {
  await forEach(objects, transfer, async (object) => {
    const path = join(directory, fileOf(object, transfer));
    const handle = await open(path, 'wx', 0o600).catch((error: unknown) => {
      throw failed(`writing ${path}`, error);
    });
    try {
      for await (const piece of transfer.envelope.get(object)) {
        transfer.signal.throwIfAborted();
        await handle.writeFile(piece).catch((error: unknown) => {
          throw failed(`writing ${path}`, error);
        });
      }
    } finally {
      await handle.close();
    }
    transfer.onBytes(object.bytes);
  });
};

/** Never a path: a manifest that names one is none of ours. */
const fileOf = ({ key }: SealedObject, { prefix }: Transfer): string => {
  const name = key.slice(prefix.length + 1);
  if (key === `${prefix}/${name}` && /^[A-Za-z0-9_=-][A-Za-z0-9._=-]*$/.test(name)) return name;
  throw new SwitchbackError('refused', `${JSON.stringify(key)} is no object of ${dirname(prefix)}`, {
    remedy: 'see who wrote the manifest of this snapshot',
  });
};
