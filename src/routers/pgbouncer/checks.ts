import { isKind, messageOf, type SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Side } from '../../domain/position.ts';
import { readContent, tryReplacing } from '../../platform/replace-file.ts';
import { configFiles } from './conffile.ts';
import type { Console, ShownDatabase } from './console.ts';
import { databaseFiles } from './files.ts';
import { type ForeignSettings, TRACKS_ALL, tracksAll } from './foreign.ts';
import { type Address, addressText, sameAddress } from './ini.ts';
import { ledText } from './sides.ts';

/** One pooler with the databases that it leads and where they may lead. */
export interface Inspected {
  readonly console: Console;
  /** The file with its entries. */
  readonly config: string;
  readonly databases: readonly string[];
  readonly addresses: Readonly<Record<Side, Address>>;
  /** How long a switch may keep clients waiting. */
  readonly windowMs: number;
  /** What one side reports to its clients and the other does not know; null for nothing. */
  readonly foreign: ForeignSettings | null;
}

/** Everything that would keep the router from leading clients, as far as it can be seen. Throws kind `unreachable`. */
export const inspect = async (it: Inspected): Promise<readonly Finding[]> => {
  try {
    const settings = await it.console.settings();
    const found: Finding[] = [...rightsOf(it, settings), ...waitingOf(it, settings), ...processesOf(it, settings)];
    for (const database of it.databases) found.push(...(await entryFindings(it, database, settings)));
    found.push(...(await trackingFindings(it)));
    found.push(...(await readingFindings(it, settings.get('conffile') ?? '')), ...(await writingFindings(it)));
    return found;
  } catch (error) {
    if (!isKind(error, 'refused')) throw error;
    return [blocking(it, 'router/refused', error.message, remedyOf(error))];
  }
};

const remedyOf = (error: SwitchbackError): string => error.remedy ?? 'mend that';

const blocking = (it: Inspected, id: string, fact: string, remedy: string): Finding => ({
  id,
  severity: 'blocks',
  subject: it.console.name,
  fact,
  remedy,
});

const rightsOf = (it: Inspected, settings: ReadonlyMap<string, string>): readonly Finding[] => {
  const admins = (settings.get('admin_users') ?? '').split(',').map((name) => name.trim());
  // Through its Unix socket, whoever runs it needs no entry.
  if (admins.includes(it.console.user) || it.console.user === 'pgbouncer') return [];
  const fact = `${it.console.user} may look and not pause: it is not in admin_users`;
  return [blocking(it, 'router/no-right', fact, `add ${it.console.user} to admin_users there, and RELOAD`)];
};

/** A client that waits longer is disconnected, so that holding would break what it is there to keep. */
const waitingOf = (it: Inspected, settings: ReadonlyMap<string, string>): readonly Finding[] => {
  const seconds = Number(settings.get('query_wait_timeout') ?? 0);
  if (seconds === 0 || seconds * 1_000 > it.windowMs) return [];
  const fact = `it ends clients that wait for ${seconds} s (query_wait_timeout), and the window is ${it.windowMs} ms`;
  return [blocking(it, 'router/waits-too-short', fact, 'raise query_wait_timeout there, or lower switch.window')];
};

/** Of several processes behind one port, each session reaches another one, and what is said to it stays with that one. */
const processesOf = (it: Inspected, settings: ReadonlyMap<string, string>): readonly Finding[] => {
  const isShared = it.console.port === Number(settings.get('listen_port') ?? it.console.port);
  if (settings.get('so_reuseport') !== '1' || it.console.port === null || !isShared) return [];
  const fact = `others may listen on port ${it.console.port} too (so_reuseport = 1), so that nobody knows which of them is asked`;
  const remedy = "name each process as one of the router's `admin`, by its own Unix socket or a port of its own";
  return [blocking(it, 'router/many-processes', fact, remedy)];
};

/**
 * Seen with 1.26.1 after a failback from 18 to 13: what the pool had learned of the 18 was set on the 13, which does not know
 * it. Clients that had connected meanwhile and all new ones were turned away, whatever was set on the console and whatever
 * `ignore_startup_parameters` said; only KILL, which makes the pool anew, let them in again. A switch that leads into that is
 * blocked before it begins; one that leads back from the target is not, since nobody may be kept from going back.
 */
