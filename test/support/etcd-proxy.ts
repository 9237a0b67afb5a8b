import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What becomes of the next write: it is carried out and its answer is lost; its answer is lost and it is carried out when
 * `letThrough` is called; etcd's own answer to what it could not agree upon in time.
 */
export type WriteFault = 'acts and drops' | 'drops and keeps' | 'times out';

/** Stands in front of an etcd and loses answers to writes. The caller calls `close`. */
export class EtcdProxy {
  readonly #target: string;
  readonly #faults: WriteFault[] = [];
  readonly #kept: string[] = [];
  readonly #server = createServer((request, response) => void this.#pass(request, response));
  writes = 0;

  constructor(target: string) {
    this.#target = target;
  }

  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  breaks(...faults: readonly WriteFault[]): void {
    this.#faults.push(...faults);
  }

  /** What was kept arrives now, and etcd's answers to it. */
  async letThrough(): Promise<readonly string[]> {
    return await Promise.all(
      this.#kept.splice(0).map(async (body) => (await this.#forward('/v3/kv/txn', body)).text()),
    );
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #forward(path: string, body: string): Promise<Response> {
    return fetch(new URL(path, this.#target), { method: 'POST', body });
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const isWrite = body.includes('request_put');
    if (isWrite) this.writes += 1;
    const fault = isWrite ? this.#faults.shift() : undefined;
    if (fault === 'drops and keeps') this.#kept.push(body);
    if (fault === 'times out') {
      response.writeHead(503).end('{"error":"etcdserver: request timed out","code":14}');
      return;
    }
    const answer = fault === 'drops and keeps' ? null : await this.#forward(request.url ?? '', body);
    if (fault !== undefined || answer === null) response.destroy();
    else response.writeHead(answer.status).end(await answer.text());
  }
}
