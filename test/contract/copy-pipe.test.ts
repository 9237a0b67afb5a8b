import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import type pg from 'pg';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { readInventory } from '../../src/databases/postgres/inventory.ts';
import { displayName } from '../../src/domain/table.ts';
import { chooseFormats } from '../../src/engines/stream/copy-format.ts';
import { type CopyPipe, pipeRows } from '../../src/engines/stream/copy-pipe.ts';
import { sleep } from '../../src/platform/clock.ts';
import { DivertibleSocket } from '../../src/platform/postgres/divertible-socket.ts';
import { PostgresServer, type SessionOptions } from '../../src/platform/postgres/server.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

const pair = useServerPair();
let from: PostgresServer;
let to: PostgresServer;
const sessions: pg.Client[] = [];

const serverOf = (url: string, label: string) => new PostgresServer({ url, label, application: 'switchback' });
let urls = { from: '', to: '' };

beforeAll(async () => {
  urls = { from: await createDatabase(pair().source, 'pipe'), to: await createDatabase(pair().target, 'pipe') };
  from = serverOf(urls.from, 'source');
  to = serverOf(urls.to, 'target');
  return async () => {
    await Promise.all([from.close(), to.close()]);
  };
});

afterEach(async () => {
  await Promise.all(sessions.splice(0).map((session) => session.end()));
});

/** Rows of 1 kB, made by the source as they are read. */
const rowsSql = (count: number, first = 'i'): string =>
  `COPY (SELECT ${first}, repeat('x', 1000) FROM generate_series(1, ${count}) i) TO STDOUT WITH (FORMAT binary)`;

interface Stand {
  readonly pipe: CopyPipe;
  readonly reader: pg.Client;
  readonly writer: pg.Client;
  readonly pids: { readonly reader: number; readonly writer: number };
  readonly controller: AbortController;
  /** Bytes that were passed on so far. */
  passed(): number;
}

const OURS: SessionOptions = { socket: () => new DivertibleSocket() };

/** A pipe into an empty table, in a transaction that has begun. */
const stand = async (read: string, source: SessionOptions = OURS): Promise<Stand> => {
  const [reader, writer] = [await from.connect('copy', source), await to.connect('copy')];
  sessions.push(reader, writer);
  await runSql(urls.to, 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int, x text)');
  const pid = async (client: pg.Client) => Number((await client.query('SELECT pg_backend_pid() AS p')).rows[0].p);
  const pids = { reader: await pid(reader), writer: await pid(writer) };
  await writer.query('BEGIN');
  const controller = new AbortController();
  let passed = 0;
  const onBytes = (bytes: number): undefined => {
    passed += bytes;
  };
  const write = 'COPY public.t FROM STDIN WITH (FORMAT binary)';
  const pipe = { reader, read, writer, write, signal: controller.signal, onBytes };
  return { pipe, reader, writer, pids, controller, passed: () => passed };
};

