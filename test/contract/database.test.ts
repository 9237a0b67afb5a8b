import pg from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readBlockers } from '../../src/databases/postgres/blockers.ts';
import { postgresDatabase } from '../../src/databases/postgres/database.ts';
import { FENCE_FUNCTION_SQL, readFences } from '../../src/databases/postgres/fence.ts';
import type { RunningServer } from '../../src/demo/servers.ts';
import type { Blocker } from '../../src/domain/event.ts';
import type { TableName } from '../../src/domain/table.ts';
import { becomeApplier } from '../../src/platform/postgres/applier.ts';
import { quoteTable } from '../../src/platform/postgres/quote.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';
import { anAct, codeOfFailure, type DatabaseFixture, databaseContract, policy, type Session } from './database.ts';

const SETTINGS = { max_prepared_transactions: '4', autovacuum: 'off' };
const SCHEMA = `
  CREATE SCHEMA switchback;
  CREATE TABLE public.guarded (n int); INSERT INTO public.guarded VALUES (0);
  CREATE SCHEMA shop;
  CREATE TABLE shop.a (id int PRIMARY KEY, note text); INSERT INTO shop.a VALUES (1, 'one'), (2, 'two');
  CREATE TABLE shop.b (id int PRIMARY KEY, note text);
  CREATE SEQUENCE shop.numbers;`;

let made = 0;

