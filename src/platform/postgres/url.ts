import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { checkServerIdentity, getCACertificates } from 'node:tls';
import type pg from 'pg';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import { rememberSecret } from '../redact.ts';

/**
 * How much a session is protected, as libpq defines it. `require` encrypts and looks at nothing, `verify-ca` at who signed
 * the certificate, `verify-full` also at whose name is in it.
 */
export type SslMode = 'disable' | 'require' | 'verify-ca' | 'verify-full';

/** How sessions to a server are protected, for `check`. */
export interface Protection {
  readonly mode: SslMode;
  /** A loopback address or a Unix socket, which nobody stands in the middle of. */
  readonly local: boolean;
}

/** A connection URL, read once and for every kind of session: the driver's, the replication client's and pg_dump's. */
export interface PostgresUrl {
  /** Where and as whom, and how protected; nothing else, so that a URL cannot change what we pin on our sessions. */
  readonly driver: Pick<pg.ClientConfig, 'host' | 'port' | 'user' | 'password' | 'database' | 'ssl'>;
  /** The same for libpq, without the password: arguments can be read by everybody on the machine. */
  readonly libpq: string;
  readonly password: string | undefined;
  readonly protection: Protection;
}

/** `uselibpqcompat` is the driver's word for what is done here anyway. */
const PARAMETERS = new Set([
  'host',
  'port',
  'user',
  'password',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'uselibpqcompat',
]);
const MODES: ReadonlyMap<string, SslMode> = new Map([
  ['disable', 'disable'],
  ['require', 'require'],
  // The driver's own word for it.
  ['no-verify', 'require'],
  ['verify-ca', 'verify-ca'],
  ['verify-full', 'verify-full'],
]);
const WRITE_MODE = 'write sslmode=verify-full with sslrootcert=FILE, or require, or disable';

const wrong = (side: string, what: string, remedy: string): SwitchbackError =>
  new SwitchbackError('usage', `the ${side}'s URL ${what}`, { remedy });

/** As every reader of URLs does: what is no escape stays as it is. */
const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

const orUndefined = (text: string | null | undefined): string | undefined =>
  text === null || text === '' ? undefined : text;

/** Whether nobody but this machine can be at the other end. */
const isLocal = (host: string): boolean =>
  host.startsWith('/') || host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/**
 * Without `sslmode`: `disable` to this machine, `verify-full` to any other, since libpq's default falls back to plain text
 * as soon as somebody in the middle says that the server has no TLS. `prefer` and `allow` are refused for that reason.
 */
const modeOf = (side: string, params: URLSearchParams, local: boolean): SslMode => {
  const written = params.get('sslmode');
  if (written === null) return local ? 'disable' : 'verify-full';
  const mode = MODES.get(written);
  if (mode !== undefined) return mode;
  if (written === 'prefer' || written === 'allow') {
    throw wrong(side, `says sslmode=${written}, which falls back to plain text when it is told to`, WRITE_MODE);
  }
  throw wrong(side, `says sslmode=${written}, which is no mode`, WRITE_MODE);
};

const readPem = (side: string, name: string, path: string | undefined): string | undefined => {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw wrong(side, `names ${name}=${path}, which cannot be read: ${messageOf(error)}`, `correct ${name}`);
  }
};

/** The file of trusted authorities: the one named, libpq's own if it is there, or `system`. Null where none is asked for. */
const rootOf = (side: string, params: URLSearchParams, mode: SslMode): string | null => {
  if (mode === 'disable') return null;
  const written = orUndefined(params.get('sslrootcert'));
  const own = join(homedir(), '.postgresql', 'root.crt');
  const root = written ?? (existsSync(own) ? own : undefined);
  if (mode === 'verify-full') return root ?? 'system';
  // As libpq: anybody can have a certificate of a public authority.
  if (root === 'system' || (mode === 'verify-ca' && root === undefined)) {
    const what = `says sslmode=${mode} without an authority of your own`;
    throw wrong(side, what, 'name it with sslrootcert=FILE, or write sslmode=verify-full');
  }
  return root ?? null;
};

interface Trust {
  readonly mode: SslMode;
  readonly host: string;
  readonly root: string | null;
}

const sslOf = (side: string, params: URLSearchParams, { mode, host, root }: Trust): pg.ClientConfig['ssl'] => {
  // libpq has no TLS on a Unix socket either.
  if (mode === 'disable' || host.startsWith('/')) return false;
  const cert = readPem(side, 'sslcert', orUndefined(params.get('sslcert')));
  const key = readPem(side, 'sslkey', orUndefined(params.get('sslkey')));
  const ca = root === 'system' ? [...getCACertificates('system')] : readPem(side, 'sslrootcert', root ?? undefined);
  return {
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(ca === undefined ? {} : { ca }),
    // As libpq: with an authority at hand `require` checks against it.
    rejectUnauthorized: mode !== 'require' || root !== null,
    // The driver gives no name to be checked when the host is an address; anybody's certificate for `localhost` would do.
    checkServerIdentity:
      mode === 'verify-full' ? (_, certificate) => checkServerIdentity(host, certificate) : () => undefined,
  };
};

