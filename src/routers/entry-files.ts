import { messageOf, SwitchbackError } from '../domain/errors.ts';
import { type FileContent, readContent, replaceFile, syncFile } from '../platform/replace-file.ts';
import { inTurn } from './in-turn.ts';

/** How often a change is begun anew because another process wrote in between, before a file counts as contended. */
const MAX_ATTEMPTS = 20;

/** A format in which a file of somebody else's has entries that lead somewhere, each with a name. */
export interface EntryFormat<Name, Entry> {
  /** For messages: what of whom is in the file. */
  readonly what: string;
  /** What to do about an entry that is not understood. */
  readonly remedy: string;
  /** Throws an error of class `Misread` when there is no such entry that we understand. */
  read(bytes: Buffer, name: Name): Entry;
  /** The same file with another entry; whatever else is in it stays, byte for byte. Throws as `read` does. */
  write(bytes: Buffer, name: Name, entry: Entry): Buffer;
  isSame(a: Entry, b: Entry): boolean;
  readonly Misread: new (message: string) => Error;
}

/** The entries that a file shall have, made from those it has. Throws where a condition does not hold. */
export type EntryChange<Name, Entry> = (
  entryOf: (name: Name) => Entry,
  path: string,
) => readonly (readonly [Name, Entry])[];

/** A file as it was read and as it is to be; null where it is so already. */
interface Draft {
  readonly path: string;
  readonly content: FileContent;
  readonly bytes: Buffer | null;
}

/** The files of instances, each once: several may share one. */
export const filesOf = (instances: readonly { readonly config: string }[]): readonly string[] => [
  ...new Set(instances.map(({ config }) => config)),
];

/** Entries in files of somebody else's, each file changed atomically and durably. */
export class EntryFiles<Name, Entry> {
  readonly #format: EntryFormat<Name, Entry>;

  constructor(format: EntryFormat<Name, Entry>) {
    this.#format = format;
  }

  /**
   * What is found in a file. Throws kind `refused` when it has no such entry that we understand, `unreachable` when it cannot
   * be read.
   */
  async look<T>(path: string, find: (bytes: Buffer) => T): Promise<T> {
    const content = await this.#asked(path, () => readContent(path));
    return this.#found(path, content, find);
  }

  /** What a file says of a name. Throws as `look` does. */
  read(path: string, name: Name): Promise<Entry> {
    return this.look(path, (bytes) => this.#format.read(bytes, name));
  }

  /**
   * Changes several files; what is no entry of these names stays as it is. The conditions of all are looked at before the
   * first is written. A crash in between leaves some changed, and the repeated change finds them so.
   */
  change(paths: readonly string[], change: EntryChange<Name, Entry>): Promise<void> {
    // In one order, so that two routers which share files do not wait for each other.
    return paths.toSorted().reduceRight<() => Promise<void>>(
      (work, path) => () => inTurn(path, work),
      () => this.#changeAll(paths, change),
    )();
  }

  async #changeAll(paths: readonly string[], change: EntryChange<Name, Entry>): Promise<void> {
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      const drafts: Draft[] = [];
      for (const path of paths) drafts.push(await this.#draftOf(path, change));
      let isWritten = true;
      for (const draft of drafts) isWritten = isWritten && (await this.#write(draft));
      if (isWritten) return;
    }
    throw this.#unreachable(
      paths.join(', '),
      new Error(`somebody else wrote there ${MAX_ATTEMPTS} times while we did`),
    );
  }

  async #draftOf(path: string, change: EntryChange<Name, Entry>): Promise<Draft> {
    const { read, write, isSame } = this.#format;
    const content = await this.#asked(path, () => readContent(path));
    const entryOf = (name: Name): Entry => this.#found(path, content, (bytes) => read(bytes, name));
    const different = change(entryOf, path).filter(([name, entry]) => !isSame(entry, entryOf(name)));
    if (different.length === 0 || content.bytes === null) return { path, content, bytes: null };
    const bytes = different.reduce((text, [name, entry]) => write(text, name, entry), content.bytes);
    return { path, content, bytes };
  }

  /** Whether the file is as it is to be, and durable; false when somebody wrote in between. */
  #write({ path, content, bytes }: Draft): Promise<boolean> {
    return this.#asked(path, async () => {
      if (bytes !== null) return (await replaceFile(content, bytes)).stillAsRead;
      // A worker that died before its last fsync may have written what we find.
      await syncFile(content.path);
      return true;
    });
  }

  #found<T>(path: string, { bytes }: FileContent, find: (bytes: Buffer) => T): T {
    const { Misread, what, remedy } = this.#format;
    try {
      if (bytes === null) throw new Misread('there is no such file');
      return find(bytes);
    } catch (error) {
      if (!(error instanceof Misread)) throw error;
      throw new SwitchbackError('refused', `${what} in ${path}: ${error.message}`, { remedy, cause: error });
    }
  }

  async #asked<T>(path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#unreachable(path, error);
    }
  }

  #unreachable(path: string, cause: unknown): SwitchbackError {
    return new SwitchbackError('unreachable', `${this.#format.what} in ${path}: ${messageOf(cause)}`, {
      remedy: 'give this user the right to read the file and to write in its folder, and to keep its owner',
      cause,
    });
  }
}
