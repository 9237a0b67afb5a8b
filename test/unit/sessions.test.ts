import type pg from 'pg';
import { expect, test } from 'vitest';
import { PostgresSessions } from '../../src/databases/postgres/sessions.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';

/** A server that lets a session in and dies before its first statement is answered. */
class DyingServer extends PostgresServer {
  ended = 0;

  override connect(): Promise<pg.Client> {
    const session = {
      query: () => Promise.reject(new Error('Connection terminated unexpectedly')),
      end: async () => {
        this.ended += 1;
      },
      on: () => undefined,
    };
    return Promise.resolve(session as unknown as pg.Client);
  }
}

// A worker that came just then ended with exit code 1 and without a word of what to do.
test('a server that dies while a worker makes itself present cannot be reached', async () => {
  const server = new DyingServer({ url: 'postgresql://nobody@127.0.0.1/none', label: 'source', application: 'test' });
  const presence = new PostgresSessions(server).presence();
  await expect(presence).rejects.toMatchObject({ kind: 'unreachable', remedy: expect.stringContaining('check that') });
  expect(server.ended).toBe(1);
  await server.close();
});
