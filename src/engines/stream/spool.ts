import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';

/** Room is looked at before the first byte, and again whenever this many have been written. */
const LOOK_EVERY_BYTES = 16 * 2 ** 20;
/** Others need the disk too, and one of them may be the source itself (L4): this share of it stays free. */
const KEPT_FREE = 1 / 20;

/**
 * Where a lane's temporary files are made. What it shows on its first failure holds for as long as the lane is open: it is
 * not usable. A worker that begins anew tries again.
 */
export class SpoolPlace {
  readonly directory: string;
  readonly #keptFree: number;
  #isUsable = true;

  /** `keptFree` is the share of that disk, between 0 and 1, that is left to others. */
  constructor(directory: string, keptFree: number = KEPT_FREE) {
    this.directory = directory;
    this.#keptFree = keptFree;
  }

  /** Whether nothing has failed yet. */
  get isUsable(): boolean {
    return this.#isUsable;
  }

  /** Throws when less is free than has to stay so. */
  async assertRoom(): Promise<void> {
    const { bavail, blocks } = await statfs(this.directory);
    if (bavail < blocks * this.#keptFree) throw new Error(`less than ${this.#keptFree * 100}% of that disk is free`);
  }

  /** Gives it up, and says so: kind `busy`. */
  giveUp(error: unknown): SwitchbackError {
    this.#isUsable = false;
    return new SwitchbackError(
      'busy',
      `${this.directory} cannot hold a large transaction until it commits (${messageOf(error)}); from now on the server that it comes from has to`,
      { remedy: 'nothing is lost; give the worker a TMPDIR with more room, and start it again', cause: error },
    );
  }
}

/**
 * A temporary file that is written from its beginning to its end and read from anywhere. Only its maker can open it, and it
 * has no name from the moment that it is there: however the process ends, the system takes back the room. It is made by
 * the first write. Every call may reject with kind `busy`; see {@link SpoolPlace.giveUp}.
 */
export class Spool {
  readonly #place: SpoolPlace;
  #handle: FileHandle | undefined;
  #writing: Promise<void> = Promise.resolve();
  #bytes = 0;
  #lookAt = 0;

  constructor(place: SpoolPlace) {
    this.#place = place;
  }

  /** Bytes handed over so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Writes behind what was handed over before; the bytes must not be written to until it resolves. */
  append(bytes: Buffer): Promise<void> {
    const at = this.#bytes;
    this.#bytes += bytes.length;
    this.#writing = this.#writing.then(() => this.#orGiveUp(() => this.#write(bytes, at)));
    return this.#writing;
  }

  /** A new buffer with exactly these bytes, all of which have been handed over. */
  async read(at: number, length: number): Promise<Buffer> {
    await this.#writing;
    return await this.#orGiveUp(() => this.#read(at, length));
  }

  /** Ends it, and with it the file. Never rejects. */
  async close(): Promise<void> {
    await this.#writing.catch(() => undefined);
    await this.#handle?.close().catch(() => undefined);
    this.#handle = undefined;
  }

  async #write(bytes: Buffer, at: number): Promise<void> {
    if (at >= this.#lookAt) {
      await this.#place.assertRoom();
      this.#lookAt = at + LOOK_EVERY_BYTES;
    }
    this.#handle ??= await openNameless(this.#place.directory);
    for (let done = 0; done < bytes.length; ) {
      done += (await this.#handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
    }
  }

  async #read(at: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(length);
    for (let done = 0; done < length; ) {
      const { bytesRead = 0 } = (await this.#handle?.read(bytes, done, length - done, at + done)) ?? {};
      if (bytesRead === 0) throw new Error('the file has become shorter');
      done += bytesRead;
    }
    return bytes;
  }

  async #orGiveUp<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#place.giveUp(error);
    }
  }
}

/** Dying between the two leaves an empty file; nothing else ever stays. */
const openNameless = async (directory: string): Promise<FileHandle> => {
  const path = join(directory, `switchback-${process.pid}-${randomBytes(8).toString('hex')}`);
  const handle = await open(path, 'wx+', 0o600);
  try {
    await rm(path);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
};
