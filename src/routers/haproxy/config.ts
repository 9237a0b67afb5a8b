import { isIP } from 'node:net';
import { type Word, wordsOf } from './words.ts';

/** What a server of a backend is led to. */
export interface Address {
  /** A name or an address, without brackets. */
  readonly host: string;
  readonly port: string;
}

/** A server, as HAProxy names it: `backend/server`. */
export interface ServerName {
  readonly backend: string;
  readonly server: string;
}

/** What a file says of a server. */
export interface Entry {
  readonly address: Address;
  /** Of the last repoint; 0 when the file does not say. */
  readonly epoch: bigint;
}

/** What else a file says of a server that bears on leading it elsewhere. */
export interface Settings {
  /** Words behind the address of its line, and of the `default-server` lines that hold for it. */
  readonly words: readonly string[];
  /** Lines of its section, and of the defaults that hold for it, by their words. */
  readonly lines: readonly (readonly string[])[];
}

/** The file holds no server that we understand, and therefore none that we will write over. Its message says why. */
export class ConfigError extends Error {}

/** A host in the one spelling by which it is compared; names stay. */
export const spelledHost = (host: string): string =>
  isIP(host) === 6 ? (URL.parse(`http://[${host}]`)?.hostname.slice(1, -1) ?? host) : host;

/** Whether both are the same, as far as their words tell. */
export const sameAddress = (a: Address, b: Address): boolean =>
  spelledHost(a.host) === spelledHost(b.host) && a.port === b.port;

/** As it stands in a server's line, and in messages. */
export const addressText = ({ host, port }: Address): string => `${host.includes(':') ? `[${host}]` : host}:${port}`;

/** A server for messages. */
export const serverText = ({ backend, server }: ServerName): string => `${backend}/${server}`;

/** Words that begin a section (configuration.txt, 2.1). */
const SECTIONS: ReadonlySet<string> = new Set([
  ...['global', 'defaults', 'frontend', 'backend', 'listen', 'peers', 'resolvers', 'mailers', 'program', 'userlist'],
  ...['cache', 'http-errors', 'ring', 'log-forward', 'log-profile', 'fcgi-app', 'crt-store', 'traces', 'acme'],
]);
const EPOCH = /^\s*#[ \t]*switchback: epoch (\d{1,19}) of (\S+)\s*$/;

/** A line with the section that it is in. */
interface Line {
  readonly text: string;
  readonly words: readonly Word[];
  /** The words of its section's first line; empty before the first section. */
  readonly section: readonly string[];
  /** The number of the `defaults` section that holds for its section, if any. */
  readonly defaults: number | undefined;
  /** Counts sections. */
  readonly at: number;
  /** Whether it stands between `.if` and `.endif`, so that only HAProxy knows whether it holds. */
  readonly isConditional: boolean;
}

/** Lines with their endings. As Latin-1, so that every byte stays what it is. */
const textsOf = (bytes: Buffer): readonly string[] => bytes.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? [];

/** The defaults of a section: those that it names with `from`, else the last ones before it. */
const defaultsOf = (section: readonly string[], known: ReadonlyMap<string, number>): number | undefined => {
  const from = section.indexOf('from', 1);
  return known.get(from === -1 ? '' : `from ${section[from + 1]}`);
};

const linesOf = (bytes: Buffer): readonly Line[] => {
  const known = new Map<string, number>();
  let section: readonly string[] = [];
  let defaults: number | undefined;
  let at = 0;
  let depth = 0;
  return textsOf(bytes).map((text) => {
    const words = wordsOf(text);
    const [first = ''] = words.map(({ value }) => value);
    if (first === '.if') depth += 1;
    if (first === '.endif') depth -= 1;
    if (SECTIONS.has(first)) {
      section = words.map(({ value }) => value);
      at += 1;
      defaults = defaultsOf(section, known);
      if (first === 'defaults') known.set('', at).set(`from ${section[1] ?? ''}`, at);
    }
    return { text, words, section, defaults, at, isConditional: depth > 0 };
  });
};

const isIn = ({ section }: Line, kinds: readonly string[], name: string): boolean =>
  kinds.includes(section[0] ?? '') && section[1] === name;

const isServer = (line: Line, { backend, server }: ServerName): boolean =>
  isIn(line, ['backend', 'listen'], backend) && line.words[0]?.value === 'server' && line.words[1]?.value === server;

const lineOf = (lines: readonly Line[], name: ServerName): Line => {
  const [line, second] = lines.filter((one) => isServer(one, name));
  const what = `server ${name.server} in backend ${name.backend}`;
  if (second !== undefined) throw new ConfigError(`it has ${what} twice`);
  if (line !== undefined && !line.isConditional) return line;
  if (line !== undefined) throw new ConfigError(`it has ${what} under a condition (.if)`);
  const section = lines.filter((one) => isIn(one, ['backend', 'listen'], name.backend));
  if (section.length === 0) throw new ConfigError(`it has no backend ${name.backend}`);
  const template = section.some(({ words }) => words[0]?.value === 'server-template');
  throw new ConfigError(`it has no ${what}${template ? ', only a server-template' : ''}`);
};

/** `host:port`, with or without brackets; HAProxy takes what is behind the last colon for the port. */
const ADDRESS = /^(?:\[([0-9A-Fa-f:.]+)\]|([^[\]@/+,]+)):(\d{1,5})$/;

const addressIn = ({ words }: Line): Address => {
  const word = words[2];
  if (word === undefined) throw new ConfigError('its server has no address');
  if (word.hasVariable)
    throw new ConfigError('its server has an address with a variable, whose value only HAProxy knows');
  const [, bracketed, plain, port] = ADDRESS.exec(word.value) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || port === undefined) {
    throw new ConfigError(`its server's address ${fromLatin1(word.value)} is no host:port`);
  }
  return { host: fromLatin1(host), port };
};

