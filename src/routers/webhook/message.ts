import type { RouterAction } from '../../domain/placeholder.ts';
import type { Side } from '../../domain/position.ts';
import { wallMs } from '../../platform/clock.ts';
import type { HttpRequest } from '../../platform/http.ts';
import { KEY_HEADER, SIGNATURE_HEADER, signatureOf, TIMESTAMP_HEADER } from './signature.ts';

/** One thing that a receiver is asked to do, or for. */
export interface Call {
  readonly action: RouterAction;
  readonly phases: readonly string[];
  /** Of a repoint. */
  readonly to?: Side;
  readonly epoch?: bigint;
  readonly expect?: Readonly<Record<string, string>>;
  /** Of a hold: when it is of no use to anybody any more, in milliseconds since 1970. */
  readonly untilMs?: number;
}

/** Who asks whom. */
export interface Sender {
  readonly url: string;
  readonly secret: string;
  readonly run: string;
}

/** Raised when a receiver that understands the one before would be misled. */
const FORMAT = 1;

/**
 * A call as a request of either method, signed now. What it says depends on the call and the key alone, so that a repetition
 * of it is the same to the last byte, and only its timestamp and signature are new.
 */
export const messageOf = (
  { url, secret, run }: Sender,
  call: Call,
  { method, key }: { readonly method: 'GET' | 'POST'; readonly key: string },
): Pick<HttpRequest, 'url' | 'method' | 'headers' | 'body'> => {
  const to = new URL(url);
  const body = method === 'GET' ? '' : bodyOf(run, call, key);
  if (method === 'GET') {
    to.searchParams.set('run', run);
    to.searchParams.set('action', call.action);
    to.searchParams.set('phase', call.phases[0] ?? '');
  }
  const timestamp = Math.floor(wallMs() / 1_000);
  const signed = method === 'GET' ? to.search.slice(1) : body;
  return {
    url: to,
    method,
    body,
    headers: {
      Accept: 'application/json',
      ...(method === 'GET' ? {} : { 'Content-Type': 'application/json', [KEY_HEADER]: key }),
      [TIMESTAMP_HEADER]: String(timestamp),
      [SIGNATURE_HEADER]: signatureOf(secret, timestamp, signed),
    },
  };
};

const bodyOf = (run: string, { action, phases, to, epoch, expect, untilMs }: Call, key: string): string =>
  JSON.stringify({
    format: FORMAT,
    run,
    action,
    phases,
    ...(to === undefined ? {} : { side: to }),
    // As text: a number of JSON loses digits of a large one.
    ...(epoch === undefined ? {} : { epoch: String(epoch) }),
    ...(expect === undefined ? {} : { expect }),
    ...(untilMs === undefined ? {} : { untilMs: Math.floor(untilMs) }),
    key,
  });
