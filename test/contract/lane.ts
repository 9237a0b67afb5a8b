import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import type { RunningServer } from '../../src/demo/servers.ts';
import { isKind, type SwitchbackError } from '../../src/domain/errors.ts';
import { type Following, LaneWorld, type MakeEngine, quiet } from '../support/lanes.ts';
import { runSql } from '../support/servers.ts';

/** What the suite runs with: two servers, and the engine under test. */
export interface LaneContractOptions {
  servers(): { readonly from: RunningServer; readonly to: RunningServer };
  readonly engine: MakeEngine;
  /** Whether it is strict; see `Capabilities`. What it leaves to the servers is not asked of it here. */
  readonly strict: boolean;
}

/** The error that a run ended with. Fails when it ended otherwise. */
export const failureOf = async (following: Following, kind: SwitchbackError['kind']): Promise<SwitchbackError> => {
  const error = await following.ended;
  if (!isKind(error, kind)) throw new Error(`ended with ${String(error)}, not with kind ${kind}`, { cause: error });
  return error;
};

/** What every lane between two PostgreSQL databases must do. */
export const laneContract = (name: string, options: LaneContractOptions): void => {
  const opened: LaneWorld[] = [];
  afterEach(async () => {
    for (const world of opened.splice(0)) await world.close();
  });
  const worldOf = async (schema: string): Promise<LaneWorld> => {
    const world = await LaneWorld.create(options.servers(), options.engine, schema);
    opened.push(world);
    return world;
  };
  const expectSame = async (world: LaneWorld): Promise<void> => {
    const { from, to } = await world.contents();
    expect(to).toEqual(from);
  };
  /** Runs each text as one transaction on the origin, drains, and compares. */
  const carries = async (schema: string, ...transactions: string[]): Promise<LaneWorld> => {
    const world = await worldOf(schema);
    const { lane } = await world.begin();
    // The first drain leaves the catching up behind: what follows is applied strictly.
    await world.drain(lane);
    for (const transaction of transactions) await runSql(world.fromUrl, transaction);
    await world.drain(lane);
    await expectSame(world);
    return world;
  };

  describe(`${name}: rows`, () => {
    test('inserts, updates and deletes, in one transaction and in many', async () => {
      await carries(
        'CREATE TABLE t (id int PRIMARY KEY, v text, n numeric(12, 4))',
        "INSERT INTO t SELECT i, 'v' || i, i / 3.0 FROM generate_series(1, 500) i",
        'UPDATE t SET v = NULL WHERE id % 3 = 0; DELETE FROM t WHERE id % 5 = 0; INSERT INTO t VALUES (-1, $$a\\b\t$$, NULL)',
        'DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, $$again$$, 1); UPDATE t SET n = -n',
        'INSERT INTO t VALUES (1000, $$gone$$, 0); DELETE FROM t WHERE id = 1000',
      );
    });

    test('keys that change, trade places and come back', async () => {
      await carries(
        'CREATE TABLE t (a text, b int, v text, PRIMARY KEY (b, a))',
        "INSERT INTO t SELECT 'k' || i, i, 'v' FROM generate_series(1, 50) i",
        'UPDATE t SET b = b + 1000',
        "UPDATE t SET a = 'x', b = 1 WHERE b = 1001; UPDATE t SET a = 'k1', b = 1001 WHERE b = 1",
        "UPDATE t SET b = -1 WHERE b = 1002; UPDATE t SET a = 'k2', b = 1002 WHERE b = 1003; UPDATE t SET b = 1003 WHERE b = -1",
        "DELETE FROM t WHERE b = 1004; UPDATE t SET a = 'k4', b = 1004 WHERE b = 1005",
      );
    });

    test('values out of line that an update leaves alone, also when the key changes', async () => {
      const big = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i)";
      await carries(
        'CREATE TABLE t (id int PRIMARY KEY, big text, big2 text, v int); ALTER TABLE t ALTER big SET STORAGE EXTERNAL',
        `INSERT INTO t SELECT i, ${big} || i, ${big}, i FROM generate_series(1, 20) i`,
        'UPDATE t SET v = v + 1',
        `UPDATE t SET big = 'short' WHERE id = 3; UPDATE t SET v = 0 WHERE id = 3; UPDATE t SET big2 = NULL WHERE id = 4`,
        'UPDATE t SET id = id + 100 WHERE id < 6',
        `UPDATE t SET id = 200 WHERE id = 101; INSERT INTO t VALUES (101, 'new', 'new', 1); UPDATE t SET id = 201, v = 7 WHERE id = 200`,
        `INSERT INTO t VALUES (300, ${big}, ${big}, 0); UPDATE t SET id = 301 WHERE id = 300; UPDATE t SET v = 9 WHERE id = 301`,
        `UPDATE t SET v = 5, big = big || 'x' WHERE id = 10; UPDATE t SET v = 6 WHERE id = 10; UPDATE t SET id = 11000 WHERE id = 11`,
      );
    });

    test('unique values that rows trade, also when the constraint is deferred', async () => {
      await carries(
        `CREATE TABLE now (id int PRIMARY KEY, u int UNIQUE);
         CREATE TABLE later (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE spans (id int PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&))`,
        `INSERT INTO now SELECT i, i FROM generate_series(1, 10) i; INSERT INTO later SELECT * FROM now;
         INSERT INTO spans SELECT i, int4range(i, i + 1) FROM generate_series(1, 10) i`,
        'UPDATE now SET u = 0 WHERE id = 1; UPDATE now SET u = 1 WHERE id = 2; UPDATE now SET u = 2 WHERE id = 1',
        'UPDATE later SET u = 11 - u',
        `UPDATE spans SET r = 'empty' WHERE id = 1; UPDATE spans SET r = '[1,2)' WHERE id = 2; UPDATE spans SET r = '[2,3)' WHERE id = 1`,
        'DELETE FROM now WHERE id = 3; UPDATE now SET u = 3 WHERE id = 4; INSERT INTO now VALUES (3, 4)',
      );
    });

    test('TRUNCATE, of one table, of several, of a leaf, and with identities', async () => {
      const world = await carries(
        `CREATE TABLE a (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY REFERENCES a);
         CREATE TABLE p (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
         CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
         CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2, 3) PARTITION BY LIST (k);
         CREATE TABLE p22 PARTITION OF p2 FOR VALUES IN (2); CREATE TABLE p23 PARTITION OF p2 FOR VALUES IN (3)`,
        'INSERT INTO a DEFAULT VALUES; INSERT INTO b VALUES (1); INSERT INTO p VALUES (1, 1), (2, 2), (3, 3)',
        'INSERT INTO a VALUES (50); TRUNCATE a CASCADE; INSERT INTO a VALUES (7)',
        'TRUNCATE p1; INSERT INTO p VALUES (4, 1), (5, 3)',
        'TRUNCATE p2; INSERT INTO p VALUES (6, 2)',
        'UPDATE p SET k = 3 WHERE id = 6; UPDATE p SET k = 1 WHERE id = 6',
        'TRUNCATE a RESTART IDENTITY CASCADE; TRUNCATE p; INSERT INTO p VALUES (9, 2)',
      );
      const [row] = await runSql(world.toUrl, "SELECT nextval(pg_get_serial_sequence('a', 'id')) AS next");
      expect(row?.next).toBe('1');
    });

    test('tables without a key: duplicates and NULLs', async () => {
      await carries(
        'CREATE TABLE k (a int, b text, d numeric); ALTER TABLE k REPLICA IDENTITY FULL; CREATE TABLE log (line text)',
        `INSERT INTO k SELECT 1, NULL, 1.0 FROM generate_series(1, 3); INSERT INTO k VALUES (1, '', 2)`,
        `DELETE FROM k WHERE ctid = (SELECT ctid FROM k WHERE b IS NULL LIMIT 1); UPDATE k SET b = 'x' WHERE b = ''`,
        `UPDATE k SET a = 2 WHERE ctid = (SELECT ctid FROM k WHERE b IS NULL LIMIT 1); INSERT INTO k VALUES (9)`,
        "INSERT INTO log SELECT 'line ' || i FROM generate_series(1, 100) i",
        `UPDATE k SET a = 10, b = repeat('long ', 1000) WHERE a = 9; DELETE FROM k WHERE a = 10`,
      );
    });

    test.runIf(options.strict)('tables without a key whose types have no equality', async () => {
      await carries(
        `CREATE TABLE k (a int, b text, j json, x xml, p point, d numeric, c char(5), f float8);
         ALTER TABLE k REPLICA IDENTITY FULL;
         CREATE TABLE log (at timestamptz, line text);`,
        `INSERT INTO k SELECT 1, NULL, '{"a": 1}', '<a/>', '(1,2)', 1.0, 'ab', '-0' FROM generate_series(1, 3)`,
        `INSERT INTO k VALUES (1, '', '{"a":1}', '<a/>', '(1,2)', 1.00, 'ab', 0), (1, NULL, '{"a":1}', NULL, NULL, 1.00, NULL, 'NaN')`,
        "DELETE FROM k WHERE ctid = (SELECT ctid FROM k WHERE d::text = '1.0' LIMIT 1)",
        "UPDATE k SET b = 'x' WHERE b = ''; UPDATE k SET a = 2 WHERE ctid = (SELECT ctid FROM k WHERE d::text = '1.0' LIMIT 1)",
        "INSERT INTO log SELECT now(), 'line ' || i FROM generate_series(1, 100) i",
        `DELETE FROM k WHERE f = 'NaN'; INSERT INTO k VALUES (9); UPDATE k SET b = repeat('long ', 1000) WHERE a = 9`,
        `UPDATE k SET a = 10 WHERE a = 9; DELETE FROM k WHERE a = 10`,
      );
    });

    test('replica identity FULL and by index', async () => {
      await carries(
        `CREATE TABLE f (id int PRIMARY KEY, v text, big text); ALTER TABLE f REPLICA IDENTITY FULL;
         ALTER TABLE f ALTER big SET STORAGE EXTERNAL;
         CREATE TABLE i (a int, b uuid NOT NULL, v text); CREATE UNIQUE INDEX i_b ON i (b); ALTER TABLE i REPLICA IDENTITY USING INDEX i_b`,
        "INSERT INTO f SELECT g, 'v', repeat('big ', 2000) FROM generate_series(1, 10) g",
        'INSERT INTO i SELECT g, md5(g::text)::uuid, $$v$$ FROM generate_series(1, 10) g',
        'UPDATE f SET v = NULL WHERE id < 5; UPDATE f SET id = -id WHERE id > 7; DELETE FROM f WHERE id = 6',
        "UPDATE i SET v = 'w' WHERE a < 5; UPDATE i SET b = md5('x')::uuid WHERE a = 6; DELETE FROM i WHERE a = 7",
      );
    });

    test('columns of all sorts: identity, generated, hostile names, collations, domains, own types and casts', async () => {
      await carries(
        `CREATE EXTENSION citext; CREATE EXTENSION hstore;
         CREATE SCHEMA "a.b ""c"; CREATE TYPE "a.b ""c"."mo'od" AS ENUM ('so, so', 'a"b', '\\');
         CREATE DOMAIN posint AS int NOT NULL CHECK (VALUE > 0); CREATE TYPE pair AS (x int, y text);
         CREATE DOMAIN letter AS "char";
         CREATE FUNCTION wrong(text) RETURNS pair LANGUAGE sql AS 'SELECT ROW(0, ''wrong'')::pair';
         CREATE CAST (text AS pair) WITH FUNCTION wrong(text);
         CREATE TABLE "a.b ""c"."t$1 '\\" (
           "ID" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "select" posint, double int GENERATED ALWAYS AS (("select" + 0) * 2) STORED,
           m "a.b ""c"."mo'od"[], p pair, c "char", l letter, r regclass, b bit(3), vb varbit, ch char(4), n name, h hstore, arr int[], ts timestamptz, i interval, js jsonb);
         CREATE TABLE col (k text COLLATE "C" PRIMARY KEY, v varchar(5) COLLATE "POSIX");
         CREATE TABLE ci (k citext COLLATE "C" PRIMARY KEY, v int); CREATE TABLE bp (k char(6) PRIMARY KEY, v int);
         CREATE TABLE en (k "a.b ""c"."mo'od" PRIMARY KEY, v int); CREATE TABLE nu (k numeric PRIMARY KEY, v int);
         CREATE TABLE onlykey (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE nocolumn ();
         CREATE TABLE alw (k int PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY, v text)`,
        `INSERT INTO "a.b ""c"."t$1 '\\" ("select", m, p, c, l, r, b, vb, ch, n, h, arr, ts, i, js)
           SELECT g, ARRAY['so, so', 'a"b', '\\', NULL]::"a.b ""c"."mo'od"[], ROW(g, 'x, "y')::pair, '\\001', 'q', 'pg_class', B'101', B'1', 'ab', 'n', 'a=>"1, 2"',
                  '[3:4]={1,2}', '0044-03-15 12:00:00.000001 BC', '1 mon -3 days 00:00:00.5', '{"a": [1e3, "\\u00e9"]}' FROM generate_series(1, 5) g`,
        `UPDATE "a.b ""c"."t$1 '\\" SET p = (1, NULL), r = '4294967295', "select" = "select" + 1 WHERE "ID" < 4; DELETE FROM "a.b ""c"."t$1 '\\" WHERE "ID" = 2`,
        `INSERT INTO col VALUES ('ä', 'x'), ('Z', NULL), ('a', 'y'); UPDATE col SET v = 'vv' WHERE k = 'Z'; UPDATE col SET k = 'b' WHERE k = 'ä'; DELETE FROM col WHERE k = 'a'`,
        `INSERT INTO ci VALUES ('Abc', 1), ('x', 2); UPDATE ci SET k = 'aBC' WHERE k = 'abc'; UPDATE ci SET v = 3 WHERE k = 'ABC'; DELETE FROM ci WHERE k = 'X'`,
        `INSERT INTO bp VALUES ('a ', 1), ('b', 2); UPDATE bp SET v = 2 WHERE k = 'a'; UPDATE bp SET k = 'c' WHERE k = 'b'`,
        `INSERT INTO en VALUES ('so, so', 1), ('\\', 2); UPDATE en SET v = 0; DELETE FROM en WHERE v = 0 AND k = '\\'`,
        `INSERT INTO nu VALUES (1.0, 1), (2.000, 2); UPDATE nu SET k = 1.00 WHERE k = 1; UPDATE nu SET v = 5 WHERE k = 1; DELETE FROM nu WHERE k = 2`,
        'INSERT INTO onlykey VALUES (1, 1), (2, 2); UPDATE onlykey SET b = 3 WHERE a = 1; UPDATE onlykey SET a = a; INSERT INTO nocolumn DEFAULT VALUES',
        "INSERT INTO alw (k, v) VALUES (1, 'a'), (2, 'b'); UPDATE alw SET v = 'c'; UPDATE alw SET k = 3 WHERE k = 1",
      );
    });

    test('triggers, foreign keys and checks of the other side do not stop or change what the origin had', async () => {
      await carries(
        `CREATE TABLE child (id int PRIMARY KEY, parent int); CREATE TABLE parent (id int PRIMARY KEY);
         ALTER TABLE child ADD FOREIGN KEY (parent) REFERENCES parent DEFERRABLE INITIALLY DEFERRED;
         CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF pg_backend_pid() > 0 AND current_setting('server_version_num')::int / 10000 = current_setting('stop.on', true)::int THEN RAISE 'stopped'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER stop BEFORE INSERT ON child FOR EACH STATEMENT EXECUTE FUNCTION stop()`,
        'INSERT INTO child VALUES (1, 10); INSERT INTO parent VALUES (10)',
        'INSERT INTO parent VALUES (11); UPDATE child SET parent = 11; DELETE FROM parent WHERE id = 10',
      );
    });

    test('values of more than a megabyte', async () => {
      await carries(
        'CREATE TABLE t (id int PRIMARY KEY, v text, b bytea)',
        "INSERT INTO t VALUES (1, repeat('ä', 3000000), decode(repeat('00ff', 500000), 'hex')), (2, '', '')",
        "UPDATE t SET v = repeat('b', 1500000) WHERE id = 1; UPDATE t SET b = decode(repeat('01', 9000000), 'hex') WHERE id = 2",
      );
    });
  });

  describe(`${name}: batches`, () => {
    // What passes through us has to be more than our buffers hold; what does not, only more than the keys that are told.
    const count = options.strict ? 200_000 : 20_000;
    test(`a transaction of ${1.5 * count} changes is one transaction there too, and takes little memory`, async () => {
      const world = await worldOf('CREATE TABLE t (id int PRIMARY KEY, v text, n int)');
      const { lane, following } = await world.begin();
      await world.drain(lane);
      const before = process.memoryUsage().rss;
      let most = 0;
      let partly = 0;
      const watch = setInterval(() => {
        most = Math.max(most, process.memoryUsage().rss);
        // By key: reading it all while it is written would take longer than the writing.
        void world.to.query('SELECT 1 FROM public.t WHERE id IN (1, $1)', [String(count)]).then(({ rowCount }) => {
          partly += rowCount === 1 ? 1 : 0;
        });
      }, 100);
      await runSql(
        world.fromUrl,
        `INSERT INTO t SELECT i, repeat(md5(i::text), 30), i FROM generate_series(1, ${count}) i; UPDATE t SET n = -n WHERE id <= ${count / 2}`,
      );
      await world.drain(lane);
      clearInterval(watch);
      await expectSame(world);
      expect(partly).toBe(0);
      expect((most - before) / 2 ** 20).toBeLessThan(256);
      const large = following.told.applied.filter((a) => a.changes >= 1.5 * count);
      expect(large.map((a) => a.touched)).toEqual([[{ table: 'public.t', keys: 'all' }]]);
    });

    test('stopping and going on again and again under load loses and repeats nothing', async () => {
      const world = await worldOf(
        'CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE log (id serial PRIMARY KEY, t int); CREATE TABLE bare (t int)',
      );
      const { lane, following } = await world.begin();
      let current = following;
      let isWriting = true;
      const write = async (): Promise<void> => {
        for (let i = 0; isWriting; i++) {
          const id = i % 20;
          await world.from.transaction(async (sql) => {
            await sql.query('INSERT INTO public.t VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET n = t.n + 1', [
              String(id),
            ]);
            await sql.query('INSERT INTO public.log (t) VALUES ($1)', [String(id)]);
            await sql.query('INSERT INTO public.bare VALUES ($1)', [String(i)]);
          });
        }
      };
      const writers = [write(), write()];
      for (let round = 0; round < 12; round++) {
        await sleep(20 + round * 15);
        await current.stop();
        current = world.follow(lane);
      }
      isWriting = false;
      await Promise.all(writers);
      await world.drain(lane);
      await expectSame(world);
    });

    test('tells which keys were touched, and the lag', async () => {
      const world = await worldOf(
        'CREATE TABLE t (a int, b text, PRIMARY KEY (b, a)); CREATE TABLE k (v int); CREATE TABLE other (id int PRIMARY KEY)',
      );
      const { lane, following } = await world.begin();
      await world.drain(lane);
      following.told.applied.length = 0;
      await runSql(
        world.fromUrl,
        "INSERT INTO t VALUES (1, 'x'), (2, 'ü'); INSERT INTO k VALUES (1); INSERT INTO other VALUES (1); UPDATE t SET a = 3 WHERE a = 1",
      );
      await world.drain(lane);
      await runSql(world.fromUrl, 'TRUNCATE other');
      await world.drain(lane);
      const touched = following.told.applied.flatMap((a) => a.touched);
      expect(touched).toEqual([
        {
          table: 'public.t',
          keys: [
            ['x', '1'],
            ['ü', '2'],
            ['x', '3'],
          ],
        },
        { table: 'public.k', keys: 'all' },
        { table: 'public.other', keys: [['1']] },
        { table: 'public.other', keys: 'all' },
      ]);
      expect(following.told.lags.length).toBeGreaterThan(0);
      expect(Math.max(...following.told.lags)).toBeLessThan(5);
    });
  });

  describe(`${name}: catching up`, () => {
    // Everything is in the stream, and its outcome in the copy as well.
    test('changes from before the copy are applied once more without harm', async () => {
      const big = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i)";
      const world = await worldOf(
        `CREATE TABLE t (id int PRIMARY KEY, v int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         CREATE TABLE onlykey (id int PRIMARY KEY); CREATE TABLE alw (k int PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY)`,
      );
      await runSql(world.fromUrl, `INSERT INTO t SELECT i, i, ${big} || i FROM generate_series(1, 30) i`);
      const lane = await world.open({ kind: 'create' });
      for (const sql of [
        'UPDATE t SET v = v + 1 WHERE id < 10; DELETE FROM t WHERE id = 10',
        `INSERT INTO t VALUES (40, 1, ${big}), (41, 1, 'x'); UPDATE t SET v = 2 WHERE id = 40; DELETE FROM t WHERE id = 41`,
        'UPDATE t SET id = id + 100 WHERE id BETWEEN 11 AND 15',
        `INSERT INTO t VALUES (11, 1, 'another'); UPDATE t SET id = 12 WHERE id = 111; UPDATE t SET id = 500 WHERE id = 12`,
        'UPDATE t SET id = 600 WHERE id = 113; DELETE FROM t WHERE id = 600',
        'INSERT INTO onlykey VALUES (1), (2); UPDATE onlykey SET id = 3 WHERE id = 1; INSERT INTO alw VALUES (1), (2); UPDATE alw SET k = 3 WHERE k = 2',
        'UPDATE t SET v = 77 WHERE id = 500',
      ]) {
        await runSql(world.fromUrl, sql);
      }
      await lane.copy(quiet());
      // As if some chunks had been read in the middle of all that.
      await runSql(
        world.toUrl,
        `INSERT INTO t VALUES (41, 1, 'x'), (10, 10, 'before it was deleted'); DELETE FROM t WHERE id = 40`,
      );
      const following = world.follow(lane);
      await world.drain(lane);
      await expectSame(world);
      await runSql(world.fromUrl, 'UPDATE t SET v = 0; DELETE FROM t WHERE id = 500');
      await world.drain(lane);
      await expectSame(world);
      await following.stop();
    });

    // A chunk with the new key was read before the row moved there, one with the old key after another row had taken it.
    // The value that the move left alone is then on neither place of the copy.
    test('a moved row whose value is nowhere on the other side is read from the origin again', async () => {
      const big = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i)";
      const world = await worldOf('CREATE TABLE t (id int PRIMARY KEY, v int, big text)');
      await runSql(world.fromUrl, `INSERT INTO t SELECT i, i, ${big} || i FROM generate_series(1, 4) i`);
      const lane = await world.open({ kind: 'create' });
      await runSql(world.fromUrl, `UPDATE t SET id = 100 WHERE id = 1; INSERT INTO t VALUES (1, 9, 'other')`);
      await runSql(world.fromUrl, 'UPDATE t SET id = 101 WHERE id = 2; UPDATE t SET id = 102 WHERE id = 101');
      await runSql(world.fromUrl, 'UPDATE t SET id = 103 WHERE id = 3; DELETE FROM t WHERE id = 103');
      await lane.copy(quiet());
      // As if the chunk beyond 50 had been read before the rows moved.
      await runSql(world.toUrl, 'DELETE FROM t WHERE id > 50');
      const { strictFrom } = await lane.applied();
      const following = world.follow(lane);
      await world.drain(lane);
      await expectSame(world);
      const after = (await lane.applied()).strictFrom;
      expect(after).not.toBe(strictFrom);
      await runSql(world.fromUrl, 'UPDATE t SET v = v + 1');
      await world.drain(lane);
      await expectSame(world);
      await following.stop();
    });

    test('a random history before, during and after the copy', async () => {
      const world = await worldOf(
        `CREATE TABLE t (id int PRIMARY KEY, v int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         CREATE TABLE k (a int, v int); ALTER TABLE k REPLICA IDENTITY FULL`,
      );
      await runSql(
        world.fromUrl,
        `INSERT INTO t SELECT i, i, repeat(md5(i::text), 100) FROM generate_series(1, 100) i`,
      );
      // Statements are skipped where they would violate the key, so that any order of them is a history.
      const step = `DO $$ #variable_conflict use_column DECLARE x int; y int; BEGIN
        FOR i IN 1 .. 1 + (random() * 4)::int LOOP
          x := random() * 120; y := random() * 120;
          CASE (random() * 5)::int
            WHEN 0 THEN INSERT INTO t VALUES (x, y, repeat(md5(random()::text), 100)) ON CONFLICT DO NOTHING; INSERT INTO k VALUES (x % 5, y);
            WHEN 1 THEN DELETE FROM t WHERE id = x; DELETE FROM k WHERE ctid = (SELECT ctid FROM k LIMIT 1);
            WHEN 2 THEN UPDATE t SET big = repeat(md5(random()::text), 100) WHERE id = x;
            WHEN 3 THEN UPDATE t SET v = v + 1 WHERE id = x; UPDATE k SET v = v + 1 WHERE a = 3;
            ELSE UPDATE t SET id = y WHERE id = x AND NOT EXISTS (SELECT FROM t WHERE id = y);
          END CASE;
        END LOOP; END $$`;
      let isWriting = true;
      const write = async (): Promise<void> => {
        while (isWriting) await world.from.query(`SET search_path = public; ${step}`);
      };
      const lane = await world.open({ kind: 'create' });
      const writing = write();
      try {
        await sleep(300);
        await lane.copy(quiet());
        world.follow(lane);
        await sleep(1_500);
      } finally {
        isWriting = false;
        await writing;
      }
      await world.drain(lane);
      await expectSame(world);
    });
  });

  describe(`${name}: findings`, () => {
    const begun = async (schema: string, rows: string) => {
      const world = await worldOf(schema);
      await runSql(world.fromUrl, rows);
      const { lane, following } = await world.begin();
      await world.drain(lane);
      return { world, lane, following };
    };

    test.each([
      ['a new column', 'ALTER TABLE t ADD c int DEFAULT 5'],
      ['a column that is gone', 'ALTER TABLE t DROP v'],
      ['a renamed column', 'ALTER TABLE t RENAME v TO w'],
      ['another type', 'ALTER TABLE t ALTER n TYPE bigint'],
      ['another length', 'ALTER TABLE t ALTER v TYPE varchar(90)'],
      ['another own type', "CREATE TYPE m2 AS ENUM ('x'); ALTER TABLE t ALTER m TYPE m2 USING NULL"],
    ])('%s on the origin halts the lane until the other side has it too', async (_, ddl) => {
      const { world, lane, following } = await begun(
        "CREATE TYPE m AS ENUM ('x', 'y'); CREATE TABLE t (id int PRIMARY KEY, v varchar(20), n int, m m); CREATE TABLE o (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1, 'a', 1, 'x')",
      );
      await runSql(world.fromUrl, "INSERT INTO t VALUES (2, 'b', 2); INSERT INTO o VALUES (1)");
      await runSql(world.fromUrl, ddl);
      await runSql(world.fromUrl, 'INSERT INTO t (id) VALUES (3); INSERT INTO o VALUES (2)');
      const error = await failureOf(following, 'halted');
      expect(error.findings).toMatchObject([{ id: 'lane/schema-changed', severity: 'blocks', subject: 'public.t' }]);
      // What came before is there, nothing of the transaction that has the new form is.
      const strictly = [{ t: 2, o: 1 }];
      const there = await runSql(world.toUrl, 'SELECT (SELECT max(id) FROM t) AS t, (SELECT max(id) FROM o) AS o');
      if (options.strict) expect(there).toEqual(strictly);
      expect((await failureOf(world.follow(lane), 'halted')).findings[0]?.id).toBe('lane/schema-changed');
      await runSql(world.toUrl, ddl);
      const again = world.follow(await world.open({ kind: 'resume' }));
      const lane2 = await world.open({ kind: 'resume' });
      await again.stop();
      world.follow(lane2);
      await world.drain(lane2);
      await expectSame(world);
    });

    test('a new partition halts the lane', async () => {
      const { world, following } = await begun(
        'CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)',
        'INSERT INTO p VALUES (1)',
      );
      const ddl = 'CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)';
      await runSql(world.fromUrl, `${ddl}; INSERT INTO p VALUES (2), (11)`);
      expect((await failureOf(following, 'halted')).findings).toMatchObject([
        { id: 'lane/schema-changed', subject: 'public.p2' },
      ]);
      await runSql(world.toUrl, ddl);
      const lane = await world.open({ kind: 'resume' });
      world.follow(lane);
      await world.drain(lane);
      await expectSame(world);
    });

    test.runIf(options.strict).each([
      ['an update of a row that is not there', 'DELETE FROM t WHERE id = 2', 'UPDATE t SET v = 9 WHERE id IN (1, 2)'],
      ['a delete of a row that is not there', 'DELETE FROM t WHERE id = 2', 'DELETE FROM t WHERE id IN (1, 2)'],
      [
        'an insert of a row that is there',
        'INSERT INTO t VALUES (2000, 1)',
        'INSERT INTO t VALUES (1000, 1), (2000, 1)',
      ],
      [
        'an insert and a delete of a row that is there',
        'INSERT INTO t VALUES (2000, 1)',
        'INSERT INTO t VALUES (1000, 1), (2000, 1); DELETE FROM t WHERE id = 2000',
      ],
      [
        'a change of a key to one that is there',
        'INSERT INTO t VALUES (2000, 1)',
        'UPDATE t SET id = 2000 WHERE id = 1',
      ],
    ])('%s is a divergence that names the row, and nothing of its transaction stays', async (_, there, here) => {
      const { world, lane, following } = await begun(
        'CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE o (id int PRIMARY KEY)',
        'INSERT INTO t SELECT i, i FROM generate_series(1, 10) i',
      );
      await runSql(world.toUrl, there);
      const before = await runSql(world.toUrl, 'SELECT * FROM t ORDER BY id');
      await runSql(world.fromUrl, `INSERT INTO o VALUES (1); ${here}`);
      const error = await failureOf(following, 'halted');
      expect(error.findings).toMatchObject([{ id: 'lane/divergence', severity: 'blocks', subject: 'public.t' }]);
      expect(error.message).toMatch(/\(id\)=\(2(000)?\)/);
      expect(await runSql(world.toUrl, 'SELECT * FROM t ORDER BY id')).toEqual(before);
      expect(await runSql(world.toUrl, 'SELECT * FROM o')).toEqual([]);
      // Mended, it goes on.
      await runSql(
        world.toUrl,
        there.startsWith('DELETE') ? 'INSERT INTO t VALUES (2, 2)' : 'DELETE FROM t WHERE id = 2000',
      );
      world.follow(lane);
      await world.drain(lane);
      await expectSame(world);
    });

    test.runIf(options.strict)('a divergence in a table without a key', async () => {
      const { world, following } = await begun(
        'CREATE TABLE k (a int, b text); ALTER TABLE k REPLICA IDENTITY FULL',
        "INSERT INTO k VALUES (1, 'x'), (2, NULL)",
      );
      await runSql(world.toUrl, 'DELETE FROM k WHERE a = 2');
      await runSql(world.fromUrl, 'UPDATE k SET a = a + 1');
      const error = await failureOf(following, 'halted');
      expect(error.findings).toMatchObject([{ id: 'lane/divergence', subject: 'public.k' }]);
      expect(error.message).toContain('(a, b)=(2, null)');
    });

    test('a row that the other side refuses halts the lane, and nothing of its transaction stays', async () => {
      const { world, following } = await begun(
        'CREATE TABLE t (id int PRIMARY KEY, v int)',
        'INSERT INTO t VALUES (1, 1)',
      );
      await runSql(world.toUrl, 'ALTER TABLE t ADD CHECK (v < 100)');
      await runSql(world.fromUrl, 'INSERT INTO t SELECT i, i FROM generate_series(2, 120) i');
      const error = await failureOf(following, 'halted');
      expect(error.findings).toMatchObject([{ id: 'lane/apply-failed', severity: 'blocks' }]);
      if (options.strict) {
        expect(error.findings[0]?.subject).toBe('public.t');
        expect(error.message).toContain('(id)=(100)');
      }
      expect(await runSql(world.toUrl, 'SELECT * FROM t WHERE id > 1')).toEqual([]);
    });
  });

  describe(`${name}: progress`, () => {
    test('drainTo is true: what was committed before it is there when it resolves', async () => {
      const world = await worldOf('CREATE TABLE t (id int PRIMARY KEY)');
      const { lane } = await world.begin();
      for (let i = 0; i < 20; i++) {
        await world.from.query('INSERT INTO public.t VALUES ($1)', [String(i)]);
        await world.drain(lane);
        expect((await world.to.query('SELECT 1 FROM public.t')).rowCount).toBe(i + 1);
      }
    });

    test('drainTo gives up with what is missing when its budget is spent, and the lane goes on', async () => {
      const world = await worldOf('CREATE TABLE t (id int PRIMARY KEY)');
      const { lane } = await world.begin();
      await world.drain(lane);
      const blocker = await world.to.connect('test');
      try {
        await blocker.query('BEGIN; LOCK TABLE public.t IN SHARE MODE');
        await runSql(world.fromUrl, 'INSERT INTO t VALUES (1)');
        await expect(world.drain(lane, 300)).rejects.toMatchObject({
          kind: 'aborted',
          message: expect.stringMatching(/within 300 ms: it is at .*, and marker \d+ has not arrived/),
        });
      } finally {
        await blocker.end();
      }
      await world.drain(lane);
      await expectSame(world);
    });

    test('drainTo needs a lane that follows, and hears when it stops', async () => {
      const world = await worldOf('CREATE TABLE t (id int PRIMARY KEY)');
      const lane = await world.open({ kind: 'create' });
      await lane.copy(quiet());
      await expect(world.drain(lane)).rejects.toMatchObject({ kind: 'busy' });
      const following = world.follow(lane);
      await world.drain(lane);
      const far = 'FFFFFFFF/0' as Awaited<ReturnType<LaneWorld['head']>>;
      const draining = lane.drainTo(far, { budgetMs: 30_000, signal: new AbortController().signal });
      const outcome = draining.catch((error: unknown) => error);
      await following.stop();
      expect(await outcome).toMatchObject({ kind: 'aborted' });
    });

    test('a worker whose epoch is old is refused, and changes nothing', async () => {
      const world = await worldOf('CREATE TABLE t (id int PRIMARY KEY)');
      const { lane, following } = await world.begin();
      await world.drain(lane);
      const { position } = await lane.applied();
      await world.to.query("UPDATE switchback.progress SET epoch = 2 WHERE lane = 'all/forward'");
      await runSql(world.fromUrl, 'INSERT INTO t VALUES (1)');
      await failureOf(following, 'deposed');
      // Where the servers apply by themselves they go on: what is refused is what the worker does.
      if (options.strict) expect(await runSql(world.toUrl, 'SELECT * FROM t')).toEqual([]);
      await failureOf(world.follow(lane), 'deposed');
      world.epoch = 2n;
      world.follow(lane);
      await world.drain(lane);
      await expectSame(world);
      expect((await lane.applied()).position).not.toBe(position);
    });

    test('a lane does not follow before its copy has ended', async () => {
      const world = await worldOf('CREATE TABLE t (id int PRIMARY KEY)');
      const lane = await world.open({ kind: 'create' });
      await failureOf(world.follow(lane), 'internal');
    });

    test('a lane that begins at a position brings what is committed after it, and only that, strictly', async () => {
      const world = await worldOf('CREATE TABLE t (id int PRIMARY KEY)');
      const first = await world.begin();
      await world.drain(first.lane);
      await first.following.stop();
      await runSql(world.fromUrl, 'INSERT INTO t VALUES (1)');
      await runSql(world.toUrl, 'INSERT INTO t VALUES (1)');
      const lane = await world.open({ kind: 'from', position: await world.head() });
      expect(await lane.applied()).toMatchObject({ position: (await lane.applied()).strictFrom });
      await runSql(world.fromUrl, 'INSERT INTO t VALUES (2)');
      world.follow(lane);
      await world.drain(lane);
      await expectSame(world);
    });

    test('resume of a lane of which neither slot nor progress is there is halted', async () => {
      const world = await worldOf('CREATE TABLE t (id int PRIMARY KEY)');
      const findings = [{ id: 'lane/slot-lost', severity: 'blocks' }];
      await expect(world.open({ kind: 'resume' })).rejects.toMatchObject({ kind: 'halted', findings });
    });
  });
};
