import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { useServer } from '../support/servers.ts';

/** A server whose packets are lost from some moment on: the connection stands, and nothing comes any more. */
describe('a server that has fallen silent', () => {
  const real = useServer({ version: 18 });
  let proxy: Server;
  let isSilent = false;
  const sockets: Socket[] = [];

  beforeAll(async () => {
    const { port } = new URL(real().url);
    proxy = createServer({ allowHalfOpen: true }, (client) => {
      const server = connect(Number(port), '127.0.0.1');
      sockets.push(client, server);
      for (const [from, to] of [
        [client, server],
        [server, client],
      ] as const) {
        from.on('data', (bytes) => {
          if (!isSilent) to.write(bytes);
        });
        from.on('error', () => undefined);
        // What a silent network does not carry either is the end.
        from.on('close', () => {
          if (!isSilent) to.destroy();
        });
      }
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => {
    for (const socket of sockets) socket.destroy();
    proxy?.close();
  });

  it('counts as lost when a statement is not answered in time, and is left without its goodbye', async () => {
    const url = new URL(real().url);
    url.port = String((proxy.address() as { port: number }).port);
    const server = new PostgresServer({ url: url.toString(), label: 'target', application: 'test' });
    const session = await server.connect('test', { silentMs: 300 });
    expect((await session.query('SELECT 1 AS one')).rows).toEqual([{ one: '1' }]);
    const idle = await server.connect('idle');
    await server.query('SELECT 1');
    isSilent = true;
    const failure = await session.query('SELECT 2').catch((error: unknown) => server.wrap(error));
    expect(failure).toMatchObject({ kind: 'unreachable' });
    // Both would otherwise wait for as long as TCP repeats itself.
    await Promise.all([session.end(), idle.end()]);
    await server.close();
  });
});
