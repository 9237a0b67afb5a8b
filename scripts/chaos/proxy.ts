import { createServer, connect as dial, type Server, type Socket } from 'node:net';

/**
 * What a proxy does to its connections, until it is healed:
 * `delay` every chunk of bytes for so long; `silence`, as when packets are lost both ways (nothing is lost from a stream, it
 * waits); `half-open`, where the server's end has gone and the client's end hears nothing of it; `reset` at once; `cut`,
 * where each connection is reset after it has carried so many more bytes towards the server.
 */
export type ProxyFault =
  | { readonly kind: 'delay'; readonly ms: number }
  | { readonly kind: 'silence' }
  | { readonly kind: 'half-open' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'cut'; readonly bytes: number };

/** A TCP proxy in front of one server, which can be told to misbehave. */
export class FlakyProxy {
  readonly #toPort: number;
  readonly #servers: Server[] = [];
  readonly #links = new Set<Link>();
  #fault: ProxyFault | null = null;

  private constructor(toPort: number) {
    this.#toPort = toPort;
  }

  /** Listens on the loopback address on a port of the system's choice. */
  static async start(toPort: number): Promise<FlakyProxy> {
    const proxy = new FlakyProxy(toPort);
    await proxy.listen('127.0.0.1', 0);
    return proxy;
  }

  /** The port it listens on; the same on every address. */
  get port(): number {
    const address = this.#servers[0]?.address();
    if (address === null || typeof address !== 'object') throw new Error('the proxy does not listen');
    return address.port;
  }

  /** Listens on one more address. */
  async listen(host: string, port: number): Promise<void> {
    const server = createServer({ noDelay: true }, (client) => this.#accept(client));
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, resolve);
    });
  }

  /** Begins to misbehave, on connections that are open and on those to come. */
  inject(fault: ProxyFault): void {
    this.#fault = fault;
    for (const link of [...this.#links]) link.inject(fault);
  }

  /** Passes everything on again; what was waiting goes first, and what cannot be mended is reset. */
  heal(): void {
    this.#fault = null;
    for (const link of [...this.#links]) link.heal();
  }

  async close(): Promise<void> {
    for (const link of [...this.#links]) link.reset();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #accept(client: Socket): void {
    // A reset that lasts refuses whoever comes meanwhile.
    if (this.#fault?.kind === 'reset') {
      client.on('error', () => undefined);
      client.resetAndDestroy();
      return;
    }
    const server = dial({ port: this.#toPort, host: '127.0.0.1', noDelay: true });
    const link = new Link(client, server);
    this.#links.add(link);
    link.onEnd = () => this.#links.delete(link);
    if (this.#fault !== null && this.#fault.kind !== 'half-open') link.inject(this.#fault);
  }
}

/** One connection through a proxy. */
class Link {
  onEnd: () => void = () => undefined;
  readonly #client: Socket;
  readonly #server: Socket;
  #delayMs = 0;
  #bytesLeft = Number.POSITIVE_INFINITY;
  #isHalfOpen = false;
  #isOver = false;

  constructor(client: Socket, server: Socket) {
    this.#client = client;
    this.#server = server;
    client.on('data', (chunk: Buffer) => this.#toServer(chunk));
    server.on('data', (chunk: Buffer) => this.#pass(chunk, this.#server, this.#client));
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      socket.on('error', () => this.#socketLost());
      socket.on('end', () => this.#later(() => other.end()));
      socket.on('close', () => this.#closed(socket));
    }
  }

  inject(fault: ProxyFault): void {
    switch (fault.kind) {
      case 'delay':
        this.#delayMs = fault.ms;
        return;
      case 'silence':
        this.#client.pause();
        this.#server.pause();
        return;
      case 'half-open':
        this.#isHalfOpen = true;
        this.#server.resetAndDestroy();
        return;
      case 'reset':
        this.reset();
        return;
      case 'cut':
        this.#bytesLeft = fault.bytes;
    }
  }

  heal(): void {
    if (this.#isHalfOpen) {
      this.reset();
      return;
    }
    this.#delayMs = 0;
    this.#bytesLeft = Number.POSITIVE_INFINITY;
    this.#client.resume();
    this.#server.resume();
  }

  reset(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#client.resetAndDestroy();
    this.#server.resetAndDestroy();
    this.onEnd();
  }

  #toServer(chunk: Buffer): void {
    if (this.#isHalfOpen) return;
    if (chunk.length <= this.#bytesLeft) {
      this.#bytesLeft -= chunk.length;
      this.#pass(chunk, this.#client, this.#server);
      return;
    }
    // The server gets the first part of it, and may well act on whole messages in there before it sees the end.
    const passed = chunk.subarray(0, this.#bytesLeft);
    this.#bytesLeft = 0;
    this.#server.write(passed, () => setTimeout(() => this.reset(), 1));
  }

  #pass(chunk: Buffer, from: Socket, to: Socket): void {
    this.#later(() => {
      if (to.destroyed || to.write(chunk)) return;
      from.pause();
      to.once('drain', () => from.resume());
    });
  }

  /** Timers of one length fire in the order in which they were set, so delayed chunks stay in order. */
  #later(act: () => void): void {
    if (this.#delayMs === 0) act();
    else setTimeout(act, this.#delayMs);
  }

  #socketLost(): void {
    if (!this.#isHalfOpen) this.reset();
  }

  #closed(socket: Socket): void {
    if (this.#isHalfOpen && socket === this.#server) return;
    if (this.#client.destroyed && this.#server.destroyed) {
      this.#isOver = true;
      this.onEnd();
    } else if (socket === this.#client) {
      this.#server.end();
    } else {
      this.#client.end();
    }
  }
}
