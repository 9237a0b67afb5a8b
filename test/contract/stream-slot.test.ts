import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { FlakyProxy } from '../../scripts/chaos/proxy.ts';
import { SwitchbackError } from '../../src/domain/errors.ts';
import type { Position } from '../../src/domain/position.ts';
import { streamEngine } from '../../src/engines/stream/engine.ts';
import { createSlot } from '../../src/engines/stream/slot.ts';
import { laneStore } from '../../src/sidecar/lanes.ts';
import { LaneWorld, quiet } from '../support/lanes.ts';
import { runSql, useServerPair } from '../support/servers.ts';
import { failureOf } from './lane.ts';

// A default of synchronous_commit = off on the written side must not matter; with this delay nothing reaches the disk by
// itself while a test runs (fault 20).
const pair = useServerPair({ synchronous_commit: 'off', wal_writer_delay: '10s' });

/** Nobody has taken over. */
const allowed = async (): Promise<void> => undefined;

const opened: LaneWorld[] = [];
afterEach(async () => {
  for (const world of opened.splice(0)) await world.close();
});

/** A table `t` on both sides. */
const worldOf = async (schema = 'CREATE TABLE t (id int PRIMARY KEY)'): Promise<LaneWorld> => {
  const world = await LaneWorld.create(
    { from: pair().source, to: pair().target },
    (both) => streamEngine(both),
    schema,
  );
  opened.push(world);
  return world;
};

const ids = async (url: string): Promise<number[]> =>
  (await runSql(url, 'SELECT id FROM t ORDER BY id')).map((row) => Number(row.id));

const confirmed = async (world: LaneWorld): Promise<Position> => {
  const { slot } = await world.spec();
  const { rows } = await world.from.query(
    'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1',
    [slot],
  );
  return rows[0]?.lsn as Position;
};