/** A text as a value of libpq's keyword form. */
const quoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

/** Forms of values that both ends read alike, as newer servers ask for by themselves. */
const CONNINFO_OPTIONS = '-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3';

/**
 * A URL as a server gives it to libpq to reach another one, password included: whoever prints it has to redact it. Modes are
 * read as in {@link readPostgresUrl}; files are named, not read, because they are on that server's machine. Throws kind
 * `usage` as it does.
 */
export const conninfoOf = (text: string, side: string): string => {
  const url = URL.parse(text);
  if (url === null) throw wrong(side, 'cannot be read', 'write postgresql://user@host:port/database');
  const { searchParams: params } = url;
  const unknown = [...params.keys()].find((name) => !PARAMETERS.has(name));
  if (unknown !== undefined)
    throw wrong(side, `has the parameter ${unknown}, which would have no effect`, 'leave it out');
  const inUrl = decoded(url.hostname).replace(/^\[(.*)\]$/, '$1');
  const host = orUndefined(params.get('host')) ?? orUndefined(inUrl) ?? process.env.PGHOST ?? 'localhost';
  const password =
    orUndefined(params.get('password')) ?? orUndefined(decoded(url.password)) ?? orUndefined(process.env.PGPASSWORD);
  const settings = {
    host,
    port: orUndefined(params.get('port')) ?? orUndefined(url.port),
    dbname: orUndefined(decoded(url.pathname.slice(1))),
    user: orUndefined(params.get('user')) ?? orUndefined(decoded(url.username)),
    password,
    sslmode: modeOf(side, params, isLocal(host)),
    sslrootcert: orUndefined(params.get('sslrootcert')),
    sslcert: orUndefined(params.get('sslcert')),
    sslkey: orUndefined(params.get('sslkey')),
    connect_timeout: '10',
    options: CONNINFO_OPTIONS,
  };
  if (password !== undefined) rememberSecret(password, [url.password, quoted(password).slice(1, -1)]);
  const entries = Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  return entries.map(([name, value]) => `${name}=${quoted(value ?? '')}`).join(' ');
};

const libpqOf = (url: URL, trust: Trust, database: string | undefined): string => {
  const { searchParams: params } = url;
  const settings = new URLSearchParams({ host: trust.host, sslmode: trust.mode, connect_timeout: '10' });
  const port = orUndefined(params.get('port')) ?? orUndefined(url.port);
  const user = orUndefined(params.get('user')) ?? orUndefined(decoded(url.username));
  if (port !== undefined) settings.set('port', port);
  if (user !== undefined) settings.set('user', user);
  if (trust.root !== null) settings.set('sslrootcert', trust.root);
  for (const name of ['sslcert', 'sslkey']) if (params.has(name)) settings.set(name, params.get(name) ?? '');
  // libpq takes a plus for a plus.
  return `postgresql:///${encodeURIComponent(database ?? '')}?${settings.toString().replaceAll('+', '%20')}`;
};

/**
 * Reads a connection URL. Throws kind `usage`, never with the URL in it, for what we cannot do as it says: a parameter that
 * would be ignored, a mode that promises nothing, a file that is not there.
 */
export const readPostgresUrl = (text: string, side: string): PostgresUrl => {
  const url = URL.parse(text);
  if (url === null) throw wrong(side, 'cannot be read', 'write postgresql://user@host:port/database');
  const { searchParams: params } = url;
  const unknown = [...params.keys()].find((name) => !PARAMETERS.has(name));
  if (unknown !== undefined) {
    const remedy = `leave it out; it may have ${[...PARAMETERS].filter((name) => name !== 'uselibpqcompat').join(', ')}`;
    throw wrong(side, `has the parameter ${unknown}, which would have no effect`, remedy);
  }
  const inUrl = decoded(url.hostname).replace(/^\[(.*)\]$/, '$1');
  const host = orUndefined(params.get('host')) ?? orUndefined(inUrl) ?? process.env.PGHOST ?? 'localhost';
  const local = isLocal(host);
  const mode = modeOf(side, params, local);
  const trust: Trust = { mode, host, root: rootOf(side, params, mode) };
  const user = orUndefined(params.get('user')) ?? orUndefined(decoded(url.username));
  const password = orUndefined(params.get('password')) ?? orUndefined(decoded(url.password));
  rememberSecret(password ?? process.env.PGPASSWORD ?? '', [url.password]);
  const database = orUndefined(decoded(url.pathname.slice(1)));
  const port = orUndefined(params.get('port')) ?? orUndefined(url.port);
  return {
    driver: {
      host,
      ssl: sslOf(side, params, trust),
      ...(port === undefined ? {} : { port: Number(port) }),
      ...(user === undefined ? {} : { user }),
      ...(password === undefined ? {} : { password }),
      ...(database === undefined ? {} : { database }),
    },
    libpq: libpqOf(url, trust, database),
    password,
    protection: { mode, local },
  };
};