const trackingFindings = async (it: Inspected): Promise<readonly Finding[]> => {
  if (it.foreign === null) return [];
  const version = await it.console.version();
  if (!tracksAll(version)) return [];
  const { names, unknownOn, action } = it.foreign;
  const when = unknownOn === 'source' ? 'a failback' : 'a cutover';
  const learned = `PgBouncer ${version} sets ${names.join(', ')} on the ${unknownOn}, which does not know it, for clients that connect while they are led to the other side`;
  const subject = it.console.name;
  if (action === 'end') {
    const fact = `${learned}: so ${when} ends all its clients once, and they connect again`;
    const remedy = `nothing, if they can; else use one before ${TRACKS_ALL.join('.')}`;
    return [{ id: 'router/ends-clients', severity: 'warns', subject, fact, remedy }];
  }
  const entries = await Promise.all(it.databases.map((database) => databaseFiles.read(it.config, database)));
  const isBefore = entries.some(({ address }) => sameAddress(address, it.addresses.source));
  const fact = `${learned}: after ${when} it turns them away, and everybody who is new`;
  const older = `or use one before ${TRACKS_ALL.join('.')} until the old server is gone`;
  const after = `or give it right after ${when}: ${it.databases.map((name) => `KILL ${name}; RESUME ${name}`).join('; ')}`;
  const remedy = `write foreign_settings: end for the router, so that its clients are ended once then, and connect again; ${isBefore ? older : after}`;
  return [{ id: 'router/unshared-setting', severity: isBefore ? 'blocks' : 'warns', subject, fact, remedy }];
};

/** Addresses that happen to be the same hide that a pooler reads another file, until nothing can be undone any more. */
const readingFindings = async (it: Inspected, conffile: string): Promise<readonly Finding[]> => {
  const { read, unread } = await configFiles(conffile);
  const { path } = await readContent(it.config);
  if (read.has(path)) return [];
  if (unread.length === 0 && it.console.isLocal) {
    const fact = `it reads ${[...read].join(', ')}, and not ${it.config}`;
    const remedy = 'name the one of them that has the entry as `config`, or include this one there and RELOAD it';
    return [blocking(it, 'router/file-not-read', fact, remedy)];
  }
  const why =
    unread.length === 0 ? 'it is on another machine' : `${unread.join(', ') || 'its own file'} cannot be read here`;
  const fact = `whether it reads ${it.config} cannot be told: ${why}`;
  const remedy = `see there that ${conffile} is that file or includes it; a switch is stopped behind its commit record if not`;
  return [{ id: 'router/file-unseen', severity: 'warns', subject: it.console.name, fact, remedy }];
};

/** Nothing is written before the commit record, behind which it has to succeed. */
const writingFindings = async (it: Inspected): Promise<readonly Finding[]> => {
  try {
    await tryReplacing(it.config);
    return [];
  } catch (error) {
    const fact = `${it.config} cannot be replaced: ${messageOf(error)}`;
    const remedy =
      'give this user the right to write in its folder and to keep its owner; where it is mounted, mount its folder';
    return [blocking(it, 'router/not-replaceable', fact, remedy)];
  }
};

const entryFindings = async (
  it: Inspected,
  database: string,
  settings: ReadonlyMap<string, string>,
): Promise<readonly Finding[]> => {
  const { address } = await databaseFiles.read(it.config, database);
  const shown = await it.console.database(database);
  return [
    ...placeFindings(it, database, { address, shown, conffile: settings.get('conffile') ?? '' }),
    ...modeFindings(it, database, shown?.poolMode ?? settings.get('pool_mode') ?? ''),
  ];
};

const placeFindings = (
  it: Inspected,
  database: string,
  seen: { readonly address: Address; readonly shown: ShownDatabase | null; readonly conffile: string },
): readonly Finding[] => {
  const { address, shown, conffile } = seen;
  if (shown === null || !sameAddress(address, shown.address)) {
    const fact = `it leads ${database} ${ledText(shown)}, and ${it.config} says ${addressText(address)}`;
    const remedy = `RELOAD it; or name the file that it reads, which begins at ${conffile}`;
    return [blocking(it, 'router/other-file', fact, remedy)];
  }
  const sides = Object.values(it.addresses);
  if (sides.some((one) => sameAddress(one, address))) return [];
  const fact = `${database} leads to ${addressText(address)}, and the sides are ${sides.map(addressText).join(' and ')}`;
  const remedy = "write what an entry says of each side under the router's `source` and `target`";
  return [blocking(it, 'router/leads-elsewhere', fact, remedy)];
};

const modeFindings = (it: Inspected, database: string, mode: string): readonly Finding[] => {
  if (mode !== 'session') return [];
  const fact = `${database} is pooled by session: who is connected when a switch begins cannot be held, only ended or waited for`;
  const remedy = 'use pool_mode = transaction if the application can; docs/repointing.md says what differs';
  return [{ id: 'router/session-pooling', severity: 'warns', subject: it.console.name, fact, remedy }];
};
