import { EntryFiles } from '../entry-files.ts';
import { ConfigError, type Entry, readEntry, type ServerName, sameAddress, writeEntry } from './config.ts';

/** Servers in configuration files of HAProxy. */
export const configFiles = new EntryFiles<ServerName, Entry>({
  what: "HAProxy's configuration",
  remedy:
    'name the file that has the server as `config` in the plan, and write its address there as host:port, without a condition',
  read: readEntry,
  write: writeEntry,
  isSame: (a, b) => a.epoch === b.epoch && sameAddress(a.address, b.address),
  Misread: ConfigError,
});
