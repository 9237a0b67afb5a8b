import { beforeAll, describe, expect, test } from 'vitest';
import type { Digests, KeyRange, KeyText } from '../../src/databases/digests.ts';
import { postgresDatabase } from '../../src/databases/postgres/database.ts';
import { postgresDigests } from '../../src/databases/postgres/digests.ts';
import type { Table } from '../../src/domain/table.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/** Values whose text has differed between versions, settings or drivers somewhere, or could. */
const WIDE = `
  CREATE EXTENSION citext; CREATE EXTENSION hstore;
  CREATE TYPE mood AS ENUM ('glad', 'sad, "very"'); CREATE TYPE pair AS (a int, b text);
  CREATE DOMAIN code AS varchar(8) CHECK (value <> '');
  CREATE TABLE wide (id int PRIMARY KEY, f4 real, f8 float8, n numeric, m money, c "char", bp char(5), t text, ci citext,
    h hstore, x xml, j json, jb jsonb, d date, ts timestamp, tz timestamptz, tt timetz, iv interval, b bytea, bi bit(5),
    vb varbit, u uuid, i inet, ma macaddr8, p point, ci2 circle, r int4range, tr tstzrange, a int[], ta text[], mo mood,
    co pair, dc code, tv tsvector, rc regclass, double_it int GENERATED ALWAYS AS (id * 2) STORED);
  INSERT INTO wide (id, f4, f8, n, m, c, bp, t, ci, h, x, j, jb, d, ts, tz, tt, iv, b, bi, vb, u, i, ma, p, ci2, r, tr, a,
    ta, mo, co, dc, tv, rc) VALUES
  (1, '1.1', '-0', '1.10', '1234.56', 'é', 'ab', E'äöü €\\t\\\\ "x", 漢字 \\U0001F600', 'MiXed', 'a=>1, b=>NULL', '<a>ü</a>',
   '{"b": 1, "a" :2, "b":3}', '{"n": 1.00000000000000000001}', '0044-03-15 BC', '294276-12-31 23:59:59.999999',
   '2020-02-29 12:00:00.000001+02', '12:00:00+05:30', '1 year -3 days 04:05:06.000007', '\\x00ff', '10101', '111',
   'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.1.2.3/8', '08:00:2b:01:02:03:04:05', '(0.1,-0)', '<(1,2),3.3>', '[1,5)',
   '[2020-01-01 00:00:00+00,infinity)', '[2:3]={7,NULL}', '{"a,b",NULL,"NULL",""}', 'sad, "very"', '(1,"x ""y""")', 'é', 'a:1 fat:2,4', 'wide'),
  (2, 'NaN', '1e-310', 'NaN', '-0.01', '', '', '', '', '', 'x', 'null', '[]', 'infinity', '-infinity', 'infinity',
   '23:59:60-12', '-1 mons', '', '00000', '', '00000000-0000-0000-0000-000000000000', '::1', '00:00:00:00:00:00:00:00',
   '(NaN,Infinity)', '<(0,0),0>', 'empty', '(,)', '{}', '{{a},{b}}', 'glad', '(,)', 'x', '', NULL),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
   NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`;