describe('stream: nothing is lost', () => {
  // The record of a commit can begin exactly where the one before it ends. When the lane has confirmed that end and then
  // reconnects, one byte too much makes the server skip the transaction (notes: hazard 1). So each round prepares a
  // transaction, lets the lane confirm the marker before it, disconnects, and only then commits.
  test('between two transactions that commit back to back, with a reconnect between them', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    let current = following;
    let adjacent = 0;
    for (let id = 1; id <= 12; id++) {
      const writer = await world.from.connect('test');
      try {
        await writer.query(`BEGIN; INSERT INTO public.t VALUES (${id})`);
        await world.drain(lane);
        await current.stop();
        const { position } = await lane.applied();
        if ((await world.head()) === position) adjacent += 1;
        expect(await confirmed(world)).toBe(position);
        await writer.query('COMMIT');
      } finally {
        await writer.end();
      }
      current = world.follow(lane);
      await world.drain(lane);
    }
    expect(await ids(world.toUrl)).toEqual(await ids(world.fromUrl));
    // Otherwise this test has shown nothing.
    expect(adjacent).toBeGreaterThan(5);
  });

  test('when the written side dies with kill -9 after a commit, whatever its default for synchronous_commit', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    await runSql(world.fromUrl, 'INSERT INTO t SELECT generate_series(1, 100)');
    await world.drain(lane);
    await following.stop();
    // Written by somebody who trusts that default: the control that shows what a crash takes here.
    await runSql(world.toUrl, 'CREATE TABLE control (id int); INSERT INTO control VALUES (1)');
    await pair().target.kill();
    await pair().target.start();
    expect(await ids(world.toUrl)).toHaveLength(100);
    expect(await runSql(world.toUrl, "SELECT to_regclass('control') AS control")).toEqual([{ control: null }]);
    await runSql(world.fromUrl, 'INSERT INTO t VALUES (101)');
    world.follow(lane);
    await world.drain(lane);
    expect(await ids(world.toUrl)).toHaveLength(101);
  });

  test('when the written side dies in the middle of a large transaction', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    await world.drain(lane);
    const dying = runSql(world.fromUrl, 'INSERT INTO t SELECT generate_series(1, 100000)');
    await dying;
    await pair().target.kill();
    await failureOf(following, 'unreachable');
    await failureOf(world.follow(lane), 'unreachable');
    await pair().target.start();
    world.follow(lane);
    await world.drain(lane);
    expect(await ids(world.toUrl)).toHaveLength(100_000);
  });

  // As a replica that takes the place of a lost server: it answers, and takes no writes before it has been promoted.
  test('when the written side comes back as a standby, which is promoted later', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    await runSql(world.fromUrl, 'INSERT INTO t VALUES (1)');
    await world.drain(lane);
    await pair().target.stop();
    await failureOf(following, 'unreachable');
    const data = join(pair().target.directory, 'data');
    execFileSync('cp', ['-p', 'PG_VERSION', 'standby.signal'], { cwd: data });
    await pair().target.start();
    await runSql(world.fromUrl, 'INSERT INTO t VALUES (2)');
    expect((await failureOf(world.follow(lane), 'unreachable')).message).toContain('takes no writes');
    await runSql(world.toUrl, 'SELECT pg_promote()');
    world.follow(lane);
    await world.drain(lane);
    expect(await ids(world.toUrl)).toEqual([1, 2]);
  });

  test('when the origin dies with kill -9, or ends', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    await runSql(world.fromUrl, 'SET synchronous_commit = on; INSERT INTO t VALUES (1)');
    await world.drain(lane);
    await pair().source.kill();
    await failureOf(following, 'unreachable');
    await pair().source.start();
    const again = world.follow(lane);
    await runSql(world.fromUrl, 'SET synchronous_commit = on; INSERT INTO t VALUES (2)');
    await world.drain(lane);
    // A shutdown waits for whoever streams from a slot: the lane must notice and leave.
    const begunMs = performance.now();
    await pair().source.stop();
    expect(performance.now() - begunMs).toBeLessThan(8_000);
    await failureOf(again, 'unreachable');
    await pair().source.start();
    world.follow(lane);
    await world.drain(lane);
    expect(await ids(world.toUrl)).toEqual([1, 2]);
  });

  test('nothing is confirmed that is not durable, also while apply is stuck for longer than wal_sender_timeout', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    await world.drain(lane);
    await runSql(pair().source.url, "ALTER SYSTEM SET wal_sender_timeout = '2s'; ");
    await runSql(pair().source.url, 'SELECT pg_reload_conf()');
    const blocker = await world.to.connect('test');
    try {
      await blocker.query('BEGIN; LOCK TABLE public.t IN SHARE MODE');
      await runSql(world.fromUrl, 'INSERT INTO t SELECT generate_series(1, 50000)');
      await sleep(5_000);
      // In this order: what is durable only grows, by markers too.
      const told = await confirmed(world);
      const { position: durable } = await lane.applied();
      const sql = `SELECT '${told}'::pg_lsn <= '${durable}'::pg_lsn AS within`;
      expect(await runSql(world.fromUrl, sql)).toEqual([{ within: true }]);
    } finally {
      await blocker.end();
      await runSql(pair().source.url, 'ALTER SYSTEM RESET wal_sender_timeout');
      await runSql(pair().source.url, 'SELECT pg_reload_conf()');
    }
    await world.drain(lane);
    expect(await ids(world.toUrl)).toHaveLength(50_000);
    await following.stop();
  });

  test('and no key is kept back when nobody can tell whether a batch was committed', async () => {
    const { source, target } = pair();
    const proxy = await FlakyProxy.start(target.port);
    const urlFor = (...of: Parameters<typeof target.urlFor>): string => {
      const url = new URL(target.urlFor(...of));
      url.port = String(proxy.port);
      return url.toString();
    };
    try {
      const to = { ...target, urlFor, url: urlFor('postgres') };
      const schema = 'CREATE TABLE t (id int PRIMARY KEY)';
      const world = await LaneWorld.create({ from: source, to }, (servers) => streamEngine(servers), schema);
      opened.push(world);
      const { lane, following } = await world.begin();
      await world.drain(lane);
      proxy.inject({ kind: 'commit', isHeard: true });
      await runSql(world.fromUrl, 'INSERT INTO t VALUES (1)');
      await failureOf(following, 'unreachable');
      proxy.heal();
      const again = world.follow(lane);
      await world.drain(lane);
      const told = [...following.told.applied, ...again.told.applied].flatMap(({ touched }) => touched);
      expect(told).toContainEqual({ table: 'public.t', keys: [['1']] });
      expect(again.told.applied.flatMap(({ touched }) => touched)).toEqual([]);
    } finally {
      await proxy.close();
    }
  });

  test('an idle lane lets the origin forget its log', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    await world.drain(lane);
    const before = await confirmed(world);
    // Another table's writes, which are none of the lane's business.
    await runSql(world.fromUrl, 'CREATE TABLE other AS SELECT generate_series(1, 20000) AS i');
    await expect.poll(() => confirmed(world)).not.toBe(before);
    await following.stop();
  });
});

