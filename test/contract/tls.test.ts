import { createServer, type Server, type Socket } from 'node:net';
import pg from 'pg';
import replication from 'pg-logical-replication';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { dumpSchema } from '../../src/databases/postgres/schema/dump.ts';
import { messageOf, SwitchbackError } from '../../src/domain/errors.ts';
import { pipeRows } from '../../src/engines/stream/copy-pipe.ts';
import { DivertibleSocket } from '../../src/platform/postgres/divertible-socket.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { useServer } from '../support/servers.ts';

/**
 * What `sslmode` says is what happens, on every kind of session that we open: of our own, of the pool, of replication, of
 * pg_dump. The servers and certificates are real; whoever stands in the middle and says that there is no TLS is a proxy.
 */
const tls = useServer({ version: 18 });
const plain = useServer({ version: 13 });

let certificates: Certificates;
let hasCertificates = false;
beforeAll(() => {
  const made = makeCertificates();
  hasCertificates = made !== null;
  if (made !== null) certificates = made;
});
afterAll(() => hasCertificates && certificates.remove());

const proxies: Server[] = [];
afterEach(() => {
  for (const proxy of proxies.splice(0)) proxy.close();
});

/** Says `N` to everybody who asks for TLS, and keeps what it is then told. */
const stripper = async (): Promise<{ readonly port: number; readonly heard: Buffer[] }> => {
  const heard: Buffer[] = [];
  const proxy = createServer((socket: Socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.on('data', (bytes) => heard.push(bytes));
      socket.write('N');
    });
  });
  proxies.push(proxy);
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const address = proxy.address();
  return { port: typeof address === 'object' && address !== null ? address.port : 0, heard };
};

/** Every way in which we open a session, by a name for the test. Each ends what it opened. */
const SESSIONS: Readonly<Record<string, (url: string) => Promise<unknown>>> = {
  'a session': async (url) => {
    const server = new PostgresServer({ url, label: 'source', application: 'switchback' });
    try {
      const client = await server.connect('test');
      await client.end();
    } finally {
      await server.close();
    }
  },
  'the pool': async (url) => {
    const server = new PostgresServer({ url, label: 'source', application: 'switchback' });
    try {
      await server.query('SELECT 1');
    } finally {
      await server.close();
    }
  },
  'a replication connection': async (url) => {
    const server = new PostgresServer({ url, label: 'source', application: 'switchback' });
    const client = new pg.Client({ ...server.config('snapshot'), replication: 'database' } as pg.ClientConfig);
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query('IDENTIFY_SYSTEM');
    } catch (error) {
      throw server.wrap(error);
    } finally {
      await client.end().catch(() => undefined);
      await server.close();
    }
  },
  "the stream's reader": async (url) => {
    const server = new PostgresServer({ url, label: 'source', application: 'switchback' });
    const service = new replication.LogicalReplicationService(server.config('reader'), {
      acknowledge: { auto: false, timeoutSeconds: 0 },
    });
    service.on('error', () => undefined);
    const plugin = {
      name: 'pgoutput',
      options: {},
      parse: (bytes: Buffer) => bytes,
      // It has got in; there is no slot to read.
      start: async () => undefined,
    };
    try {
      await service.subscribe(plugin as unknown as Parameters<typeof service.subscribe>[0], 'none');
    } catch (error) {
      throw server.wrap(error);
    } finally {
      await service.destroy().catch(() => undefined);
      await server.close();
    }
  },
  pg_dump: async (url) => await dumpSchema({ program: 'pg_dump', url, sourceMajor: 13 }),
};

const failure = async (work: Promise<unknown>): Promise<SwitchbackError | null> => {
  try {
    await work;
    return null;
  } catch (error) {
    return error instanceof SwitchbackError ? error : new SwitchbackError('internal', messageOf(error));
  }
};

const urlOf = (at: { readonly host: string; readonly port: number }, parameters: string): string =>
  `postgresql://postgres:canary@${at.host}:${at.port}/postgres?${parameters}`;

