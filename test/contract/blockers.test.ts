import pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import { readBlockers } from '../../src/databases/postgres/blockers.ts';
import { postgresDatabase } from '../../src/databases/postgres/database.ts';
import type { Blocker } from '../../src/domain/event.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { FENCE_SETTINGS, makeFixture, names, useFixture } from '../support/postgres-database.ts';
import { runSql, useServer } from '../support/servers.ts';
import { anAct, codeOfFailure, policy } from './database.ts';

describe.each([13, 18] as const)('PostgreSQL %i', (version) => {
  const { current, connect } = useFixture(useServer({ version, settings: FENCE_SETTINGS }));

  describe('who is in the way', () => {
    const seen: Blocker[] = [];
    beforeEach(() => seen.splice(0));
    const onBlocked = (blockers: readonly Blocker[]) => seen.push(...blockers);

    test('a session idle in its transaction is named, then ended, and its write is gone', async () => {
      const writer = await connect();
      await writer.query(`BEGIN; INSERT INTO shop.b VALUES (1, 'in the way')`);
      const act = anAct({ budgetMs: 5000, blockers: policy(500, 'terminate'), onBlocked });
      await current().database.fence(act);
      expect(seen[0]).toMatchObject({ user: 'postgres', application: 'app', autovacuum: false });
      expect(seen[0]?.query).toContain('in the way');
      expect(await codeOfFailure(writer.query('COMMIT'))).toBeDefined();
      expect(await runSql(current().url, 'SELECT * FROM shop.b')).toEqual([]);
    });

    // With the whole budget clients would go on to wait at every attempt, for a transaction that nobody will end.
    test('a session that is not to be ended is waited for no longer than the plan says', async () => {
      const writer = await connect();
      await writer.query(`BEGIN; INSERT INTO shop.b VALUES (1, 'stays')`);
      const act = anAct({ budgetMs: 5_000, blockers: policy(500, 'abort'), onBlocked });
      await expect(current().database.fence(act)).rejects.toMatchObject({
        kind: 'aborted',
        message: expect.stringMatching(/could not have its locks within 500 ms; blocked by pid \d+ .*'stays'/),
      });
      await writer.query('COMMIT');
      expect(await runSql(current().url, 'SELECT b FROM shop.b')).toHaveLength(1);
      await current().database.fence(anAct({ blockers: policy(500, 'abort') }));
    });

    test('a session of our own is named but never ended', async () => {
      const ours = new pg.Client({ connectionString: current().url, application_name: 'switchback/other:apply' });
      await ours.connect();
      await ours.query(`BEGIN; INSERT INTO shop.b VALUES (1, 'ours')`);
      const act = anAct({ budgetMs: 1200, blockers: policy(0, 'terminate'), onBlocked });
      await expect(current().database.fence(act)).rejects.toMatchObject({ kind: 'aborted' });
      expect(seen[0]?.application).toBe('switchback/other:apply');
      await ours.query('COMMIT');
      await ours.end();
    });

    test('a prepared transaction is named with the command that ends it', async () => {
      const writer = await connect();
      await writer.query(`BEGIN; INSERT INTO shop.a VALUES (3, 'x'); PREPARE TRANSACTION 'it''s'`);
      const act = anAct({ budgetMs: 700, blockers: policy(0, 'terminate'), onBlocked });
      const error: unknown = await current()
        .database.fence(act)
        .catch((e: unknown) => e);
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
      const queued = `SELECT FROM pg_locks WHERE relation = 'shop.a'::regclass AND NOT granted`;
      await expect.poll(() => runSql(current().url, queued)).toHaveLength(1);
      await expect(current().database.fence(anAct({ budgetMs: 600, onBlocked }))).rejects.toThrow('ALTER TABLE');
      await reader.query('ROLLBACK');
      await alter;
    });

    // The attempt has a, waits for b, and whoever has b wants a. A client that gives up sooner than the attempt would must not
    // have to.
    test('a client that waits for an attempt which waits for it gets through', async () => {
      const writer = await connect();
      await writer.query(`BEGIN; SET LOCAL lock_timeout = '180ms'; INSERT INTO shop.b VALUES (1, 'first b')`);
      const fencing = current().database.fence(anAct({ budgetMs: 20_000, blockers: policy(10_000, 'abort') }));
      const granted = `SELECT FROM pg_locks WHERE relation = 'shop.a'::regclass AND granted AND mode = 'ShareRowExclusiveLock'`;
      await expect.poll(() => runSql(current().url, granted), { interval: 5 }).toHaveLength(1);
      await writer.query(`INSERT INTO shop.a VALUES (3, 'then a'); COMMIT`);
      await fencing;
      expect(await runSql(current().url, 'SELECT FROM shop.a, shop.b WHERE a.id = 3')).toHaveLength(1);
    });

    // Whoever queued behind one long wait would stall for the whole budget.
    test('clients get through between the attempts', async () => {
      const blocker = await connect();
      await blocker.query(`BEGIN; INSERT INTO shop.b VALUES (1, 'long')`);
      const fencing = current()
        .database.fence(anAct({ budgetMs: 20_000 }))
        .catch((error: unknown) => error);
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
      expect(Math.max(...stalls)).toBeLessThan(10_000);
    });

    test('readBlockers sees nobody where nobody is', async () => {
      const client = await connect();
      expect(await readBlockers(client.client, { pid: '1', relations: [], mode: 'ACCESS EXCLUSIVE' })).toEqual([]);
    });
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
