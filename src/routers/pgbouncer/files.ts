import { EntryFiles } from '../entry-files.ts';
import { type Entry, IniError, readEntry, sameAddress, writeEntry } from './ini.ts';

/** Entries of `[databases]` in PgBouncer's files. */
export const databaseFiles = new EntryFiles<string, Entry>({
  what: "PgBouncer's databases",
  remedy: 'name the file that has the entry as `config` in the plan, or give the database one entry of its own',
  read: readEntry,
  write: writeEntry,
  isSame: (a, b) => a.epoch === b.epoch && sameAddress(a.address, b.address),
  Misread: IniError,
});