describe.each(Object.entries(SESSIONS))('%s', (name, open) => {
  // A pg_dump that is older than the server is refused for that reason, so it meets the older one.
  const server = () => (name === 'pg_dump' ? plain() : tls());
  const here = (parameters: string, host = 'localhost') => urlOf({ host, port: server().port }, parameters);

  const expectRefused = async (url: string, why: RegExp): Promise<void> => {
    const error = await failure(open(url));
    expect([error?.kind, error?.message]).toEqual([
      name === 'pg_dump' ? 'unreachable' : 'refused',
      expect.stringMatching(why),
    ]);
    expect(`${error?.message} ${error?.remedy}`).not.toContain('canary');
  };

  describe('to a server with a certificate', () => {
    beforeAll(async () => {
      if (hasCertificates) await certificates.install(server(), { names: 'DNS:localhost', days: 1 });
    });

    it('is made when all is right', async (test) => {
      if (!hasCertificates) return test.skip();
      expect(await failure(open(here(`sslmode=verify-full&sslrootcert=${certificates.authority('ours')}`)))).toBeNull();
      expect(await failure(open(here('sslmode=require')))).toBeNull();
      expect(await failure(open(here('sslmode=no-verify')))).toBeNull();
    });

    it('is refused when another authority signed it', async (test) => {
      if (!hasCertificates) return test.skip();
      const other = certificates.authority('other');
      const why = /certificate|signature/i;
      for (const mode of ['verify-full', 'verify-ca', 'require']) {
        await expectRefused(here(`sslmode=${mode}&sslrootcert=${other}`), why);
      }
      // The system's authorities have not signed it either; that is what verify-full means when none is named.
      await expectRefused(here('sslmode=verify-full'), /certificate/i);
    });

    it('is refused when it is for another host, also for an address, unless only the authority is asked for', async (test) => {
      if (!hasCertificates) return test.skip();
      const ours = certificates.authority('ours');
      // node-postgres alone would check an address against the name localhost.
      await expectRefused(here(`sslmode=verify-full&sslrootcert=${ours}`, '127.0.0.1'), /altnames|does not match/i);
      expect(await failure(open(here(`sslmode=verify-ca&sslrootcert=${ours}`, '127.0.0.1')))).toBeNull();
    });
  });

  it('is refused when the certificate has expired', async (test) => {
    if (!hasCertificates) return test.skip();
    await certificates.install(server(), { names: 'DNS:localhost,IP:127.0.0.1', days: -1 });
    const ours = certificates.authority('ours');
    for (const mode of ['verify-full', 'verify-ca']) {
      await expectRefused(
        here(`sslmode=${mode}&sslrootcert=${ours}`),
        name === 'pg_dump' ? /verify failed/ : /expired/i,
      );
    }
  });

  it.each(['require', 'verify-full'])('is refused with %s when somebody says that there is no TLS', async (mode) => {
    const { port, heard } = await stripper();
    const url = urlOf({ host: 'localhost', port }, `sslmode=${mode}`);
    await expectRefused(url, /does not support SSL/i);
    expect(Buffer.concat(heard).toString()).toBe('');
  });
});

it('rows of a copy are piped out of an encrypted session, and into one', async (test) => {
  if (!hasCertificates) return test.skip();
  await certificates.install(tls(), { names: 'DNS:localhost', days: 1 });
  const open = (url: string) => new PostgresServer({ url, label: 'source', application: 'switchback' });
  const encrypted = open(urlOf({ host: 'localhost', port: tls().port }, 'sslmode=require'));
  const clear = open(plain().url);
  for (const [from, to] of [[encrypted, clear] as const, [clear, encrypted] as const]) {
    const reader = await from.connect('copy', { socket: () => new DivertibleSocket() });
    const writer = await to.connect('copy');
    expect(reader.connection.stream instanceof DivertibleSocket).toBe(from === clear);
    try {
      await writer.query('CREATE TEMP TABLE t (x text)');
      const read = 'COPY (SELECT repeat(md5(i::text), 31) FROM generate_series(1, 20000) i) TO STDOUT';
      const pipe = { reader, read, writer, write: 'COPY t FROM STDIN', signal: new AbortController().signal };
      expect((await pipeRows(pipe)).rows).toBe(20_000);
      const wrong = 'SELECT count(*) AS n FROM t FULL JOIN generate_series(1, 20000) i ON x = repeat(md5(i::text), 31)';
      expect((await writer.query(`${wrong} WHERE i IS NULL OR x IS NULL`)).rows).toEqual([{ n: '0' }]);
      expect((await reader.query('SELECT 1 AS one')).rows).toEqual([{ one: '1' }]);
    } finally {
      await Promise.all([reader.end(), writer.end()]);
    }
  }
  await Promise.all([encrypted.close(), clear.close()]);
});
