import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { RunningServer } from '../../src/demo/servers.ts';
import { streamEngine } from '../../src/engines/stream/engine.ts';
import { TouchedKeys } from '../../src/engines/stream/touched.ts';
import { LaneWorld } from '../support/lanes.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { runSql, useServerPair } from '../support/servers.ts';
import { failureOf } from './lane.ts';

// With this little memory a transaction is streamed, before it ends, from its second hundred of small changes on.
const pair = useServerPair({ logical_decoding_work_mem: '64kB' });

const temporary = mkdtempSync(join(tmpdir(), 'switchback-streamed-'));
const before = process.env.TMPDIR;
beforeAll(() => {
  process.env.TMPDIR = temporary;
});
const opened: LaneWorld[] = [];
const sessions: pg.Client[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) await session.end();
  for (const world of opened.splice(0)) await world.close();
  process.env.TMPDIR = temporary;
  expect(spools()).toEqual([]);
});
afterAll(() => {
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  rmSync(temporary, { recursive: true });
});

const SCHEMA = `CREATE TABLE t (id int PRIMARY KEY, v text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
  CREATE TABLE bare (a int, b text); ALTER TABLE bare REPLICA IDENTITY FULL; CREATE TABLE log (a int, b text)`;

const worldOf = async (schema = SCHEMA, from: RunningServer = pair().target): Promise<LaneWorld> => {
  const to = from === pair().target ? pair().source : pair().target;
  const world = await LaneWorld.create({ from, to }, (both) => streamEngine(both), schema);
  opened.push(world);
  return world;
};

/** A lane that has caught up: what follows is applied strictly. */
const following = async (world: LaneWorld) => {
  const begun = await world.begin();
  await world.drain(begun.lane);
  return begun;
};

/** A session of the application's, in a transaction. */
const transactionOn = async (world: LaneWorld): Promise<pg.Client> => {
  const session = new pg.Client({ connectionString: world.fromUrl });
  session.on('error', () => undefined);
  sessions.push(session);
  await session.connect();
  await session.query('BEGIN');
  return session;
};

/** Enough rows to be streamed, from this id on. */
const rows = (from: number, count = 1_000): string =>
  `INSERT INTO t SELECT i, 'v' || i, NULL FROM generate_series(${from}, ${from + count - 1}) i`;

const expectSame = async (world: LaneWorld): Promise<void> => {
  const { from, to } = await world.contents();
  expect(to).toEqual(from);
};

/** Files of this process that hold streamed transactions: nameless, as long as they are open. */
const spools = (): string[] => {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return [...links.filter((path) => path.startsWith(temporary)), ...readdirSync(temporary)];
};

/** Waits until so many transactions are held here that have not ended; without a number, any. */
const held = async (count?: number): Promise<void> => {
  const expected = expect.poll(() => spools().length, { timeout: 20_000 });
  if (count === undefined) await expected.toBeGreaterThan(0);
  else await expected.toBe(count);
};

/** Waits until apply waits for a lock. */
const blocked = async (world: LaneWorld): Promise<void> => {
  const waiting = async () => (await world.to.query('SELECT 1 FROM pg_locks WHERE NOT granted')).rowCount;
  await expect.poll(waiting, { timeout: 20_000 }).toBeGreaterThan(0);
};

/** Ends the origin's end of the stream. */
const terminate = async (world: LaneWorld): Promise<void> => {
  const { slot } = await world.spec();
  await runSql(
    world.fromUrl,
    `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '${slot}'`,
  );
};

const statistics = async (world: LaneWorld): Promise<Record<string, unknown>> => {
  const { slot } = await world.spec();
  const [row] = await runSql(
    world.fromUrl,
    `SELECT stream_txns::int AS streamed, spill_txns::int AS spilled FROM pg_stat_replication_slots WHERE slot_name = '${slot}'`,
  );
  return row ?? {};
};

