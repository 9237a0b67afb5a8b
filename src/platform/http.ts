import { lookup as resolveName } from 'node:dns';
import { readFile } from 'node:fs/promises';
import { type IncomingMessage, request as overHttp } from 'node:http';
import { request as overHttps } from 'node:https';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { messageOf } from '../domain/errors.ts';
import { after } from './clock.ts';

/** Files for TLS, by absolute path; read for each request, so that one that was renewed counts at once. */
export interface TlsFiles {
  /** Certificates of the authorities that are believed, instead of those that the machine believes. */
  readonly ca?: string;
  /** Our own certificate and its key. */
  readonly cert?: string;
  readonly key?: string;
}

/** One request. The URL is one for which `isGuarded` holds. */
export interface HttpRequest {
  readonly url: URL;
  readonly method: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  /** Empty for none. */
  readonly body: string;
  /** For all of it, from the name's address to the last byte of the answer. */
  readonly timeoutMs: number;
  readonly tls: TlsFiles;
}

/**
 * How a request ended. `absent`: nothing was said to anybody. `lost`: something may have been said, and no answer came, in
 * time or at all.
 */
export type HttpEnd =
  | { readonly how: 'answer'; readonly answer: HttpAnswer }
  | { readonly how: 'absent'; readonly reason: string }
  | { readonly how: 'lost'; readonly reason: string };

/** An answer's status and the first 64 KiB of its body. */
export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
  /** Whether that is the whole body; it may also be cut off by the network or the time, or be too long for us. */
  readonly extent: 'whole' | 'cut' | 'too long';
  /** What it says as `Retry-After`, when that is a number of seconds. */
  readonly retryAfterMs: number;
}

const MAX_BODY_BYTES = 64 * 1024;

const linkLocal = new BlockList();
linkLocal.addSubnet('169.254.0.0', 16, 'ipv4');
linkLocal.addSubnet('fe80::', 10, 'ipv6');
const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

const isIn = (list: BlockList, address: string): boolean => list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** Link-local addresses lead to a cloud's own service for machines, which hands out credentials; without TLS only loopback is safe. */
const isAllowed = (address: string, isSecure: boolean): boolean =>
  !isIn(linkLocal, address) && (isSecure || isIn(loopback, address));

const hostOf = (url: URL): string => url.hostname.replace(/^\[(.*)\]$/, '$1');

/** Whether a URL is https, or http on the loopback address, with neither a password nor a fragment in it. */
export const isGuarded = (text: string): boolean => {
  const url = URL.parse(text);
  if (url === null || url.username !== '' || url.password !== '' || url.hash !== '') return false;
  const host = hostOf(url);
  if (isIP(host) !== 0 && !isAllowed(host, url.protocol === 'https:')) return false;
  return url.protocol === 'https:' || (url.protocol === 'http:' && (host === 'localhost' || isIP(host) !== 0));
};

/**
 * Finds a name's addresses and leaves out those that may not be asked: what a name leads to is known only now. Without TLS
 * that are all but the loopback address, whatever the machine's own files say of `localhost`.
 */
export const guardedLookup =
  (isSecure: boolean, resolve = resolveName): LookupFunction =>
  (host, options, callback) => {
    resolve(host, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, []);
      const allowed = found.filter(({ address }) => isAllowed(address, isSecure));
      const [first] = allowed;
      if (first === undefined) return callback(new Error(`${host} leads to an address that may not be asked`), []);
      if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };

const contentsOf = async (files: TlsFiles): Promise<Readonly<Record<string, Buffer>>> =>
  Object.fromEntries(
    await Promise.all(Object.entries(files).map(async ([name, path]) => [name, await readFile(path)])),
  );

/**
 * Makes a request on a connection of its own, whose certificate is always verified, and follows no redirect. Never rejects.
 * A connection that were kept could have been closed by the other end meanwhile, and then nobody knows what it has read.
 */
export const exchange = async (request: HttpRequest): Promise<HttpEnd> => {
  try {
    return await carryOut(request, await contentsOf(request.tls));
  } catch (error) {
    // A file that cannot be read, or a header that cannot be sent.
    return { how: 'absent', reason: messageOf(error) };
  }
};

const carryOut = (request: HttpRequest, tls: Readonly<Record<string, Buffer>>): Promise<HttpEnd> => {
  const { url, method, headers, body, timeoutMs } = request;
  const isSecure = url.protocol === 'https:';
  const sent = (isSecure ? overHttps : overHttp)(url, {
    ...tls,
    method,
    headers: { ...headers, ...(body === '' ? {} : { 'content-length': String(Buffer.byteLength(body)) }) },
    agent: false,
    // Node reads NODE_TLS_REJECT_UNAUTHORIZED where this is left out.
    rejectUnauthorized: true,
    lookup: guardedLookup(isSecure),
  });
  const { promise, resolve } = Promise.withResolvers<HttpEnd>();
  let mayBeHeard = false;
  let isAnswered = false;
  const fail = (reason: string): void => {
    // An answer that has begun has a status, which counts.
    if (!isAnswered) resolve({ how: mayBeHeard ? 'lost' : 'absent', reason });
  };
  sent.once('socket', (socket) =>
    socket.once(isSecure ? 'secureConnect' : 'connect', () => {
      mayBeHeard = true;
    }),
  );
  sent.once('response', (response) => {
    isAnswered = true;
    collect(response, resolve);
  });
  sent.on('error', (error) => fail(messageOf(error)));
  sent.once('close', () => fail('the connection was closed without an answer'));
  sent.end(body);
  const cancel = after(Math.max(0, timeoutMs), () => {
    fail(`no answer within ${Math.round(timeoutMs)} ms`);
    sent.destroy();
  });
  return promise.finally(() => {
    cancel();
    sent.destroy();
  });
};

const collect = (response: IncomingMessage, resolve: (end: HttpEnd) => void): void => {
  const chunks: Buffer[] = [];
  let size = 0;
  const done = (extent: HttpAnswer['extent']): void => {
    const seconds = Number(response.headers['retry-after'] ?? Number.NaN);
    const retryAfterMs = Number.isFinite(seconds) ? seconds * 1_000 : 0;
    const body = Buffer.concat(chunks).subarray(0, MAX_BODY_BYTES).toString('utf8');
    resolve({ how: 'answer', answer: { status: response.statusCode ?? 0, body, extent, retryAfterMs } });
  };
  response.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_BODY_BYTES) done('too long');
  });
  response.once('end', () => done('whole'));
  response.on('error', () => done('cut'));
  response.once('close', () => done('cut'));
};