const sessionOf = async (url: string): Promise<Session & { readonly client: pg.Client }> => {
  const client = new pg.Client({ connectionString: url, application_name: 'app' });
  client.on('error', () => undefined);
  await client.connect();
  return {
    client,
    query: async (sql) => {
      const result: pg.QueryResult | pg.QueryResult[] = await client.query(sql);
      return (Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? [];
    },
    close: () => client.end().catch(() => undefined),
  };
};

interface Fixture extends DatabaseFixture {
  readonly url: string;
  readonly server: PostgresServer;
}

const makeFixture = async (running: RunningServer): Promise<Fixture> => {
  const url = await createDatabase(running, `contract_${++made}`);
  await runSql(url, SCHEMA);
  const server = new PostgresServer({ url, label: 'source', application: 'switchback' });
  return {
    url,
    server,
    database: postgresDatabase(server),
    connect: () => sessionOf(url),
    connectApplier: async () => {
      const session = await sessionOf(url);
      await becomeApplier(session.client);
      return session;
    },
    guarded: 'public.guarded',
    refusal: '25006',
    close: () => server.close(),
  };
};

const names = (...tables: string[]): TableName[] => tables.map((name) => ({ schema: 'shop', name }));

describe.each([13, 18] as const)('PostgreSQL %i', (version) => {
  const running = useServer({ version, settings: SETTINGS });
  databaseContract(`PostgreSQL ${version}`, () => makeFixture(running()));

  let fixture: Fixture;
  const open: (Session & { readonly client: pg.Client })[] = [];
  const connect = async (url = fixture.url) => {
    const session = await sessionOf(url);
    open.push(session);
    return session;
  };
  beforeEach(async () => {
    fixture = await makeFixture(running());
  });
  afterEach(async () => {
    for (const session of open.splice(0)) await session.close();
    await fixture.close();
  });

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

      await fixture.database.fence(anAct());

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
      const rows = await runSql(fixture.url, 'SELECT * FROM shop.a ORDER BY id');
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
      await fixture.database.fence(anAct({ reason: `it's on the target \\ now` }));
      expect(await failure()).toMatchObject({
        message: `DELETE on shop.a refused: it's on the target \\ now`,
        hint: expect.stringContaining('Reconnect'),
        schema: 'shop',
        table: 'a',
      });
      await fixture.database.fence(anAct({ reason: 'second' }));
      expect(await failure()).toMatchObject({ message: 'DELETE on shop.a refused: second' });
      await fixture.database.lift(anAct());
      await fixture.database.fence(anAct({ reason: 'third' }));
      expect(await failure()).toMatchObject({ message: 'DELETE on shop.a refused: third' });
    });

    test('a cascade from a table that is not fenced is refused as a whole', async () => {
      await runSql(
        fixture.url,
        `CREATE TABLE shop.parent (id int PRIMARY KEY); INSERT INTO shop.parent VALUES (1);
         CREATE TABLE shop.child (id int PRIMARY KEY, parent int REFERENCES shop.parent ON DELETE CASCADE);
         INSERT INTO shop.child VALUES (1, 1)`,
      );
      await fixture.database.fence(anAct({ tables: names('child') }));
      const writer = await connect();
      expect(await codeOfFailure(writer.query('DELETE FROM shop.parent'))).toBe('25006');
      expect(await codeOfFailure(writer.query('TRUNCATE shop.parent CASCADE'))).toBe('25006');
      expect(await writer.query('SELECT * FROM shop.parent')).toHaveLength(1);
    });

    // A BEFORE STATEMENT trigger fires for the relation that the statement names, and for that one only.
    test('partitions are fenced through the root, a branch and a leaf, and lifted the same way', async () => {
      await runSql(
        fixture.url,
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
      await fixture.database.fence(anAct({ tables }));
      for (const sql of writes) expect(await codeOfFailure((await connect()).query(sql)), sql).toBe('25006');
      const fences = await readFences(fixture.server);
      expect(fences.map((fence) => [fence.table.name, fence.enabled])).toEqual([
        ['event', true],
        ['event_high', true],
        ['event_low', true],
        ['event_low_1', true],
      ]);
      await fixture.database.lift(anAct({ tables }));
      for (const sql of writes.slice(1, 2)) await runSql(fixture.url, sql);
      await runSql(fixture.url, 'INSERT INTO shop.event VALUES (1, 15)');
      expect((await readFences(fixture.server)).some((fence) => fence.enabled)).toBe(false);
      await fixture.database.lift(anAct({ tables: [...tables, ...names('gone')], remove: true }));
      expect(await readFences(fixture.server)).toEqual([]);
    });

    test('the children of a table that is inherited from are fenced with it', async () => {
      await runSql(
        fixture.url,
        `CREATE TABLE shop.heir (extra int) INHERITS (shop.a); INSERT INTO shop.heir VALUES (9, 'heir', 1)`,
      );
      await fixture.database.fence(anAct({ tables: names('heir') }));
      expect(await codeOfFailure((await connect()).query(`UPDATE shop.a SET note = 'stray'`))).toBe('25006');
    });

    test('hostile names', async () => {
      const hostile: TableName[] = [
        { schema: `sch"ema`, name: `a"b; DROP TABLE x; --` },
        { schema: `sch"ema`, name: `CamelCase äöü` },
        { schema: `sch"ema`, name: `new\nline'\\` },
      ];
      await runSql(
        fixture.url,
        `CREATE SCHEMA "sch""ema"; ${hostile.map((t) => `CREATE TABLE ${quoteTable(t)} (id int)`).join(';')}`,
      );
      await fixture.database.fence(anAct({ tables: hostile }));
      for (const table of hostile) {
        const work = (await connect()).query(`INSERT INTO ${quoteTable(table)} VALUES (1)`);
        expect(await codeOfFailure(work), table.name).toBe('25006');
      }
      await fixture.database.lift(anAct({ tables: hostile }));
      for (const table of hostile) await runSql(fixture.url, `INSERT INTO ${quoteTable(table)} VALUES (1)`);
    });

    test('a table that is not there is refused by name, and nothing is fenced', async () => {
      const act = anAct({ tables: names('a', 'nowhere') });
      await expect(fixture.database.fence(act)).rejects.toMatchObject({
        kind: 'refused',
        message: expect.stringContaining('shop.nowhere'),
      });
      expect(await readFences(fixture.server)).toEqual([]);
    });
  });

  describe('who is in the way', () => {
    const seen: Blocker[] = [];
    beforeEach(() => seen.splice(0));
    const onBlocked = (blockers: readonly Blocker[]) => seen.push(...blockers);

    test('a session idle in its transaction is named, then ended, and its write is gone', async () => {
      const writer = await connect();
      await writer.query(`BEGIN; INSERT INTO shop.b VALUES (1, 'in the way')`);
      const act = anAct({ budgetMs: 5000, blockers: policy(500, 'terminate'), onBlocked });
      await fixture.database.fence(act);
      expect(seen[0]).toMatchObject({ user: 'postgres', application: 'app', autovacuum: false });
      expect(seen[0]?.query).toContain('in the way');
      expect(await codeOfFailure(writer.query('COMMIT'))).toBeDefined();
      expect(await runSql(fixture.url, 'SELECT * FROM shop.b')).toEqual([]);
    });

    test('a session of our own is named but never ended', async () => {
      const ours = new pg.Client({ connectionString: fixture.url, application_name: 'switchback/other:apply' });
      await ours.connect();
      await ours.query(`BEGIN; INSERT INTO shop.b VALUES (1, 'ours')`);
      const act = anAct({ budgetMs: 1200, blockers: policy(0, 'terminate'), onBlocked });
      await expect(fixture.database.fence(act)).rejects.toMatchObject({ kind: 'aborted' });
      expect(seen[0]?.application).toBe('switchback/other:apply');
      await ours.query('COMMIT');
      await ours.end();
    });

    test('a prepared transaction is named with the command that ends it', async () => {
      const writer = await connect();
      await writer.query(`BEGIN; INSERT INTO shop.a VALUES (3, 'x'); PREPARE TRANSACTION 'it''s'`);
      const act = anAct({ budgetMs: 700, blockers: policy(0, 'terminate'), onBlocked });
      const error: unknown = await fixture.database.fence(act).catch((e: unknown) => e);
      expect(error).toMatchObject({ kind: 'aborted', remedy: expect.stringContaining(`ROLLBACK PREPARED 'it''s';`) });
      expect(seen[0]).toMatchObject({ pid: 0, user: 'postgres' });
      await writer.query(`ROLLBACK PREPARED 'it''s'`);
    });

    // An ALTER TABLE that waits for a reader holds nothing yet, but everybody queues behind it.
    test('somebody who only queues before us is named too', async () => {
      const reader = await connect();
      await reader.query('BEGIN; SELECT * FROM shop.a');
      const altering = await connect();
      const alter = altering.query('ALTER TABLE shop.a ADD COLUMN c int').catch((error: unknown) => error);
      await new Promise((resolve) => setTimeout(resolve, 100));
      await expect(fixture.database.fence(anAct({ budgetMs: 600, onBlocked }))).rejects.toThrow('ALTER TABLE');
      await reader.query('ROLLBACK');
      await alter;
    });

    test('clients get through between the attempts', async () => {
      const blocker = await connect();
      await blocker.query(`BEGIN; INSERT INTO shop.b VALUES (1, 'long')`);
      const fencing = fixture.database.fence(anAct({ budgetMs: 2000 })).catch((error: unknown) => error);
      const writer = await connect();
      const stalls: number[] = [];
      for (let id = 10; id < 40; id++) {
        const begun = performance.now();
        await writer.query(`INSERT INTO shop.a VALUES (${id}, 'busy')`);
        stalls.push(performance.now() - begun);
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
      await blocker.query('ROLLBACK');
      await fencing;
      expect(Math.max(...stalls)).toBeLessThan(600);
    });

    test('readBlockers sees nobody where nobody is', async () => {
      const client = await connect();
      expect(await readBlockers(client.client, { pid: '1', relations: [], mode: 'ACCESS EXCLUSIVE' })).toEqual([]);
    });
  });

  test('removing the fence waits for readers, names them, and lets writers on meanwhile', async () => {
    await fixture.database.fence(anAct());
    const reader = await connect();
    await reader.query('BEGIN; SELECT * FROM shop.b');
    const removal = anAct({ budgetMs: 600, remove: true });
    await expect(fixture.database.lift(removal)).rejects.toThrow('SELECT * FROM shop.b');
    await runSql(fixture.url, 'DELETE FROM shop.b; DELETE FROM shop.a');
    expect(await readFences(fixture.server)).toHaveLength(2);
    await reader.query('COMMIT');
    await fixture.database.lift(removal);
    await fixture.database.lift(removal);
    expect(await readFences(fixture.server)).toEqual([]);
  });

  test('a second fence function is no error, and the fence does not depend on who created it', async () => {
    await runSql(fixture.url, FENCE_FUNCTION_SQL + FENCE_FUNCTION_SQL);
    await Promise.all([
      fixture.database.fence(anAct({ tables: names('a') })),
      fixture.database.fence(anAct({ tables: names('b') })),
    ]);
    expect((await readFences(fixture.server)).map((fence) => fence.table.name)).toEqual(['a', 'b']);
  });

  test('an application role that cannot even see our schema is refused, not confused', async () => {
    await runSql(
      fixture.url,
      `DROP ROLE IF EXISTS shopper; CREATE ROLE shopper LOGIN;
      GRANT USAGE ON SCHEMA shop TO shopper; GRANT ALL ON ALL TABLES IN SCHEMA shop TO shopper`,
    );
    await fixture.database.fence(anAct());
    const url = new URL(fixture.url);
    url.username = 'shopper';
    const shopper = await connect(url.toString());
    const failure = await shopper.query('DELETE FROM shop.a').catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: '25006', message: 'DELETE on shop.a refused: phase shop is on the target' });
    await runSql(fixture.url, 'DROP OWNED BY shopper; DROP ROLE shopper');
  });

  test('a role that does not own the tables is told so', async () => {
    await runSql(
      fixture.url,
      `CREATE ROLE mover LOGIN; GRANT USAGE, CREATE ON SCHEMA switchback TO mover;
      GRANT USAGE ON SCHEMA shop TO mover; GRANT ALL ON ALL TABLES IN SCHEMA shop TO mover`,
    );
    const url = new URL(fixture.url);
    url.username = 'mover';
    const server = new PostgresServer({ url: url.toString(), label: 'source', application: 'switchback' });
    await expect(postgresDatabase(server).fence(anAct())).rejects.toMatchObject({
      kind: 'refused',
      remedy: expect.stringContaining('own the tables'),
    });
    await server.close();
    await runSql(fixture.url, 'DROP OWNED BY mover; DROP ROLE mover');
  });
});