describe('stream: the slot', () => {
  const lost = { findings: [{ id: 'lane/slot-lost', severity: 'blocks' }] };

  test('one that was dropped is reported, never made again', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    await world.drain(lane);
    await following.stop();
    const { slot } = await world.spec();
    await world.from.query('SELECT pg_drop_replication_slot($1)', [slot]);
    await runSql(world.fromUrl, 'INSERT INTO t VALUES (1)');
    expect(await failureOf(world.follow(lane), 'halted')).toMatchObject(lost);
    await expect(world.open({ kind: 'resume' })).rejects.toMatchObject({ kind: 'halted', ...lost });
    await expect(world.open({ kind: 'from', position: await world.head() })).rejects.toMatchObject(lost);
    const { rows } = await world.from.query('SELECT 1 FROM pg_replication_slots WHERE slot_name = $1', [slot]);
    expect(rows).toEqual([]);
  });

  test('one that somebody has read further is reported', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    await world.drain(lane);
    await following.stop();
    const { slot } = await world.spec();
    await runSql(world.fromUrl, 'SET synchronous_commit = on; INSERT INTO t VALUES (1)');
    await world.from.query('SELECT pg_replication_slot_advance($1, pg_current_wal_flush_lsn())', [slot]);
    const error = await failureOf(world.follow(lane), 'halted');
    expect(error).toMatchObject(lost);
    expect(error.message).toContain('beyond what was applied');
  });

  test.each(['source', 'target'] as const)('one that was invalidated on the %s is reported', async (origin) => {
    const servers = { from: pair()[origin], to: pair()[origin === 'source' ? 'target' : 'source'] };
    const world = await LaneWorld.create(servers, (both) => streamEngine(both), 'CREATE TABLE t (id int PRIMARY KEY)');
    opened.push(world);
    const { lane, following } = await world.begin();
    await world.drain(lane);
    await following.stop();
    await runSql(servers.from.url, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
    await runSql(servers.from.url, 'SELECT pg_reload_conf()');
    for (let i = 0; i < 4; i++) {
      await runSql(world.fromUrl, 'CREATE TABLE waste AS SELECT 1; DROP TABLE waste; SELECT pg_switch_wal()');
    }
    await runSql(world.fromUrl, 'CHECKPOINT');
    await runSql(servers.from.url, 'ALTER SYSTEM RESET max_slot_wal_keep_size');
    await runSql(servers.from.url, 'SELECT pg_reload_conf()');
    const error = await failureOf(world.follow(lane), 'halted');
    expect(error).toMatchObject(lost);
    expect(error.message).toContain('invalidated');
  });

  test('a log that ends before the stored position is another history', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    await world.drain(lane);
    await following.stop();
    await world.to.query("UPDATE switchback.progress SET position = 'FFFF/0'");
    expect((await failureOf(world.follow(lane), 'halted')).message).toContain('a log that ends at');
    await lane.close({ drop: false });
  });

  test('one that a dead worker still reads is taken over by whoever owns the lane', async () => {
    const world = await worldOf();
    const spec = await world.spec();
    await world.engine.publish({ ...spec, guard: allowed });
    // This one does not hear that it has been replaced.
    const first = await world.engine.openLane({ ...spec, store: laneStore(spec.lane, () => 1n) }, { kind: 'create' });
    await first.copy(quiet());
    const following = world.follow(first);
    await world.drain(first);
    let isWriting = true;
    const writing = (async () => {
      for (let id = 100; isWriting; id++) await world.from.query('INSERT INTO public.t VALUES ($1)', [String(id)]);
    })();
    await sleep(200);
    world.epoch = 2n;
    const second = await world.open({ kind: 'resume' });
    world.follow(second);
    await failureOf(following, 'deposed');
    await world.drain(second);
    isWriting = false;
    await writing;
    await runSql(world.fromUrl, 'INSERT INTO t VALUES (1)');
    await world.drain(second);
    expect(await ids(world.toUrl)).toEqual(await ids(world.fromUrl));
  });

  test('one that cannot be made because somebody is writing names who', async () => {
    const world = await worldOf();
    const writer = await world.from.connect('busy-writer');
    try {
      await writer.query('BEGIN; INSERT INTO public.t VALUES (1)');
      const { pid } = (await writer.query<{ pid: string }>('SELECT pg_backend_pid() AS pid')).rows[0] ?? { pid: '' };
      const error = await createSlot(world.from, 'sb_busy', 500).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ kind: 'busy' });
      expect(String(error)).toMatch(new RegExp(`pid ${pid} \\(postgres, switchback:busy-writer\\), \\d+ s: `));
      const { rows } = await world.from.query("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'sb_busy'");
      expect(rows).toEqual([]);
    } finally {
      await writer.end();
    }
  });

  test('publish makes nothing for whom the guard refuses', async () => {
    const world = await worldOf();
    const spec = await world.spec();
    const guard = async (): Promise<void> => {
      throw new SwitchbackError('deposed', 'somebody else');
    };
    await expect(world.engine.publish({ ...spec, guard })).rejects.toMatchObject({ kind: 'deposed' });
    const { rows } = await world.from.query('SELECT 1 FROM pg_publication WHERE pubname = $1', [spec.publication]);
    expect(rows).toEqual([]);
  });

  test('retire removes nothing for whom the guard refuses', async () => {
    const world = await worldOf();
    const { lane } = await world.begin();
    await world.drain(lane);
    const { slot, publication } = await world.spec();
    const guard = async (): Promise<void> => {
      throw new SwitchbackError('deposed', 'somebody else');
    };
    const what = { direction: 'forward', slot, publication, guard, guardWritten: guard } as const;
    await expect(world.engine.retire(what)).rejects.toMatchObject({ kind: 'deposed' });
    await expect(world.engine.retire({ ...what, slot: null })).rejects.toMatchObject({ kind: 'deposed' });
    // Its reader has not been ended, either.
    await world.drain(lane);
    const { rows } = await world.from.query('SELECT 1 FROM pg_publication WHERE pubname = $1', [publication]);
    expect(rows).toHaveLength(1);
  });

  test('retire removes slot and publication, and may be repeated', async () => {
    const world = await worldOf();
    const { lane, following } = await world.begin();
    await world.drain(lane);
    const { slot, publication } = await world.spec();
    await world.engine.retire({ direction: 'forward', slot, publication: null, guard: allowed, guardWritten: allowed });
    await following.ended;
    await world.engine.retire({ direction: 'forward', slot, publication, guard: allowed, guardWritten: allowed });
    await world.engine.retire({ direction: 'forward', slot, publication, guard: allowed, guardWritten: allowed });
    const { rows } = await world.from.query(
      `SELECT 1 FROM pg_replication_slots WHERE slot_name = $1 UNION ALL SELECT 1 FROM pg_publication WHERE pubname = $2`,
      [slot, publication],
    );
    expect(rows).toEqual([]);
  });
});