describe('stream, transactions that have not ended', () => {
  test('several in turn, with plain ones between them, arrive in the order of their commits', async () => {
    const world = await worldOf();
    const { lane, following: run } = await following(world);
    const [a, b, c] = [await transactionOn(world), await transactionOn(world), await transactionOn(world)];
    for (let i = 0; i < 4; i++) {
      await a.query(rows(i * 1_000));
      await b.query(rows(100_000 + i * 1_000));
      await c.query(rows(200_000 + i * 1_000));
      await runSql(world.fromUrl, `INSERT INTO log VALUES (${i}, 'in between')`);
    }
    await held(3);
    // What is committed is there, and its lag is measured, while they are open.
    run.told.lags.length = 0;
    await world.drain(lane);
    expect(await runSql(world.toUrl, 'SELECT count(*)::int AS n FROM log')).toEqual([{ n: 4 }]);
    expect(await runSql(world.toUrl, 'SELECT * FROM t LIMIT 1')).toEqual([]);
    await expect.poll(() => run.told.lags.length).toBeGreaterThan(0);
    await b.query(`${rows(150_000)}; INSERT INTO log VALUES (10, 'b'); COMMIT`);
    await runSql(world.fromUrl, `UPDATE t SET v = 'after b' WHERE id = 100000`);
    await a.query(`UPDATE t SET v = 'a was later' WHERE id IN (1, 100000); COMMIT`);
    await c.query('ROLLBACK');
    await world.drain(lane);
    await expectSame(world);
    expect(await runSql(world.toUrl, 'SELECT v FROM t WHERE id IN (1, 100000)')).toEqual([
      { v: 'a was later' },
      { v: 'a was later' },
    ]);
    await held(0);
    expect((await statistics(world)).streamed).toBeGreaterThanOrEqual(3);
    expect((await statistics(world)).spilled).toBe(0);
    expect(run.told.applied.find(({ changes }) => changes >= 5_001)).toBeDefined();
  });

  // What its rows take in memory is counted in `test/unit/touched-keys.test.ts`.
  test('one that is applied in parts keeps of each part the keys alone', async () => {
    const detach = vi.spyOn(TouchedKeys.prototype, 'detach');
    const world = await worldOf();
    const { lane, following: run } = await following(world);
    await runSql(world.fromUrl, `INSERT INTO t SELECT i, '', repeat('x', 1000000) FROM generate_series(1, 12) i`);
    await world.drain(lane);
    const keys = Array.from({ length: 12 }, (_, i) => [String(i + 1)]);
    const [told] = run.told.applied.filter(({ changes }) => changes >= 12).map(({ touched }) => touched);
    expect(told).toEqual([{ table: 'public.t', keys }]);
    expect(detach.mock.calls.length).toBeGreaterThan(0);
    detach.mockRestore();
  });

  test('savepoints that are rolled back, released and nested leave what the origin kept', async () => {
    const seed = testSeed();
    const random = randomFrom(seed);
    const below = (n: number): number => Math.floor(random() * n);
    const world = await worldOf();
    const { lane } = await following(world);
    for (let round = 0; round < 6; round++) {
      const session = await transactionOn(world);
      let depth = 0;
      for (let step = 0; step < 40; step++) {
        const act = random();
        if (act < 0.5) await session.query(rows(round * 1_000_000 + step * 1_000, 50 + below(400)));
        else if (act < 0.7) await session.query(`SAVEPOINT s${++depth}`);
        else if (depth > 0 && act < 0.8) await session.query(`RELEASE s${depth--}`);
        else if (depth > 0) {
          depth = 1 + below(depth);
          await session.query(`ROLLBACK TO s${depth}`);
        }
      }
      await session.query(`INSERT INTO log VALUES (${round}, 'seed ${seed}'); COMMIT`);
    }
    await world.drain(lane);
    await expectSame(world);
    expect((await statistics(world)).streamed).toBeGreaterThan(0);
  });

  test('keys, values out of line, tables without a key and TRUNCATE within one', async () => {
    const world = await worldOf();
    const { lane } = await following(world);
    const big = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i)";
    await runSql(world.fromUrl, `INSERT INTO t SELECT i, 'v', ${big} || i FROM generate_series(1, 50) i`);
    const session = await transactionOn(world);
    for (const sql of [
      `INSERT INTO bare SELECT i % 10, NULL FROM generate_series(1, 2000) i; INSERT INTO log SELECT i, 'x' FROM generate_series(1, 2000) i`,
      `UPDATE t SET v = 'w'; UPDATE t SET id = id + 1000 WHERE id < 20; INSERT INTO t VALUES (1, 'new', ${big})`,
      `SAVEPOINT s; TRUNCATE bare; INSERT INTO bare SELECT i, 'gone' FROM generate_series(1, 2000) i; ROLLBACK TO s`,
      `DELETE FROM bare WHERE ctid IN (SELECT ctid FROM bare WHERE a = 3 LIMIT 7); UPDATE bare SET b = 'y' WHERE a = 4`,
      `SAVEPOINT s; UPDATE t SET big = 'gone'; DELETE FROM t WHERE id > 1000; ROLLBACK TO s`,
      `TRUNCATE log; INSERT INTO log SELECT i, 'z' FROM generate_series(1, 2000) i; UPDATE t SET v = 'last' WHERE id % 2 = 0`,
    ]) {
      await session.query(sql);
      await runSql(world.fromUrl, 'SELECT 1');
    }
    await held(1);
    await session.query('COMMIT');
    await world.drain(lane);
    await expectSame(world);
    expect((await statistics(world)).streamed).toBeGreaterThan(0);
  });

  test('a change of schema within one halts the lane if it commits, and is nothing if it does not', async () => {
    const world = await worldOf();
    const { lane, following: run } = await following(world);
    const change = `ALTER TABLE t ADD extra int; INSERT INTO t SELECT i, 'new', NULL, i FROM generate_series(5000, 7000) i`;
    const first = await transactionOn(world);
    await first.query(`${rows(1)}; ${change}`);
    await held(1);
    await first.query('ROLLBACK');
    const second = await transactionOn(world);
    await second.query(`${rows(1)}; SAVEPOINT s; ${change}; ROLLBACK TO s; ${rows(2_000)}`);
    await held(1);
    await second.query('COMMIT');
    await world.drain(lane);
    await expectSame(world);
    await runSql(world.fromUrl, `BEGIN; ${change}; COMMIT`);
    const error = await failureOf(run, 'halted');
    expect(error.findings).toMatchObject([{ id: 'lane/schema-changed', subject: 'public.t' }]);
    await runSql(world.toUrl, 'ALTER TABLE t ADD extra int');
    const again = await world.open({ kind: 'resume' });
    world.follow(again);
    await world.drain(again);
    await expectSame(world);
  });

  // The description of a table in a transaction that is still open must not be taken for that of later, plain changes, nor
  // an older one be put over a newer one when it commits.
  test('a table that another transaction changes while one is open that has rolled back its own rows of it', async () => {
    const world = await worldOf();
    const { lane, following: run } = await following(world);
    await run.stop();
    await runSql(world.toUrl, 'ALTER TABLE log DROP b');
    world.follow(lane);
    const session = await transactionOn(world);
    await session.query(`${rows(1)}; SAVEPOINT s; INSERT INTO log SELECT i, 'x' FROM generate_series(1, 3000) i`);
    await held(1);
    await session.query('ROLLBACK TO s');
    await runSql(world.fromUrl, `ALTER TABLE log DROP b; INSERT INTO log VALUES (1)`);
    await session.query(`INSERT INTO log SELECT * FROM generate_series(2, 3000); ${rows(5_000)}; COMMIT`);
    await runSql(world.fromUrl, 'INSERT INTO log VALUES (0)');
    await world.drain(lane);
    await expectSame(world);
  });

  test('stopping, losing the connection and going on again while they are open loses and repeats nothing', async () => {
    const world = await worldOf();
    const { lane, following: run } = await following(world);
    const [a, b] = [await transactionOn(world), await transactionOn(world)];
    await a.query(rows(0));
    await b.query(`${rows(100_000)}; SAVEPOINT s; ${rows(110_000)}`);
    await held(2);
    await run.stop();
    expect(spools()).toEqual([]);
    const second = world.follow(lane);
    await runSql(world.fromUrl, "INSERT INTO log VALUES (1, 'x')");
    await a.query(rows(10_000));
    await held();
    await terminate(world);
    await failureOf(second, 'unreachable');
    expect(spools()).toEqual([]);
    await b.query(`ROLLBACK TO s; ${rows(120_000)}`);
    world.follow(lane);
    await held();
    await a.query('COMMIT');
    await b.query('COMMIT');
    await world.drain(lane);
    await expectSame(world);
  });

  // One that commits before the lane's copy has ended may be in a chunk, and is applied once more without harm. One that
  // commits later is in none: it is applied strictly, although its changes came before.
  test('apply is strict by where a transaction commits, not by where its changes came', async () => {
    const world = await worldOf();
    const { lane, following: run } = await following(world);
    await run.stop();
    const [early, late] = [await transactionOn(world), await transactionOn(world)];
    await early.query(rows(0));
    await late.query(rows(100_000));
    await early.query('COMMIT');
    await world.to.query('UPDATE switchback.progress SET strict_from = $1', [await world.head()]);
    await runSql(world.toUrl, "INSERT INTO t VALUES (500, 'in a chunk', NULL), (100500, 'not ours', NULL)");
    const again = world.follow(lane);
    await world.drain(lane);
    await late.query(rows(110_000));
    await held(1);
    await late.query('COMMIT');
    const error = await failureOf(again, 'halted');
    expect(error.findings).toMatchObject([{ id: 'lane/divergence', subject: 'public.t' }]);
    await runSql(world.toUrl, 'DELETE FROM t WHERE id = 100500');
    world.follow(lane);
    await world.drain(lane);
    await expectSame(world);
  });

  test('a worker that is killed while one is open, and while it is read back, loses nothing', async () => {
    const world = await worldOf();
    const { lane, following: run } = await following(world);
    await run.stop();
    const { publication, slot } = await world.spec();
    const start = async () => {
      const program = new URL('../support/follow-program.ts', import.meta.url).pathname;
      const child = spawn(process.execPath, [program, world.fromUrl, world.toUrl, publication, slot], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      return child;
    };
    const first = await start();
    const session = await transactionOn(world);
    await session.query(rows(0, 60_000));
    await expect.poll(async () => (await statistics(world)).streamed, { timeout: 20_000 }).toBeGreaterThan(0);
    first.kill('SIGKILL');
    await once(first, 'exit');
    expect(spools()).toEqual([]);
    // What it had applied when it was killed is undone with its session.
    const second = await start();
    const blocker = await world.to.connect('test');
    await blocker.query('BEGIN; LOCK TABLE public.t IN SHARE MODE');
    await session.query(`${rows(100_000)}; COMMIT`);
    await blocked(world);
    second.kill('SIGKILL');
    await once(second, 'exit');
    await blocker.end();
    world.follow(lane);
    await world.drain(lane);
    await expectSame(world);
  });

  test('one that is read back when the connection is lost has come whole, and is applied all the same', async () => {
    const world = await worldOf();
    const { following: run } = await following(world);
    const session = await transactionOn(world);
    await session.query(rows(0, 120_000));
    await held(1);
    const blocker = await world.to.connect('test');
    await blocker.query('BEGIN; LOCK TABLE public.t IN SHARE MODE');
    await session.query('COMMIT');
    await blocked(world);
    await terminate(world);
    await sleep(200);
    await blocker.end();
    await failureOf(run, 'unreachable');
    await expectSame(world);
  });

  test('nothing is confirmed that is not durable while one is read back for longer than wal_sender_timeout', async () => {
    const world = await worldOf();
    const { lane, following: run } = await following(world);
    await runSql(pair().target.url, "ALTER SYSTEM SET wal_sender_timeout = '2s'");
    await runSql(pair().target.url, 'SELECT pg_reload_conf()');
    const blocker = await world.to.connect('test');
    const { slot } = await world.spec();
    const confirmed = async () =>
      (
        await runSql(
          world.fromUrl,
          `SELECT confirmed_flush_lsn::text AS at FROM pg_replication_slots WHERE slot_name = '${slot}'`,
        )
      )[0]?.at;
    try {
      const session = await transactionOn(world);
      await session.query(rows(0, 60_000));
      await held(1);
      await world.drain(lane);
      await blocker.query('BEGIN; LOCK TABLE public.t IN SHARE MODE');
      await session.query('COMMIT');
      await runSql(world.fromUrl, rows(100_000));
      await sleep(4_000);
      // In this order: what is durable only grows, by markers too.
      const told = await confirmed();
      const { position: durable } = await lane.applied();
      const sql = `SELECT '${told}'::pg_lsn <= '${durable}'::pg_lsn AS within`;
      expect(await runSql(world.fromUrl, sql)).toEqual([{ within: true }]);
    } finally {
      await blocker.end();
      await runSql(pair().target.url, 'ALTER SYSTEM RESET wal_sender_timeout');
      await runSql(pair().target.url, 'SELECT pg_reload_conf()');
    }
    await world.drain(lane);
    await expectSame(world);
    await run.stop();
  });

  test('with nowhere to put them they come when they commit, and the lane says so once', async () => {
    const world = await worldOf();
    process.env.TMPDIR = join(temporary, 'nowhere');
    const { lane, following: run } = await following(world);
    const session = await transactionOn(world);
    await session.query(rows(0));
    const error = await failureOf(run, 'busy');
    expect(error.message).toMatch(/nowhere cannot hold a large transaction until it commits \(ENOENT.*/);
    world.follow(lane);
    await session.query(`${rows(100_000)}; COMMIT`);
    await world.drain(lane);
    await expectSame(world);
  });

  test('an origin that cannot send them early sends them when they commit', async () => {
    const world = await worldOf(SCHEMA, pair().source);
    const { lane } = await following(world);
    const session = await transactionOn(world);
    await session.query(`${rows(0)}; SAVEPOINT s; ${rows(10_000)}; ROLLBACK TO s`);
    await runSql(world.fromUrl, rows(20_000));
    await world.drain(lane);
    expect(spools()).toEqual([]);
    await session.query('COMMIT');
    await world.drain(lane);
    await expectSame(world);
  });
});