const KEYED = `
  CREATE EXTENSION IF NOT EXISTS citext;
  CREATE DOMAIN tenant AS int;
  CREATE TABLE by_int (id int PRIMARY KEY, v text);
  CREATE TABLE by_pair (a tenant, "b B" text COLLATE "C", v text, PRIMARY KEY (a, "b B"));
  CREATE TABLE by_citext (a citext, n int, v text, PRIMARY KEY (a, n));
  CREATE TABLE by_pattern (a varchar(20) NOT NULL, n int NOT NULL, v text);
  CREATE UNIQUE INDEX by_pattern_key ON by_pattern (a varchar_pattern_ops, n DESC); ALTER TABLE by_pattern REPLICA IDENTITY USING INDEX by_pattern_key;
  CREATE TABLE by_other (a text NOT NULL, v text);
  CREATE UNIQUE INDEX by_other_key ON by_other (a COLLATE "C" DESC); ALTER TABLE by_other REPLICA IDENTITY USING INDEX by_other_key;
  CREATE TABLE by_char (a char(6) PRIMARY KEY, v text);
  CREATE TABLE by_numeric (a numeric PRIMARY KEY, v text);
  CREATE TABLE by_time (a timestamptz, f float8, PRIMARY KEY (a, f), v text);
  INSERT INTO by_int SELECT g, 'v' || g FROM generate_series(1, 1000) g;
  INSERT INTO by_pair SELECT g % 7, 'k"' || g, 'v' FROM generate_series(1, 1000) g;
  INSERT INTO by_citext SELECT (CASE g % 2 WHEN 0 THEN 'Ab' ELSE 'aB' END) || g % 50, g, 'v' FROM generate_series(1, 1000) g;
  INSERT INTO by_pattern SELECT chr(97 + g % 26) || '-é' || g % 90, g, 'v' FROM generate_series(1, 1000) g;
  INSERT INTO by_other SELECT chr(65 + g % 50) || g, 'v' FROM generate_series(1, 1000) g;
  INSERT INTO by_char SELECT 'x' || g, 'v' FROM generate_series(1, 1000) g;
  INSERT INTO by_numeric SELECT g / 10.0, 'v' FROM generate_series(1, 1000) g;
  INSERT INTO by_time SELECT '2020-01-01'::timestamptz + g / 3 * interval '1.000001 s', g, 'v' FROM generate_series(1, 1000) g;`;

const KEYED_TABLES = ['by_int', 'by_pair', 'by_citext', 'by_pattern', 'by_other', 'by_char', 'by_numeric', 'by_time'];

