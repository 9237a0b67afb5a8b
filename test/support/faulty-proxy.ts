import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What becomes of a request: an answer with an error of AWS in its body instead; `lost`: it is carried out and the connection is
 * dropped; `cut`: the answer ends after half of its body. Undefined passes it on.
 */
export type Fault = { readonly status: number; readonly code: string } | 'lost' | 'cut' | undefined;

/** One request, as far as a test tells it from others. */
export interface Seen {
  readonly method: string;
  readonly url: string;
}

/** Between a client and an HTTP server, with faults. */
export class FaultyProxy {
  /** Asked for each request; every request is kept in `seen`. */
  fault: (seen: Seen) => Fault = () => undefined;
  readonly seen: Seen[] = [];
  readonly #behind: string;
  readonly #server: Server;

  constructor(behind: string) {
    this.#behind = behind;
    this.#server = createServer((from, to) => this.#pass(from, to));
  }

  /** Returns its URL. */
  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #pass(from: IncomingMessage, to: ServerResponse): void {
    const seen = { method: from.method ?? '', url: from.url ?? '' };
    this.seen.push(seen);
    const fault = this.fault(seen);
    if (typeof fault === 'object') {
      from.resume().once('end', () => {
        to.writeHead(fault.status, { 'content-type': 'application/xml' });
        to.end(`<?xml version="1.0"?><Error><Code>${fault.code}</Code><Message>planted</Message></Error>`);
      });
      return;
    }
    const { hostname, port } = new URL(this.#behind);
    const onward = request({ hostname, port, method: seen.method, path: seen.url, headers: from.headers }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => this.#answer(to, { answer, body: Buffer.concat(chunks), fault }));
    });
    onward.on('error', () => to.destroy());
    from.pipe(onward);
  }

  #answer(
    to: ServerResponse,
    { answer, body, fault }: { readonly answer: IncomingMessage; readonly body: Buffer; readonly fault: Fault },
  ): void {
    if (fault === 'lost') {
      to.destroy();
      return;
    }
    to.writeHead(answer.statusCode ?? 500, answer.headers);
    if (fault === 'cut') to.write(body.subarray(0, body.length / 2), () => to.destroy());
    else to.end(body);
  }
}
