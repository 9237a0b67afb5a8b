import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { monotonicMs } from '../../src/platform/clock.ts';

/**
 * What a proxy does to its connections, until it is healed:
 * `delay` every chunk of bytes for so long; `silence`, as when packets are lost both ways (nothing is lost from a stream, it
 * waits); `mute`, where the server hears everything and its answers never arrive (what was sent, such as a COMMIT, is done,
 * and the connection is reset when it is healed); `half-open`, where the server's end has gone and the client's end hears nothing of it; `reset` at once; `cut`,
 * where each connection is reset after it has carried so many more bytes towards the server; `commit`, where each connection is reset when it asks for
 * a COMMIT, which the server has heard or has not: nobody can tell from the client's end.
 */
export type ProxyFault =
  | { readonly kind: 'delay'; readonly ms: number }
  | { readonly kind: 'silence' }
  | { readonly kind: 'mute' }
  | { readonly kind: 'half-open' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'cut'; readonly bytes: number }
  | { readonly kind: 'commit'; readonly isHeard: boolean };

/** A simple query or a parsed statement of the protocol holds the word as it was written; all of ours write it so. */
const COMMIT = Buffer.from('COMMIT\0');
/** Long enough for the server to act on what it has heard. */
const RESET_AFTER_MS = 50;

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

/** What waits to be done on one way of a connection, in order, each at its time or later. */
class Way {
  readonly #waiting: { readonly dueMs: number; readonly act: () => void }[] = [];
  #timer: NodeJS.Timeout | undefined;
  delayMs = 0;

  add(act: () => void): void {
    if (this.delayMs === 0 && this.#waiting.length === 0) {
      act();
      return;
    }
    this.#waiting.push({ dueMs: monotonicMs() + this.delayMs, act });
    this.#wait();
  }

  /** Nothing waits any longer; what has waited goes first. */
  hurry(): void {
    this.delayMs = 0;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { act } of this.#waiting.splice(0)) act();
  }

  #wait(): void {
    const [first] = this.#waiting;
    if (this.#timer !== undefined || first === undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#waiting.shift();
        first.act();
        this.#wait();
      },
      Math.max(0, first.dueMs - monotonicMs()),
    );
  }
}

/** One connection through a proxy. */
class Link {
  onEnd: () => void = () => undefined;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #toServer = new Way();
  readonly #toClient = new Way();
  #bytesLeft = Number.POSITIVE_INFINITY;
  #commit: { readonly isHeard: boolean } | undefined;
  #isSilent = false;
  #isMute = false;
  #isHalfOpen = false;
  #isOver = false;

  constructor(client: Socket, server: Socket) {
    this.#client = client;
    this.#server = server;
    client.on('data', (chunk: Buffer) => this.#fromClient(chunk));
    server.on('data', (chunk: Buffer) => this.#toClient.add(() => this.#pass(chunk, server, client)));
    client.on('end', () => this.#toServer.add(() => server.end()));
    server.on('end', () => this.#toClient.add(() => client.end()));
    for (const socket of [client, server]) {
      socket.on('error', () => this.#lost());
      socket.on('close', () => this.#closed(socket));
    }
  }

  inject(fault: ProxyFault): void {
    switch (fault.kind) {
      case 'delay':
        this.#toServer.delayMs = fault.ms;
        this.#toClient.delayMs = fault.ms;
        return;
      case 'silence':
        this.#isSilent = true;
        this.#client.pause();
        this.#server.pause();
        return;
      case 'mute':
        this.#isMute = true;
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
        return;
      case 'commit':
        this.#commit = fault;
    }
  }

  heal(): void {
    if (this.#isHalfOpen || this.#isMute) {
      this.reset();
      return;
    }
    this.#toServer.hurry();
    this.#toClient.hurry();
    this.#bytesLeft = Number.POSITIVE_INFINITY;
    this.#commit = undefined;
    if (!this.#isSilent) return;
    this.#isSilent = false;
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

  #fromClient(chunk: Buffer): void {
    if (this.#isHalfOpen) return;
    if (this.#commit !== undefined && chunk.includes(COMMIT)) {
      this.#cutAtCommit(chunk, this.#commit);
      return;
    }
    if (chunk.length <= this.#bytesLeft) {
      this.#bytesLeft -= chunk.length;
      this.#toServer.add(() => this.#pass(chunk, this.#client, this.#server));
      return;
    }
    // The server gets the first part of it, and may well act on whole messages in there before it sees the end.
    const passed = chunk.subarray(0, this.#bytesLeft);
    this.#bytesLeft = 0;
    this.#server.write(passed, () => setTimeout(() => this.reset(), 1));
  }

  #cutAtCommit(chunk: Buffer, { isHeard }: { readonly isHeard: boolean }): void {
    if (!isHeard) {
      this.reset();
      return;
    }
    this.#isMute = true;
    this.#server.pause();
    this.#server.write(chunk);
    setTimeout(() => this.reset(), RESET_AFTER_MS);
  }

  #pass(chunk: Buffer, from: Socket, to: Socket): void {
    if (to.destroyed || to.write(chunk)) return;
    from.pause();
    to.once('drain', () => {
      if (!this.#isSilent && !(this.#isMute && from === this.#server)) from.resume();
    });
  }

  #lost(): void {
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
      this.#toClient.add(() => this.#client.end());
    }
  }
}
