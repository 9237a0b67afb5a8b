import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import { type FileContent, readContent, replaceFile, syncFile } from '../../platform/replace-file.ts';
import { inTurn } from '../in-turn.ts';
import { type Entry, IniError, readEntry, sameAddress, writeEntry } from './ini.ts';

/** How often a change is begun anew because another process wrote in between, before a file counts as contended. */
const MAX_ATTEMPTS = 20;

/** The entries that a file shall have, by database, made from those it has. Throws where a condition does not hold. */
export type Change = (entryOf: (database: string) => Entry, path: string) => ReadonlyMap<string, Entry>;

const unreachable = (path: string, cause: unknown): SwitchbackError =>
  new SwitchbackError('unreachable', `PgBouncer's databases in ${path}: ${messageOf(cause)}`, {
    remedy: 'give this user the right to read the file and to write in its folder, and to keep its owner',
    cause,
  });

const asked = async <T>(path: string, work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    throw unreachable(path, error);
  }
};

const entryIn = (path: string, { bytes }: FileContent, database: string): Entry => {
  try {
    if (bytes === null) throw new IniError('there is no such file');
    return readEntry(bytes, database);
  } catch (error) {
    if (!(error instanceof IniError)) throw error;
    throw new SwitchbackError('refused', `PgBouncer's databases in ${path}: ${error.message}`, {
      remedy: 'name the file that has the entry as `config` in the plan, or give the database one entry of its own',
      cause: error,
    });
  }
};

/** What a file says of a database. Throws kind `refused` when it has no entry that we understand. */
export const readDatabase = async (path: string, database: string): Promise<Entry> =>
  entryIn(path, await asked(path, () => readContent(path)), database);

const sameEntry = (a: Entry, b: Entry): boolean => a.epoch === b.epoch && sameAddress(a.address, b.address);

/** A file as it was read and as it is to be; null where it is so already. */
interface Draft {
  readonly path: string;
  readonly content: FileContent;
  readonly bytes: Buffer | null;
}

const draftOf = async (path: string, change: Change): Promise<Draft> => {
  const content = await asked(path, () => readContent(path));
  const entryOf = (database: string): Entry => entryIn(path, content, database);
  const different = [...change(entryOf, path)].filter(([database, entry]) => !sameEntry(entry, entryOf(database)));
  if (different.length === 0 || content.bytes === null) return { path, content, bytes: null };
  const bytes = different.reduce((text, [database, entry]) => writeEntry(text, database, entry), content.bytes);
  return { path, content, bytes };
};

/** Whether the file is as it is to be, and durable; false when somebody wrote in between. */
const write = ({ path, content, bytes }: Draft): Promise<boolean> =>
  asked(path, async () => {
    if (bytes !== null) return (await replaceFile(content, bytes)).stillAsRead;
    // A worker that died before its last fsync may have written what we find.
    await syncFile(content.path);
    return true;
  });

const changeAll = async (paths: readonly string[], change: Change): Promise<void> => {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const drafts: Draft[] = [];
    for (const path of paths) drafts.push(await draftOf(path, change));
    let isWritten = true;
    for (const draft of drafts) isWritten = isWritten && (await write(draft));
    if (isWritten) return;
  }
  throw unreachable(paths.join(', '), new Error(`somebody else wrote there ${MAX_ATTEMPTS} times while we did`));
};

/**
 * Changes several files, each atomically and durably; what is no entry of these databases stays as it is. The conditions of
 * all are looked at before the first is written. A crash in between leaves some changed, and the repeated change finds them so.
 */
export const changeDatabases = (paths: readonly string[], change: Change): Promise<void> =>
  // In one order, so that two routers which share files do not wait for each other.
  paths.toSorted().reduceRight<() => Promise<void>>(
    (work, path) => () => inTurn(path, work),
    () => changeAll(paths, change),
  )();