/** Whatever became of the sessions: nothing stays on the target, and none of them keeps anybody waiting. */
const expectNothingLeft = async ({ writer }: Stand): Promise<void> => {
  await writer.query('ROLLBACK').catch(() => undefined);
  const busy = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state <> 'idle'`;
  await expect.poll(() => runSql(urls.to, busy), { timeout: 20_000 }).toEqual([{ n: 0 }]);
  expect(await runSql(urls.to, 'SELECT count(*)::int AS n FROM t')).toEqual([{ n: 0 }]);
};

/** Resolves when rows are on their way. */
const underWay = async ({ passed }: Stand): Promise<void> => {
  await expect.poll(passed, { timeout: 20_000 }).toBeGreaterThan(100_000);
};

/** Keeps the target from taking rows, from the first one on. */
const STALL = `
  CREATE OR REPLACE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END';
  CREATE TRIGGER stall BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION stall()`;

/** The driver's own is how an encrypted session is read. */
const SOCKETS: readonly (readonly [string, SessionOptions])[] = [
  ['a socket of ours', OURS],
  ["the driver's own socket", {}],
];

describe.each(SOCKETS)('the pipe between two servers, reading %s', (_, socket) => {
  test('carries rows and counts them; both sessions can be used again', async () => {
    const s = await stand(rowsSql(3_000), socket);
    const bytes = 19 + 2 + 3_000 * (2 + 4 + 4 + 4 + 1_000);
    expect(await pipeRows(s.pipe)).toEqual({ rows: 3_000, bytes });
    const second = await pipeRows({ ...s.pipe, read: rowsSql(10) });
    expect(second.rows).toBe(10);
    await s.writer.query('COMMIT');
    const sums = 'SELECT count(*)::int AS n, sum(i)::int AS i, sum(length(x))::int AS x FROM t';
    expect(await runSql(urls.to, sums)).toEqual([{ n: 3_010, i: 4_501_555, x: 3_010_000 }]);
    expect((await s.reader.query('SELECT 1 AS one')).rows).toEqual([{ one: '1' }]);
    // The headers of messages are passed on beside what they hold.
    expect(s.passed()).toBeGreaterThan(bytes);
  });

  test('an error of the source in the middle is told, and the target rolls back', async () => {
    const s = await stand(rowsSql(9_000, '1 / (8000 - i)'), socket);
    await expect(pipeRows(s.pipe)).rejects.toMatchObject({ message: 'division by zero' });
    await expectNothingLeft(s);
  });

  test('an error of the target in the middle is told', async () => {
    const s = await stand(rowsSql(200_000), socket);
    await runSql(urls.to, 'ALTER TABLE t ADD CONSTRAINT few CHECK (i < 5000)');
    await expect(pipeRows(s.pipe)).rejects.toMatchObject({ message: expect.stringContaining('"few"') });
    await expectNothingLeft(s);
  });

  test('a statement that either server refuses is told before any row', async () => {
    const refused = await stand('COPY (SELECT 1 FROM nowhere) TO STDOUT WITH (FORMAT binary)', socket);
    await expect(pipeRows(refused.pipe)).rejects.toMatchObject({ message: expect.stringContaining('nowhere') });
    await expectNothingLeft(refused);
    const s = await stand(rowsSql(200_000), socket);
    const write = 'COPY public.nowhere FROM STDIN WITH (FORMAT binary)';
    await expect(pipeRows({ ...s.pipe, write })).rejects.toMatchObject({ message: expect.stringContaining('nowhere') });
    await expectNothingLeft(s);
  });

  test('a session that is lost on either side is told', async () => {
    for (const side of ['reader', 'writer'] as const) {
      const s = await stand(rowsSql(2_000_000), socket);
      const piping = pipeRows(s.pipe).catch((error: unknown) => error);
      await underWay(s);
      await runSql(side === 'reader' ? urls.from : urls.to, `SELECT pg_terminate_backend(${s.pids[side]})`);
      expect(String(await piping)).toMatch(/terminat|ECONNRESET|EPIPE|closed/);
      await expectNothingLeft(s);
    }
  });

  test('an abort ends both, and is the reason', async () => {
    const s = await stand(rowsSql(2_000_000), socket);
    const piping = pipeRows(s.pipe);
    await Promise.all([
      expect(piping).rejects.toThrow('enough'),
      underWay(s).then(() => s.controller.abort(new Error('enough'))),
    ]);
    await expectNothingLeft(s);
    await expect(pipeRows(s.pipe)).rejects.toThrow('enough');
  });

  test('a target that takes no rows stops the source: nothing is gathered in between', async () => {
    const s = await stand(rowsSql(200_000), socket);
    await s.writer.query('COMMIT');
    await runSql(urls.to, STALL);
    const piping = pipeRows(s.pipe).catch((error: unknown) => error);
    await underWay(s);
    // Until the servers' own buffers and the system's are full.
    for (let before = -1; before !== s.passed(); await sleep(300)) before = s.passed();
    expect(s.passed()).toBeLessThan(20 * 2 ** 20);
    expect(s.writer.connection.stream.writableLength).toBeLessThan(2 ** 20);
    s.controller.abort(new Error('enough'));
    await runSql(urls.to, `SELECT pg_cancel_backend(${s.pids.writer})`);
    expect(String(await piping)).toBe('Error: enough');
    await expectNothingLeft(s);
  });

  test('it waits while it is told to', async () => {
    const s = await stand(rowsSql(20_000), socket);
    const gate = Promise.withResolvers<void>();
    let told = 0;
    const onBytes = (): Promise<void> => {
      told += 1;
      return gate.promise;
    };
    const piping = pipeRows({ ...s.pipe, onBytes });
    await expect.poll(() => told).toBe(1);
    await sleep(100);
    expect(told).toBe(1);
    gate.resolve();
    expect((await piping).rows).toBe(20_000);
  });
});

/** Stands before the source, and passes on what it says in pieces of so many bytes. Returns its URL, and what ends it. */
const shredder = async (bytes: number): Promise<{ readonly url: string; readonly close: () => void }> => {
  const { hostname, port } = new URL(urls.from);
  const proxy = createServer({ noDelay: true }, async (client) => {
    const server = connect(Number(port), hostname);
    for (const socket of [client, server]) socket.on('error', () => undefined);
    client.pipe(server);
    for await (const said of server) {
      for (let at = 0; at < (said as Buffer).length; at += bytes) {
        client.write((said as Buffer).subarray(at, at + bytes));
        await setImmediate();
      }
    }
    client.end();
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const url = new URL(urls.from);
  url.host = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  return { url: url.href, close: () => proxy.close() };
};

/** Rows that differ all over, and what they come to. */
const distinctSql = (count: number): string =>
  `COPY (SELECT i, repeat(md5(i::text), 31) FROM generate_series(1, ${count}) i) TO STDOUT WITH (FORMAT binary)`;
const sumSql = (rows: string): string => `SELECT count(*)::int AS n, sum(hashtext(x))::text AS sum FROM ${rows}`;

const expectDistinct = async (count: number): Promise<void> => {
  const made = `(SELECT repeat(md5(i::text), 31) AS x FROM generate_series(1, ${count}) i) made`;
  expect(await runSql(urls.to, sumSql('t'))).toEqual(await runSql(urls.from, sumSql(made)));
};

describe('the buffer that rows are read into', () => {
  test('is not read into again while the target has not taken them', async () => {
    const rows = 40_000;
    const s = await stand(distinctSql(rows));
    await s.writer.query('COMMIT');
    await runSql(
      urls.to,
      `CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END';
       CREATE TRIGGER wait BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.i % 10000 = 1) EXECUTE FUNCTION wait()`,
    );
    const keeper = await to.connect('test');
    sessions.push(keeper);
    await keeper.query('SELECT pg_advisory_lock(7)');
    const piping = pipeRows(s.pipe);
    await expect.poll(() => s.writer.connection.stream.writableLength, { timeout: 20_000 }).toBeGreaterThan(0);
    await sleep(100);
    await keeper.query('SELECT pg_advisory_unlock(7)');
    expect((await piping).rows).toBe(rows);
    await expectDistinct(rows);
  });

  test('is not read into by the driver either, once the source is through', async () => {
    // Few enough to come in one piece.
    const s = await stand(distinctSql(5));
    await s.writer.query('COMMIT');
    const { stream } = s.writer.connection;
    s.writer.connection.once('copyInResponse', () => stream.cork());
    const piping = pipeRows(s.pipe);
    await expect.poll(s.passed).toBeGreaterThan(0);
    expect(stream.writableLength).toBeGreaterThan(0);
    expect((await s.reader.query(`SELECT repeat('y', 100000) AS y`)).rows[0].y).toBe('y'.repeat(100_000));
    stream.uncork();
    expect((await piping).rows).toBe(5);
    await expectDistinct(5);
  });

  test.each([1, 3, 7])('holds the parts of what comes in pieces of %i bytes', async (bytes) => {
    const proxy = await shredder(bytes);
    const shredded = serverOf(proxy.url, 'source');
    const reader = await shredded.connect('copy', OURS);
    sessions.push(reader);
    const s = await stand(distinctSql(3));
    await s.writer.query('COMMIT');
    expect((await pipeRows({ ...s.pipe, reader })).rows).toBe(3);
    expect((await reader.query('SELECT 1 AS one')).rows).toEqual([{ one: '1' }]);
    await expectDistinct(3);
    await shredded.close();
    proxy.close();
  });
});

describe('the format of a table', () => {
  const BINARY = [
    'int8',
    'numeric(9,2)',
    'text',
    'bpchar',
    'char(3)',
    '"char"',
    'varchar(9)',
    'bytea',
    'float4',
    'float8',
    'jsonb',
    'json',
  ]
    .concat([
      'timestamptz',
      'interval',
      'timetz',
      'uuid',
      'inet',
      'cidr',
      'macaddr',
      'bit(3)',
      'varbit',
      'money',
      'point',
      'box',
      'polygon',
    ])
    .concat([
      'int[]',
      'text[][]',
      'numeric[]',
      'jsonb[]',
      'int4range',
      'tstzrange',
      'tsvector',
      'oid',
      'mood',
      'zip',
      'ints',
      'name',
      'pg_lsn',
    ]);
  const TEXT = [
    'regclass',
    'regtype',
    'regclass[]',
    'xml',
    'pair',
    'pair[]',
    'mood[]',
    'zip[]',
    'odd_range',
    'citext',
    'hstore',
    'oidvector',
  ];
  const TYPES = `
    CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN zip AS text CHECK (value <> ''); CREATE DOMAIN ints AS int[];
    CREATE TYPE odd_range AS RANGE (subtype = text);`;

  test('is binary where the bytes mean the same on both sides, else text', async () => {
    const sql = (types: readonly string[]) =>
      types.map((type, i) => `CREATE TABLE f_${i} (id int, v ${type})`).join('; ');
    const types = [...BINARY, ...TEXT];
    await runSql(urls.from, `${TYPES}${sql(types)}; CREATE TABLE bare ()`);
    // Types of ours that are made in another order have other numbers there.
    await runSql(urls.to, `CREATE TYPE first AS ENUM ('x'); ${TYPES}${sql(types)}; CREATE TABLE bare ()`);
    await runSql(urls.to, 'ALTER TABLE f_0 ALTER v TYPE int4');
    const { tables } = await readInventory(from);
    const formats = await chooseFormats({ from, to }, tables);
    const found = Object.fromEntries(types.map((type, i) => [type, formats.get(`public.f_${i}`)]));
    expect(found).toEqual({
      ...Object.fromEntries(BINARY.map((type) => [type, 'binary'])),
      ...Object.fromEntries(TEXT.map((type) => [type, 'text'])),
      int8: 'text',
    });
    expect(formats.get('public.bare')).toBe('text');
    expect(tables.map(displayName)).toContain('public.bare');
  });

  test('is text when the sides have other encodings', async () => {
    await runSql(pair().target.url, `CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`);
    const latin = serverOf(pair().target.urlFor('latin'), 'target');
    await runSql(urls.from, 'CREATE TABLE plain (id int)');
    await runSql(pair().target.urlFor('latin'), 'CREATE TABLE plain (id int)');
    await runSql(urls.to, 'CREATE TABLE plain (id int)');
    const tables = (await readInventory(from)).tables.filter((t) => t.name === 'plain');
    expect([...(await chooseFormats({ from, to }, tables)).values()]).toEqual(['binary']);
    expect([...(await chooseFormats({ from, to: latin }, tables)).values()]).toEqual(['text']);
    await latin.close();
  });
});
