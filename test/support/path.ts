import { createServer, connect as dial, type Socket } from 'node:net';
import { afterAll } from 'vitest';

/** A path that clients take, as a name or a proxy is one: whoever connects is led to a port of this machine. */
export interface ClientsPath {
  /** Where clients connect. */
  readonly port: number;
  /** Leads whoever connects from now on elsewhere; null refuses them. Those who are connected stay where they are. */
  lead(port: number | null): void;
  /** Cuts each of those who are connected when it says something next, and not before. */
  cutWhenSpeaking(): void;
}

/** Opens a path from within a hook or a test; it is closed after the tests of the file. */
export const usePaths = (): ((port: number) => Promise<ClientsPath>) => {
  const closing: (() => void)[] = [];
  afterAll(() => {
    for (const close of closing) close();
  });
  return async (first) => {
    let to: number | null = first;
    const sockets = new Set<Socket>();
    const clients = new Map<Socket, Socket>();
    const server = createServer((client) => {
      if (to === null) return void client.destroy();
      const onward = dial(to, '127.0.0.1');
      for (const [socket, other] of [
        [client, onward],
        [onward, client],
      ] as const) {
        sockets.add(socket);
        socket.on('error', () => other.destroy());
        socket.on('close', () => {
          sockets.delete(socket);
          other.destroy();
        });
      }
      clients.set(client, onward);
      client.on('close', () => clients.delete(client));
      client.pipe(onward);
      onward.pipe(client);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    closing.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const address = server.address();
    if (address === null || typeof address !== 'object') throw new Error('the path does not listen');
    return {
      port: address.port,
      lead: (port) => {
        to = port;
      },
      cutWhenSpeaking: () => {
        for (const [client, onward] of clients) {
          client.unpipe(onward);
          client.once('data', () => client.destroy()).resume();
        }
      },
    };
  };
};
