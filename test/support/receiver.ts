import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Side } from '../../src/domain/position.ts';

/**
 * What the author of a plan would write for a `webhook` router: it checks signatures, repeats its answer to a key that it
 * knows, compares and sets by the version, and refuses an older epoch where it is told of none. Requests can be made to go wrong in each way.
 */
export type Fault =
  /** Does what is asked and breaks the connection without an answer. */
  | 'acts and drops'
  /** Breaks the connection before it does anything. */
  | 'drops'
  /** Never answers, and does nothing. */
  | 'silent'
  /** Comes to it when `catchUp` is called, whether or not anybody is waiting still. */
  | 'late'
  /** The beginning of an answer, and nothing more. */
  | 'half an answer'
  /** Does what is asked and answers without end. */
  | 'huge'
  | 'redirects'
  | { readonly status: number; readonly says?: string; readonly retryAfter?: string };

/** A request as it came. */
export interface Received {
  readonly method: string;
  readonly path: string;
  readonly key: string;
  readonly signature: string;
  readonly timestamp: string;
  readonly body: string;
}

interface Stored {
  readonly primary: Side | null;
  readonly held: boolean;
  readonly epoch: bigint;
  readonly edits: number;
}

interface Asked {
  readonly run: string;
  readonly action: string;
  readonly phases: readonly string[];
  readonly side?: Side;
  readonly epoch?: string;
  readonly expect?: Readonly<Record<string, string>>;
  readonly untilMs?: number;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

const NOT_TOLD: Stored = { primary: null, held: false, epoch: 0n, edits: 0 };

/** A server on a free port of the loopback address. The caller calls `close`. */
export class Receiver {
  readonly received: Received[] = [];
  /** What was really done, in order: `hold orders`. */
  readonly done: string[] = [];
  readonly #routes = new Map<string, Stored>();
  readonly #answers = new Map<string, Answer>();
  readonly #faults: Fault[] = [];
  readonly #late: Received[] = [];
  readonly #secret: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #scheme: string;

  /** With a folder that has `server.key` and `server.crt` it speaks TLS. */
  constructor(secret: string, folder?: string) {
    this.#secret = secret;
    const answer = (request: IncomingMessage, response: ServerResponse) => void this.#answer(request, response);
    this.#scheme = folder === undefined ? 'http' : 'https';
    this.#server =
      folder === undefined
        ? createServer(answer)
        : createSecureServer(
            { key: readFileSync(`${folder}/server.key`), cert: readFileSync(`${folder}/server.crt`) },
            answer,
          );
  }

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  url(path = '/route', host = '127.0.0.1'): string {
    return `${this.#scheme}://${host}:${(this.#server.address() as AddressInfo).port}${path}`;
  }

  /** The next requests go wrong so, one after another. */
  breaks(...faults: readonly Fault[]): void {
    this.#faults.push(...faults);
  }

  /** Handles what is late; the statuses of its answers. */
  catchUp(): readonly number[] {
    return this.#late.splice(0).map((received) => this.#handle(received).status);
  }

  edit(phase: string, primary: Side): void {
    const route = this.#routeOf(phase);
    this.#routes.set(phase, { ...route, primary, edits: route.edits + 1 });
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #routeOf(phase: string): Stored {
    return this.#routes.get(phase) ?? NOT_TOLD;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const header = (name: string): string => String(request.headers[name] ?? '');
    const { method = '', url = '' } = request;
    const received: Received = {
      method,
      path: url,
      key: header('idempotency-key'),
      signature: header('switchback-signature'),
      timestamp: header('switchback-timestamp'),
      body,
    };
    this.received.push(received);
    const fault = this.#faults.shift();
    if (fault === undefined) {
      const { status, body: text } = this.#handle(received);
      response.writeHead(status).end(text);
    } else this.#goWrong(fault, received, response);
  }

  #goWrong(fault: Fault, received: Received, response: ServerResponse): void {
    if (fault === 'late') this.#late.push(received);
    if (fault === 'silent' || fault === 'late') return;
    if (fault === 'acts and drops' || fault === 'huge') this.#handle(received);
    if (fault === 'acts and drops' || fault === 'drops') response.destroy();
    else if (fault === 'half an answer') response.writeHead(200, { 'content-length': '100' }).write('{"primary":');
    else if (fault === 'redirects') response.writeHead(307, { location: this.url('/elsewhere') }).end();
    else if (fault === 'huge') {
      response.writeHead(200);
      const more = (): void => {
        while (!response.destroyed && response.write(' '.repeat(65_536)));
      };
      response.on('drain', more);
      more();
    } else {
      const { status, says = '', retryAfter } = fault;
      response.writeHead(status, retryAfter === undefined ? {} : { 'retry-after': retryAfter }).end(says);
    }
  }

  #handle(received: Received): Answer {
    const query = received.path.split('?')[1] ?? '';
    const text = received.method === 'GET' ? query : received.body;
    const hmac = createHmac('sha256', this.#secret).update(`${received.timestamp}.${text}`);
    const isFresh = Math.abs(Date.now() / 1_000 - Number(received.timestamp)) < 300;
    if (!isFresh || received.signature !== `v1=${hmac.digest('hex')}`) return { status: 401, body: 'bad signature' };
    if (received.method === 'GET') {
      const asked = new URLSearchParams(query);
      return this.#act({ run: asked.get('run') ?? '', action: 'observe', phases: [asked.get('phase') ?? ''] });
    }
    const known = this.#answers.get(received.key);
    if (known !== undefined) return known;
    const answer = this.#act(JSON.parse(received.body) as Asked);
    this.#answers.set(received.key, answer);
    return answer;
  }

  #act(asked: Asked): Answer {
    const { action, phases } = asked;
    if (action === 'observe') {
      const { primary, held, edits } = this.#routeOf(phases[0] ?? '');
      return { status: 200, body: JSON.stringify({ primary, held, version: String(edits) }) };
    }
    if (action === 'repoint') return this.#repoint(asked);
    if (action === 'hold' && Date.now() > (asked.untilMs ?? 0)) return { status: 409, body: 'too late' };
    for (const phase of phases) this.#routes.set(phase, { ...this.#routeOf(phase), held: action === 'hold' });
    this.done.push(`${action} ${phases.join(',')}`);
    return { status: 204, body: '' };
  }

  #repoint({ phases, side = 'source', epoch = '0', expect = {} }: Asked): Answer {
    const open = phases.filter((phase) => this.#routeOf(phase).primary !== side);
    for (const phase of open) {
      const route = this.#routeOf(phase);
      const expected = expect[phase];
      if (expected === undefined && BigInt(epoch) < route.epoch) {
        return { status: 409, body: `epoch ${epoch} is older than ${route.epoch}` };
      }
      if ((expected ?? String(route.edits)) !== String(route.edits))
        return { status: 409, body: `${phase} has moved on` };
    }
    for (const phase of open) {
      const route = this.#routeOf(phase);
      this.#routes.set(phase, { ...route, primary: side, epoch: BigInt(epoch), edits: route.edits + 1 });
    }
    this.done.push(`repoint ${phases.join(',')} ${side}`);
    return { status: 200, body: '' };
  }
}
