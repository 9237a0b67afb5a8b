import type pg from 'pg';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { readInventory } from '../../src/databases/postgres/inventory.ts';
import { displayName } from '../../src/domain/table.ts';
import { chooseFormats } from '../../src/engines/stream/copy-format.ts';
import { type CopyPipe, pipeRows } from '../../src/engines/stream/copy-pipe.ts';
import { sleep } from '../../src/platform/clock.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
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

/** A pipe into an empty table, in a transaction that has begun. */
const stand = async (read: string): Promise<Stand> => {
  const [reader, writer] = [await from.connect('copy'), await to.connect('copy')];
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

describe('the pipe between two servers', () => {
  test('carries rows and counts them; both sessions can be used again', async () => {
    const s = await stand(rowsSql(3_000));
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
    const s = await stand(rowsSql(9_000, '1 / (8000 - i)'));
    await expect(pipeRows(s.pipe)).rejects.toMatchObject({ message: 'division by zero' });
    await expectNothingLeft(s);
  });

  test('an error of the target in the middle is told', async () => {
    const s = await stand(rowsSql(200_000));
    await runSql(urls.to, 'ALTER TABLE t ADD CONSTRAINT few CHECK (i < 5000)');
    await expect(pipeRows(s.pipe)).rejects.toMatchObject({ message: expect.stringContaining('"few"') });
    await expectNothingLeft(s);
  });

  test('a statement that either server refuses is told before any row', async () => {
    const refused = await stand('COPY (SELECT 1 FROM nowhere) TO STDOUT WITH (FORMAT binary)');
    await expect(pipeRows(refused.pipe)).rejects.toMatchObject({ message: expect.stringContaining('nowhere') });
    await expectNothingLeft(refused);
    const s = await stand(rowsSql(200_000));
    const write = 'COPY public.nowhere FROM STDIN WITH (FORMAT binary)';
    await expect(pipeRows({ ...s.pipe, write })).rejects.toMatchObject({ message: expect.stringContaining('nowhere') });
    await expectNothingLeft(s);
  });

  test('a session that is lost on either side is told', async () => {
    for (const side of ['reader', 'writer'] as const) {
      const s = await stand(rowsSql(2_000_000));
      const piping = pipeRows(s.pipe).catch((error: unknown) => error);
      await underWay(s);
      await runSql(side === 'reader' ? urls.from : urls.to, `SELECT pg_terminate_backend(${s.pids[side]})`);
      expect(String(await piping)).toMatch(/terminat|ECONNRESET|EPIPE|closed/);
      await expectNothingLeft(s);
    }
  });

  test('an abort ends both, and is the reason', async () => {
    const s = await stand(rowsSql(2_000_000));
    const piping = pipeRows(s.pipe);
    await Promise.all([
      expect(piping).rejects.toThrow('enough'),
      underWay(s).then(() => s.controller.abort(new Error('enough'))),
    ]);
    await expectNothingLeft(s);
    await expect(pipeRows(s.pipe)).rejects.toThrow('enough');
  });

  test('a target that takes no rows stops the source: nothing is gathered in between', async () => {
    const s = await stand(rowsSql(200_000));
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
    const s = await stand(rowsSql(20_000));
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