describe('autovacuum', () => {
  const running = useServer({
    version: 13,
    settings: {
      autovacuum: 'on',
      autovacuum_naptime: '1s',
      autovacuum_vacuum_cost_delay: '100ms',
      autovacuum_vacuum_cost_limit: '1',
    },
  });

  // The server ends autovacuum for a waiter only after its deadlock_timeout, which is longer than our attempts.
  test.each(['postgres', 'mover'])('gives way to a fence asked for by %s', async (user) => {
    const fixture = await makeFixture(running());
    await runSql(
      fixture.url,
      `DO $$ BEGIN IF '${user}' <> 'postgres' THEN CREATE ROLE ${user} LOGIN; END IF; END $$;
       CREATE TABLE shop.big (id int PRIMARY KEY, pad text); ALTER TABLE shop.big OWNER TO ${user};
       GRANT ALL ON SCHEMA shop, switchback TO ${user};
       INSERT INTO shop.big SELECT g, repeat('x', 300) FROM generate_series(1, 60000) g; DELETE FROM shop.big WHERE id % 2 = 0`,
    );
    for (let tries = 0; tries < 200; tries++) {
      const working = await runSql(
        fixture.url,
        `SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = 'shop.big'::regclass`,
      );
      if (working.length > 0) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const url = new URL(fixture.url);
    url.username = user;
    const server = new PostgresServer({ url: url.toString(), label: 'source', application: 'switchback' });
    const seen: Blocker[] = [];
    const onBlocked = (blockers: readonly Blocker[]) => seen.push(...blockers);
    await postgresDatabase(server).fence(anAct({ tables: names('big'), onBlocked, budgetMs: 6000 }));
    expect(seen.some((blocker) => blocker.autovacuum)).toBe(true);
    await server.close();
    await fixture.close();
  });
});
