import { type Address, type ServerName, spelledHost } from './config.ts';

/** What HAProxy says over its runtime socket, read; nothing here talks. */

/** A server as a process has it now. */
export interface ShownServer {
  readonly name: string;
  /** The address itself, as `spelledHost` has it, never a name. */
  readonly address: Address;
  /** Whether it is taken for up, by its check or without one. */
  readonly isUp: boolean;
  /** Whether an administrator, or its line, keeps it in maintenance or drains it. */
  readonly isOff: boolean;
}

/** A session of a client that has a connection with a server. */
export interface ShownSession {
  /** For `shutdown session`. */
  readonly id: string;
  readonly server: ServerName;
  /** Where its connection leads, whatever the server's address is by now: `host:port`. */
  readonly to: string;
}

/** Lines of a table whose first one, behind `# `, names the columns. */
const rowsOf = (text: string, separator: string): readonly ReadonlyMap<string, string>[] => {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const head = lines.findIndex((line) => line.startsWith('# '));
  const names = (lines[head] ?? '').slice(2).split(separator);
  return lines.slice(head + 1).map((line) => {
    const values = line.split(separator);
    return new Map(names.map((name, index) => [name, values[index] ?? '']));
  });
};

/** Reads `show info`: settings and counters by name. */
export const readInfo = (text: string): ReadonlyMap<string, string> =>
  new Map(text.split('\n').flatMap((line) => (line.includes(': ') ? [splitOnce(line)] : [])));

const splitOnce = (line: string): [string, string] => {
  const at = line.indexOf(': ');
  return [line.slice(0, at), line.slice(at + 2).trim()];
};

/** Flags of `srv_admin_state`: maintenance by the socket, inherited, by its line; drained, also inherited; without a name resolved. */
const OFF_FLAGS = 0x3f;
/** `srv_op_state` of a server that takes connections: STARTING, as `slowstart` has it for a while, and RUNNING. */
const UP = ['1', '2'];

/** Reads `show servers state BACKEND`: its servers. */
export const readServers = (text: string): readonly ShownServer[] =>
  rowsOf(text, ' ')
    .filter((row) => row.has('srv_name'))
    .map((row) => ({
      name: row.get('srv_name') ?? '',
      address: { host: spelledHost(row.get('srv_addr') ?? ''), port: row.get('srv_port') ?? '' },
      isUp: UP.includes(row.get('srv_op_state') ?? ''),
      isOff: (Number(row.get('srv_admin_state')) & OFF_FLAGS) !== 0,
    }));

/** Reads `show stat FRONTEND 1 -1`: how many clients it lets in; null when there is no such frontend. */
export const readShownLimit = (text: string): number | null => {
  const row = rowsOf(text, ',').find((one) => one.get('svname') === 'FRONTEND');
  return row === undefined ? null : Number(row.get('slim'));
};

const SESSION = /^(0x[0-9a-f]+): /;
const BACKEND = /^\s*backend=(\S+) \(/m;
const SERVER = /^\s*server=(\S+) \(id=\d+\) addr=(\S+)/m;

/** Reads `show sess all`: the sessions that have a connection with a server. */
export const readSessions = (text: string): readonly ShownSession[] =>
  text.split(/\n(?=0x)/).flatMap((block) => {
    const id = SESSION.exec(block)?.[1];
    const backend = BACKEND.exec(block)?.[1];
    const [, server, to] = SERVER.exec(block) ?? [];
    if (id === undefined || backend === undefined || server === undefined || to === undefined) return [];
    const at = to.lastIndexOf(':');
    return [{ id, server: { backend, server }, to: `${spelledHost(to.slice(0, at))}${to.slice(at)}` }];
  });

/**
 * From 3.1 on a frontend whose limit is raised lets in who waited. Before, the thread that does it waits for a lock that it
 * has itself, and the watchdog kills the process (haproxy/haproxy#2726; seen with 2.6.12). The mending went into older
 * branches too, in releases that we have not tried.
 */
export const canHold = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return major > 3 || (major === 3 && minor >= 1);
};
