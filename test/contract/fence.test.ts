import { describe, expect, test } from 'vitest';
import { postgresDatabase } from '../../src/databases/postgres/database.ts';
import { FENCE_FUNCTION_SQL, readFences } from '../../src/databases/postgres/fence.ts';
import type { TableName } from '../../src/domain/table.ts';
import { quoteTable } from '../../src/platform/postgres/quote.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { FENCE_SETTINGS, names, useFixture } from '../support/postgres-database.ts';
import { runSql, useServer } from '../support/servers.ts';
import { anAct, codeOfFailure, type Session } from './database.ts';

describe.each([13, 18] as const)('PostgreSQL %i', (version) => {
  const { current, connect } = useFixture(useServer({ version, settings: FENCE_SETTINGS }));

  describe('stray writers', () => {
    // Fault 29 and 30: sessions older than the fence, in every state that could hide it from them.
    test('sessions from before the fence are refused: prepared, repeatable read, COPY, TRUNCATE, cursors', async () => {
      const prepared = await connect();
      await prepared.query(
        `PREPARE w AS UPDATE shop.a SET note = 'stray'; PREPARE i(int) AS INSERT INTO shop.a VALUES ($1)`,
      );
      const repeatable = await connect();
      await repeatable.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM shop.a');
      const serializable = await connect();
      await serializable.query('BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE; SELECT * FROM shop.a');
      const locked = await connect();
      await locked.query('BEGIN; SELECT * FROM shop.a WHERE id = 1 FOR UPDATE');

      await current().database.fence(anAct());

      const fresh = await connect();
      const stray: [Session, string][] = [
        [prepared, 'EXECUTE w'],
        [prepared, 'EXECUTE i(9)'],
        [repeatable, `UPDATE shop.a SET note = 'stray' WHERE id = 1`],
        [serializable, 'DELETE FROM shop.a'],
        [locked, 'DELETE FROM shop.a WHERE id = 1'],
        [fresh, 'TRUNCATE shop.a'],
        [fresh, 'TRUNCATE shop.a, shop.b CASCADE'],
        [fresh, `COPY shop.a FROM PROGRAM 'echo 9'`],
        [fresh, 'WITH d AS (DELETE FROM shop.a RETURNING 1) SELECT * FROM d'],
        [fresh, `INSERT INTO shop.a VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET note = 'x'`],
        [fresh, 'DO $$ BEGIN DELETE FROM shop.a; END $$'],
        [fresh, 'SET default_transaction_read_only = off; BEGIN READ WRITE; DELETE FROM shop.a'],
      ];
      for (const [session, sql] of stray) expect(await codeOfFailure(session.query(sql)), sql).toBe('25006');
      const rows = await runSql(current().url, 'SELECT * FROM shop.a ORDER BY id');
      expect(rows).toEqual([
        { id: 1, note: 'one' },
        { id: 2, note: 'two' },
      ]);
    });

    test('a refused client is told the table, the reason and what to do; the reason can be renewed', async () => {
      const failure = async () => {
        const client = await connect();
        return await client.query(`DELETE FROM shop.a`).then(
          () => ({}),
          (error: unknown) => error as { message?: string; hint?: string; schema?: string; table?: string },
        );
      };
      await current().database.fence(anAct({ reason: `it's on the target \\ now` }));
      expect(await failure()).toMatchObject({
        message: `DELETE on shop.a refused: it's on the target \\ now`,
        hint: expect.stringContaining('Reconnect'),
        schema: 'shop',
        table: 'a',
      });
      await current().database.fence(anAct({ reason: 'second' }));
      expect(await failure()).toMatchObject({ message: 'DELETE on shop.a refused: second' });
      await current().database.lift(anAct());
      await current().database.fence(anAct({ reason: 'third' }));
      expect(await failure()).toMatchObject({ message: 'DELETE on shop.a refused: third' });
    });

    test('a cascade from a table that is not fenced is refused as a whole', async () => {
      await runSql(
        current().url,
        `CREATE TABLE shop.parent (id int PRIMARY KEY); INSERT INTO shop.parent VALUES (1);
         CREATE TABLE shop.child (id int PRIMARY KEY, parent int REFERENCES shop.parent ON DELETE CASCADE);
         INSERT INTO shop.child VALUES (1, 1)`,
      );
      await current().database.fence(anAct({ tables: names('child') }));
      const writer = await connect();
      expect(await codeOfFailure(writer.query('DELETE FROM shop.parent'))).toBe('25006');
      expect(await codeOfFailure(writer.query('TRUNCATE shop.parent CASCADE'))).toBe('25006');
      expect(await writer.query('SELECT * FROM shop.parent')).toHaveLength(1);
    });

    // A BEFORE STATEMENT trigger fires for the relation that the statement names, and for that one only.
    test('partitions are fenced through the root, a branch and a leaf, and lifted the same way', async () => {
      await runSql(
        current().url,
        `CREATE TABLE shop.event (id int, day int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE shop.event_low PARTITION OF shop.event FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
         CREATE TABLE shop.event_low_1 PARTITION OF shop.event_low FOR VALUES FROM (0) TO (100);
         CREATE TABLE shop.event_high PARTITION OF shop.event FOR VALUES FROM (10) TO (20);`,
      );
      const tables = names('event_high', 'event_low_1');
      const writes = ['event', 'event_low', 'event_low_1'].map((table) => `INSERT INTO shop.${table} VALUES (1, 1)`);
      writes.push(
        'INSERT INTO shop.event_high VALUES (1, 15)',
        'TRUNCATE shop.event_low',
        'COPY shop.event FROM STDIN',
      );
      await current().database.fence(anAct({ tables }));
      for (const sql of writes) expect(await codeOfFailure((await connect()).query(sql)), sql).toBe('25006');
      const fences = await readFences(current().server);
      expect(fences.map((fence) => [fence.table.name, fence.enabled])).toEqual([
        ['event', true],
        ['event_high', true],
        ['event_low', true],
        ['event_low_1', true],
      ]);
      await current().database.lift(anAct({ tables }));
      for (const sql of writes.slice(1, 2)) await runSql(current().url, sql);
      await runSql(current().url, 'INSERT INTO shop.event VALUES (1, 15)');
      expect((await readFences(current().server)).some((fence) => fence.enabled)).toBe(false);
      await current().database.lift(anAct({ tables: [...tables, ...names('gone')], remove: true }));
      expect(await readFences(current().server)).toEqual([]);
    });

    test('the children of a table that is inherited from are fenced with it', async () => {
      await runSql(
        current().url,
        `CREATE TABLE shop.heir (extra int) INHERITS (shop.a); INSERT INTO shop.heir VALUES (9, 'heir', 1)`,
      );
      await current().database.fence(anAct({ tables: names('heir') }));
      expect(await codeOfFailure((await connect()).query(`UPDATE shop.a SET note = 'stray'`))).toBe('25006');
    });

    test('hostile names', async () => {
      const hostile: TableName[] = [
        { schema: `sch"ema`, name: `a"b; DROP TABLE x; --` },
        { schema: `sch"ema`, name: `CamelCase äöü` },
        { schema: `sch"ema`, name: `new\nline'\\` },
      ];
      await runSql(
        current().url,
        `CREATE SCHEMA "sch""ema"; ${hostile.map((t) => `CREATE TABLE ${quoteTable(t)} (id int)`).join(';')}`,
      );
      await current().database.fence(anAct({ tables: hostile }));
      for (const table of hostile) {
        const work = (await connect()).query(`INSERT INTO ${quoteTable(table)} VALUES (1)`);
        expect(await codeOfFailure(work), table.name).toBe('25006');
      }
      await current().database.lift(anAct({ tables: hostile }));
      for (const table of hostile) await runSql(current().url, `INSERT INTO ${quoteTable(table)} VALUES (1)`);
    });

    test('a table that is not there is refused by name, and nothing is fenced', async () => {
      const act = anAct({ tables: names('a', 'nowhere') });
      await expect(current().database.fence(act)).rejects.toMatchObject({
        kind: 'refused',
        message: expect.stringContaining('shop.nowhere'),
      });
      expect(await readFences(current().server)).toEqual([]);
    });
  });

  test('removing the fence waits for readers, names them, and lets writers on meanwhile', async () => {
    await current().database.fence(anAct());
    const reader = await connect();
    await reader.query('BEGIN; SELECT * FROM shop.b');
    const removal = anAct({ budgetMs: 600, remove: true });
    await expect(current().database.lift(removal)).rejects.toThrow('SELECT * FROM shop.b');
    await runSql(current().url, 'DELETE FROM shop.b; DELETE FROM shop.a');
    expect(await readFences(current().server)).toHaveLength(2);
    await reader.query('COMMIT');
    await current().database.lift(removal);
    await current().database.lift(removal);
    expect(await readFences(current().server)).toEqual([]);
  });

  test('a second fence function is no error, and the fence does not depend on who created it', async () => {
    await runSql(current().url, FENCE_FUNCTION_SQL + FENCE_FUNCTION_SQL);
    await Promise.all([
      current().database.fence(anAct({ tables: names('a') })),
      current().database.fence(anAct({ tables: names('b') })),
    ]);
    expect((await readFences(current().server)).map((fence) => fence.table.name)).toEqual(['a', 'b']);
  });

  test('an application role that cannot even see our schema is refused, not confused', async () => {
    await runSql(
      current().url,
      `DROP ROLE IF EXISTS shopper; CREATE ROLE shopper LOGIN;
      GRANT USAGE ON SCHEMA shop TO shopper; GRANT ALL ON ALL TABLES IN SCHEMA shop TO shopper`,
    );
    await current().database.fence(anAct());
    const url = new URL(current().url);
    url.username = 'shopper';
    const shopper = await connect(url.toString());
    const failure = await shopper.query('DELETE FROM shop.a').catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: '25006', message: 'DELETE on shop.a refused: phase shop is on the target' });
    await runSql(current().url, 'DROP OWNED BY shopper; DROP ROLE shopper');
  });

  test('a role that does not own the tables is told so', async () => {
    await runSql(
      current().url,
      `CREATE ROLE mover LOGIN; GRANT USAGE, CREATE ON SCHEMA switchback TO mover;
      GRANT USAGE ON SCHEMA shop TO mover; GRANT ALL ON ALL TABLES IN SCHEMA shop TO mover`,
    );
    const url = new URL(current().url);
    url.username = 'mover';
    const server = new PostgresServer({ url: url.toString(), label: 'source', application: 'switchback' });
    await expect(postgresDatabase(server).fence(anAct())).rejects.toMatchObject({
      kind: 'refused',
      remedy: expect.stringContaining('own the tables'),
    });
    await server.close();
    await runSql(current().url, 'DROP OWNED BY mover; DROP ROLE mover');
  });
});