describe('stream: the publication', () => {
  test('has roots, plain tables and markers, and is left alone when it is the same', async () => {
    const world = await worldOf(
      `CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent); ALTER TABLE child ADD PRIMARY KEY (id);
       CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9)`,
    );
    const spec = await world.spec();
    await world.engine.publish({ ...spec, guard: allowed });
    await world.engine.publish({ ...spec, guard: allowed });
    const { rows } = await world.from.query(
      `SELECT prrelid::regclass::text AS name FROM pg_publication_rel ORDER BY 1`,
    );
    expect(rows.map((row) => row.name)).toEqual(['public.child', 'public.p', 'public.parent', 'switchback.marker']);
    await world.from.query('CREATE TABLE public.late (id int PRIMARY KEY)');
    await expect(world.engine.publish({ ...(await world.spec()), guard: allowed })).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('differs in public.late'),
    });
  });
});

describe('stream: tables without a key', () => {
  test('a copy that died before it had read them begins again, and nothing is twice', async () => {
    const world = await worldOf('CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE a (v int); CREATE TABLE b (v int)');
    await runSql(
      world.fromUrl,
      'INSERT INTO t SELECT generate_series(1, 50); INSERT INTO a SELECT generate_series(1, 50); INSERT INTO b SELECT * FROM a',
    );
    const lane = await world.open({ kind: 'create' });
    const stop = new AbortController();
    const observer = { copied: () => stop.abort(), applied: () => undefined, lag: () => undefined };
    await expect(lane.copy({ signal: stop.signal, observer })).rejects.toThrow();
    await runSql(world.fromUrl, 'INSERT INTO a VALUES (99); DELETE FROM t WHERE id = 1');
    const again = await world.open({ kind: 'resume' });
    await again.copy({ signal: new AbortController().signal, observer: { ...observer, copied: () => undefined } });
    world.follow(again);
    await runSql(world.fromUrl, 'INSERT INTO b VALUES (99)');
    await world.drain(again);
    const { from, to } = await world.contents();
    expect(to).toEqual(from);
  });
});