describe('digests on 13 and 18', () => {
  const pair = useServerPair();
  const servers: PostgresServer[] = [];
  let made = 0;

  const make = async (url: string) => {
    const server = new PostgresServer({ url, label: 'side', application: 'switchback' });
    servers.push(server);
    const { tables } = await postgresDatabase(server).inventory();
    const table = (name: string): Table => {
      const found = tables.find((candidate) => candidate.name === name);
      if (found === undefined) throw new Error(`no table ${name}`);
      return found;
    };
    return { server, url, digests: postgresDigests(server), table };
  };

  const both = async (sql: string, targetSql = sql) => {
    const name = `digests_${++made}`;
    const urls = [await createDatabase(pair().source, name), await createDatabase(pair().target, name)] as const;
    await runSql(urls[0], sql);
    await runSql(urls[1], targetSql);
    return { source: await make(urls[0]), target: await make(urls[1]) };
  };

  const walk = async (digests: Digests, table: Table, rows: number): Promise<KeyRange[]> => {
    const ranges: KeyRange[] = [];
    let after: KeyText | null = null;
    do {
      const range: KeyRange = await digests.nextRange(table, after, rows);
      ranges.push(range);
      after = range.upTo;
    } while (after !== null);
    return ranges;
  };

  let keyed: Awaited<ReturnType<typeof both>>;
  let wide: Awaited<ReturnType<typeof both>>;
  beforeAll(async () => {
    keyed = await both(KEYED);
    wide = await both(WIDE);
    return async () => {
      for (const server of servers) await server.close();
    };
  });

  test('every type has one text and so one digest, row by row, under pinned settings', async () => {
    const everything: KeyRange = { after: null, upTo: null };
    await runSql(
      wide.target.url,
      `ALTER DATABASE digests_2 SET DateStyle = 'German'; ALTER DATABASE digests_2 SET extra_float_digits = 0`,
    );
    const source = await wide.source.digests.rowsOf(wide.source.table('wide'), everything);
    const target = await wide.target.digests.rowsOf(wide.target.table('wide'), everything);
    expect(source).toHaveLength(3);
    expect(target).toEqual(source);
    const digest = await wide.source.digests.ofRange(wide.source.table('wide'), everything);
    expect(await wide.target.digests.ofRange(wide.target.table('wide'), everything)).toEqual(digest);
    expect(digest.rows).toBe('3');
  });

  test.each([
    `f8 = 0`,
    `n = 1.1`,
    `bp = 'abc'`,
    `t = t || ' '`,
    `j = '{"b": 1, "a":2, "b":3}'`,
    `tz = tz + interval '0.000001'`,
    `a = '{7,NULL}'`,
    `co = '(1,)'`,
    `ci = 'mixed'`,
  ])('the smallest difference shows: %s', async (change) => {
    const { source } = wide;
    const range: KeyRange = { after: ['0'], upTo: ['1'] };
    const before = await source.digests.ofRange(source.table('wide'), range);
    await runSql(source.url, `UPDATE wide SET ${change} WHERE id = 1`);
    const after = await source.digests.ofRange(source.table('wide'), range);
    expect(after.rows).toBe('1');
    expect(after.sum).not.toBe(before.sum);
  });

  test.each(KEYED_TABLES)('ranges of %s hold every row once and mean the same rows on both sides', async (name) => {
    const table = keyed.source.table(name);
    const ranges = await walk(keyed.source.digests, table, 90);
    expect(ranges).toHaveLength(12);
    const keys = new Set<string>();
    for (const range of ranges) {
      const rows = await keyed.source.digests.rowsOf(table, range);
      for (const row of rows) keys.add(JSON.stringify(row.key));
      const digest = await keyed.source.digests.ofRange(table, range);
      expect(digest).toEqual(await keyed.target.digests.ofRange(keyed.target.table(name), range));
      expect(Number(digest.rows)).toBe(rows.length);
      const byKey = await keyed.target.digests.ofKeys(
        keyed.target.table(name),
        rows.map((row) => row.key),
      );
      expect(byKey).toEqual(digest);
    }
    expect(keys.size).toBe(1000);
  });

  // Not one of these may read the whole table: 1000 rows are 10 ranges here, but 10^8 rows would be 10^6.
  test('ranges and keys are read by the index, without statistics too', async () => {
    const { url, server, digests } = keyed.source;
    for (const name of KEYED_TABLES) {
      const table = keyed.source.table(name);
      const [first, second] = await walk(digests, table, 400);
      if (first?.upTo == null || second === undefined) throw new Error('ranges are missing');
      await runSql(url, `SELECT pg_stat_reset_single_table_counters('${name}'::regclass)`);
      await digests.ofRange(table, second);
      await digests.nextRange(table, first.upTo, 10);
      await digests.ofKeys(table, [first.upTo]);
    }
    // A session reports its counters when it ends.
    await server.close();
    servers.splice(servers.indexOf(server), 1);
    for (let tries = 0; tries < 100; tries++) {
      const pending = await runSql(
        url,
        `SELECT relname FROM pg_stat_user_tables WHERE relname LIKE 'by\\_%' AND idx_scan < 3`,
      );
      if (pending.length === 0) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const stats = await runSql(
      url,
      `SELECT relname, seq_scan::int FROM pg_stat_user_tables WHERE relname LIKE 'by\\_%' ORDER BY 1`,
    );
    expect(stats).toEqual([...KEYED_TABLES].sort().map((relname) => ({ relname, seq_scan: 0 })));
    keyed = { ...keyed, source: await make(url) };
  });

  // The two sides sort differently, as they do when glibc changes under an upgrade. Ranges are cut by one side's order.
  test('where the sides sort text differently every row is still in some range, and keys settle it', async () => {
    const rows = `INSERT INTO word SELECT chr(65 + g % 58) || chr(97 + g % 25) || (CASE WHEN g % 3 = 0 THEN '-' ELSE '' END) || g, 'v'
                  FROM generate_series(1, 600) g`;
    const sides = await both(
      `CREATE TABLE word (w text COLLATE "en-x-icu" PRIMARY KEY, v text); ${rows}`,
      `CREATE TABLE word (w text COLLATE "C" PRIMARY KEY, v text); ${rows};
       UPDATE word SET v = 'flipped' WHERE w = (SELECT min(w) FROM word)`,
    );
    const [source, target] = [sides.source.table('word'), sides.target.table('word')];
    const seen = { source: new Set<string>(), target: new Set<string>() };
    const suspects = new Set<string>();
    for (const range of await walk(sides.source.digests, source, 50)) {
      const here = new Map(
        (await sides.source.digests.rowsOf(source, range)).map((row) => [row.key[0] ?? '', row.hash]),
      );
      const there = new Map(
        (await sides.target.digests.rowsOf(target, range)).map((row) => [row.key[0] ?? '', row.hash]),
      );
      for (const key of here.keys()) seen.source.add(key);
      for (const key of there.keys()) seen.target.add(key);
      for (const key of new Set([...here.keys(), ...there.keys()]))
        if (here.get(key) !== there.get(key)) suspects.add(key);
    }
    expect(seen.source.size).toBe(600);
    expect(seen.target.size).toBe(600);
    const divergent: string[] = [];
    for (const key of suspects) {
      const [a, b] = [
        await sides.source.digests.ofKeys(source, [[key]]),
        await sides.target.digests.ofKeys(target, [[key]]),
      ];
      if (a.sum !== b.sum || a.rows !== b.rows) divergent.push(key);
    }
    expect(suspects.size).toBeGreaterThan(1);
    expect(divergent).toHaveLength(1);
  });

  test("the two sides may name the key's index differently", async () => {
    const rows = `INSERT INTO named SELECT g % 10, g, 'v' FROM generate_series(1, 300) g`;
    const { source, target } = await both(
      `CREATE TABLE named (a int, b int, v text, PRIMARY KEY (a, b)); ${rows}`,
      `CREATE TABLE named (a int, b int, v text, CONSTRAINT other PRIMARY KEY (b, a)); ${rows}`,
    );
    const table = source.table('named');
    for (const range of await walk(source.digests, table, 100)) {
      expect(await target.digests.ofRange(table, range)).toEqual(await source.digests.ofRange(table, range));
    }
    await runSql(target.url, 'ALTER TABLE named DROP CONSTRAINT other');
    const without = postgresDigests(target.server).ofKeys(table, [['1', '1']]);
    await expect(without).rejects.toMatchObject({ kind: 'refused' });
  });

  test('hashes come in the order of their keys, null where there is no row', async () => {
    const { digests, table } = keyed.source;
    const keys = [['7'], ['5000'], ['3'], ['7']];
    const hashes = await digests.hashesOf(table('by_int'), keys);
    const rows = await digests.rowsOf(table('by_int'), { after: ['2'], upTo: ['7'] });
    const hashOf = (key: string) => rows.find((row) => row.key[0] === key)?.hash;
    expect(hashes).toEqual([hashOf('7'), null, hashOf('3'), hashOf('7')]);
    expect(await digests.hashesOf(table('by_int'), [])).toEqual([]);
  });

  test('keys that are given twice, in two spellings, or not there', async () => {
    const { digests, table } = keyed.source;
    const one = await digests.ofKeys(table('by_numeric'), [['1.0']]);
    expect(one.rows).toBe('1');
    expect(await digests.ofKeys(table('by_numeric'), [['1.0'], ['1.000'], ['1.0'], ['-7']])).toEqual(one);
    expect(await digests.ofKeys(table('by_int'), [['5000']])).toEqual({ rows: '0', sum: '0' });
    expect(await digests.ofKeys(table('by_int'), [])).toEqual({ rows: '0', sum: '0' });
    const [row] = await digests.rowsOf(table('by_char'), { after: ['x1'], upTo: ['x10'] });
    expect(row?.key).toEqual(['x10   ']);
  });

  test('a table without a key has one range, and rows that are there twice count twice', async () => {
    const { source, target } = await both(
      `CREATE TABLE bag (v text); INSERT INTO bag VALUES ('x'), ('x'), ('y')`,
      `CREATE TABLE bag (v text); INSERT INTO bag VALUES ('x'), ('y'), ('y')`,
    );
    expect(await walk(source.digests, source.table('bag'), 1)).toEqual([{ after: null, upTo: null }]);
    const here = await source.digests.ofRange(source.table('bag'), { after: null, upTo: null });
    const there = await target.digests.ofRange(target.table('bag'), { after: null, upTo: null });
    expect([here.rows, there.rows]).toEqual(['3', '3']);
    expect(here.sum).not.toBe(there.sum);
  });
});