const fromLatin1 = (text: string): string => Buffer.from(text, 'latin1').toString('utf8');
const toLatin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

const isEpochOf = (text: string, name: ServerName): boolean => EPOCH.exec(text)?.[2] === serverText(name);

/** What the file says of a server. Throws ConfigError when it has none of that name, or one that only HAProxy can read. */
export const readEntry = (bytes: Buffer, name: ServerName): Entry => {
  const lines = linesOf(bytes);
  const comment = lines.find(({ text }) => isEpochOf(text, name));
  return {
    address: addressIn(lineOf(lines, name)),
    epoch: BigInt(EPOCH.exec(comment?.text ?? '')?.[1] ?? '0'),
  };
};

/**
 * The same file with a server led elsewhere and the epoch in a comment above its line. Whatever else is in it stays, byte for
 * byte. Throws as `readEntry` does.
 */
export const writeEntry = (bytes: Buffer, name: ServerName, { address, epoch }: Entry): Buffer => {
  const lines = linesOf(bytes);
  const place = lineOf(lines, name);
  const old = addressIn(place);
  const word = place.words[2] as Word;
  const entry = sameAddress(old, address)
    ? place.text
    : `${place.text.slice(0, word.start)}${toLatin1(addressText(address))}${place.text.slice(word.end)}`;
  const indent = /^[ \t]*/.exec(place.text)?.[0] ?? '';
  const comment = `${indent}# switchback: epoch ${epoch} of ${serverText(name)}${entry.endsWith('\r\n') ? '\r\n' : '\n'}`;
  const isNew = !lines.some(({ text }) => isEpochOf(text, name));
  const changed = lines.flatMap((line) => {
    if (line === place) return isNew ? [comment, entry] : [entry];
    return isEpochOf(line.text, name) ? [comment] : [line.text];
  });
  return Buffer.from(changed.join(''), 'latin1');
};

const valuesOf = ({ words }: Line): readonly string[] => words.map(({ value }) => value);

/** Lines of the defaults that hold for a section: those of defaults that name others with `from` come behind theirs. */
const defaultLines = (all: readonly Line[], { defaults }: Line): readonly Line[] => {
  const lines = all.filter(({ at }) => at === defaults);
  const [head] = lines;
  if (head === undefined) return [];
  return [...(head.section.includes('from', 1) ? defaultLines(all, head) : []), ...lines];
};

/** What else the file says of a server. Throws as `readEntry` does. */
export const readSettings = (bytes: Buffer, name: ServerName): Settings => {
  const all = linesOf(bytes);
  const place = lineOf(all, name);
  const lines = [...defaultLines(all, place), ...all.filter(({ at }) => at === place.at)].map(valuesOf);
  const byDefault = lines.filter(([first]) => first === 'default-server').flatMap((line) => line.slice(1));
  return { words: [...valuesOf(place).slice(3), ...byDefault], lines };
};

/** Lines of a frontend's section, and of the defaults that hold for it. Throws ConfigError when there is no such frontend. */
const frontendLines = (bytes: Buffer, frontend: string) => {
  const all = linesOf(bytes);
  const own = all.filter((line) => isIn(line, ['frontend', 'listen'], frontend));
  const [head] = own;
  if (head === undefined) throw new ConfigError(`it has no frontend ${frontend}`);
  return { own, byDefault: defaultLines(all, head), isBackendToo: head.section[0] === 'listen' };
};

/**
 * The `maxconn` of a frontend, its own or that of its defaults; null where it has none, which means the process's. Throws
 * ConfigError when the file has no such frontend.
 */
export const readLimit = (bytes: Buffer, frontend: string): number | null => {
  const { own, byDefault } = frontendLines(bytes, frontend);
  const limitIn = (some: readonly Line[]): number =>
    Number(some.findLast(({ words }) => words[0]?.value === 'maxconn')?.words[1]?.value ?? 0);
  return limitIn(own) || limitIn(byDefault) || null;
};

/** One of the ways out of a frontend. */
export interface Way {
  /** The backend as it is written; null for none, which ends the client. */
  readonly backend: string | null;
  /** Whether only HAProxy knows its name, from its environment or anew for each client. */
  readonly isOpen: boolean;
}

const wayOf = ({ words: [, name] }: Line): Way => ({
  backend: fromLatin1(name?.value ?? ''),
  isOpen: name === undefined || name.hasVariable || isMadeAnew(name),
});

/** One that is no backend's then leaves the client to `default_backend`. */
const isMadeAnew = ({ value }: Word): boolean => value.includes('%[');

/** Whether who comes to a line goes no further. */
const isLast = ({ words: [, name, condition], isConditional }: Line): boolean =>
  !isConditional && condition === undefined && name !== undefined && !isMadeAnew(name);

/**
 * The ways out of a frontend, in the order in which they are tried: its `use_backend` lines, then `default_backend`, its own or
 * that of its defaults, then itself if it is a `listen` (configuration.txt, "use_backend"). All but the last one depend on
 * what only HAProxy knows. Never empty. Throws as `readLimit` does.
 */
export const readWays = (bytes: Buffer, frontend: string): readonly Way[] => {
  const { own, byDefault, isBackendToo } = frontendLines(bytes, frontend);
  const rules = own.filter(({ words: [first] }) => first?.value === 'use_backend');
  const defaults = [...byDefault, ...own].filter(({ words: [first] }) => first?.value === 'default_backend');
  const lines = [...rules, ...defaults.reverse()];
  const last = lines.findIndex(isLast);
  if (last !== -1) return lines.slice(0, last + 1).map(wayOf);
  return [...lines.map(wayOf), { backend: isBackendToo ? frontend : null, isOpen: false }];
};
