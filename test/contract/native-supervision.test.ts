import { execFileSync } from 'node:child_process';
import { readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import type { RunningServer } from '../../src/demo/servers.ts';
import { SwitchbackError } from '../../src/domain/errors.ts';
import { markerTable, touchedTable } from '../../src/engines/native/names.ts';
import { disableSubscription } from '../../src/engines/native/subscription.ts';
import { quoteTable } from '../../src/platform/postgres/quote.ts';
import { LaneWorld, quiet } from '../support/lanes.ts';
import { makeNativeEngine, NATIVE_SETTINGS } from '../support/native.ts';
import { runSql, useServerPair } from '../support/servers.ts';
import { failureOf } from './lane.ts';

/** What happens to a subscription that is not as its lane left it. */
const pair = useServerPair(NATIVE_SETTINGS);
const opened: LaneWorld[] = [];
afterEach(async () => {
  for (const world of opened.splice(0)) await world.close();
});

const SUBSCRIPTION = `SELECT subname AS name, subenabled AS enabled FROM pg_subscription
  WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`;

const expectSubscribed = async (world: LaneWorld): Promise<void> => {
  await expect.poll(() => runSql(world.toUrl, SUBSCRIPTION)).toHaveLength(1);
};

const begun = async (direction: 'forward' | 'backward' = 'forward') => {
  const { source, target } = pair();
  const servers = direction === 'forward' ? { from: source, to: target } : { from: target, to: source };
  const world = await LaneWorld.create(servers, makeNativeEngine, 'CREATE TABLE t (id int PRIMARY KEY, v int)');
  opened.push(world);
  await runSql(world.fromUrl, 'INSERT INTO t SELECT i, i FROM generate_series(1, 10) i');
  const { lane, following } = await world.begin();
  await world.drain(lane);
  await expectSubscribed(world);
  await world.drain(lane);
  const name = (await world.spec()).slot;
  return { world, lane, following, name };
};
/** The table that markers arrive in, quoted. */
const arrivalsOf = async (world: LaneWorld): Promise<string> => {
  const { publication, direction } = await world.spec();
  return quoteTable(markerTable(publication, direction));
};

const expectSame = async (world: LaneWorld): Promise<void> => {
  const { from, to } = await world.contents();
  expect(to).toEqual(from);
};

describe('a subscription', () => {
  test('that somebody has dropped halts the lane, and is not made anew', async () => {
    const { world, lane, following, name } = await begun();
    await runSql(world.toUrl, `ALTER SUBSCRIPTION ${name} DISABLE`);
    await runSql(world.toUrl, `ALTER SUBSCRIPTION ${name} SET (slot_name = NONE)`);
    await runSql(world.toUrl, `DROP SUBSCRIPTION ${name}`);
    const findings = [{ severity: 'blocks' }];
    expect(await failureOf(following, 'halted')).toMatchObject({ findings });
    expect((await failureOf(world.follow(lane), 'halted')).findings[0]?.id).toBe('lane/slot-lost');
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toEqual([]);
  });

  test('that somebody has disabled halts the lane, and goes on with it', async () => {
    const { world, lane, following, name } = await begun();
    await runSql(world.toUrl, `ALTER SUBSCRIPTION ${name} DISABLE`);
    expect((await failureOf(following, 'halted')).findings[0]?.id).toBe('lane/subscription-disabled');
    await runSql(world.fromUrl, 'UPDATE t SET v = 0');
    world.follow(lane);
    await world.drain(lane);
    await expectSame(world);
  });

  test('whose slot is dropped halts the lane', async () => {
    const { world, lane, following, name } = await begun();
    const drop = `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '${name}' AND active;
      SELECT pg_drop_replication_slot('${name}')`;
    await expect.poll(() => runSql(world.fromUrl, drop).catch(() => null), { interval: 1 }).not.toBe(null);
    expect((await failureOf(following, 'halted')).findings[0]?.id).toBe('lane/slot-lost');
    expect((await failureOf(world.follow(lane), 'halted')).findings[0]?.id).toBe('lane/slot-lost');
  });

  test.each(['forward', 'backward'] as const)(
    'whose worker is ended again and again loses nothing (%s)',
    async (way) => {
      const { world, lane } = await begun(way);
      for (let round = 1; round <= 4; round++) {
        await runSql(world.toUrl, 'SELECT pg_terminate_backend(pid) FROM pg_stat_subscription WHERE pid IS NOT NULL');
        await runSql(world.fromUrl, `INSERT INTO t VALUES (${100 + round}, 0); UPDATE t SET v = v + 1`);
        await sleep(100);
      }
      await world.drain(lane);
      await expectSame(world);
    },
  );

  test('that passes over a row is a divergence where the server counts it', async () => {
    const { world, following } = await begun();
    await runSql(world.toUrl, 'DELETE FROM t WHERE id = 2');
    await runSql(world.fromUrl, 'UPDATE t SET v = 9 WHERE id = 2');
    const error = await failureOf(following, 'halted');
    expect(error.findings[0]).toMatchObject({
      id: 'lane/divergence',
      fact: expect.stringContaining('update_missing: 1'),
    });
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toMatchObject([{ enabled: false }]);
  });

  test('that cannot be ended is not halted yet: the next run finds the same, and ends it', async () => {
    const { world, following } = await begun();
    await following.stop();
    const spec = await world.spec();
    let isMute = false;
    // The follower stores on a session of its own, and whoever ends the subscription on another one.
    const record: typeof spec.store.record = async (sql, progress) => {
      const { rows } = await sql.query(`SELECT current_setting('application_name') AS name`);
      if (isMute && rows[0]?.name?.endsWith(':pool')) throw new SwitchbackError('unreachable', 'no answer');
      await spec.store.record(sql, progress);
    };
    const lane = await world.engine.openLane({ ...spec, store: { ...spec.store, record } }, { kind: 'resume' });
    const second = world.follow(lane);
    await world.drain(lane);
    isMute = true;
    await runSql(world.toUrl, 'DELETE FROM t WHERE id = 2');
    await runSql(world.fromUrl, 'UPDATE t SET v = 9 WHERE id = 2');
    expect((await failureOf(second, 'unreachable')).message).toBe('no answer');
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toMatchObject([{ enabled: true }]);
    isMute = false;
    expect((await failureOf(world.follow(lane), 'halted')).findings[0]?.id).toBe('lane/divergence');
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toMatchObject([{ enabled: false }]);
  });

  test('that cannot apply a change halts the lane with the row, and goes on when it is mended', async () => {
    const { world, lane, following } = await begun('backward');
    await runSql(world.toUrl, 'INSERT INTO t VALUES (50, 0)');
    await runSql(world.fromUrl, 'INSERT INTO t VALUES (50, 1)');
    const error = await failureOf(following, 'halted');
    // The stream engine's lane has looked at what the server could not do.
    const row = { table: 'public.t', key: ['50'] };
    expect(error.findings[0]).toMatchObject({ id: 'lane/divergence', subject: 'public.t', row });
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toEqual([]);
    await runSql(world.toUrl, 'DELETE FROM t WHERE id = 50');
    world.follow(lane);
    await world.drain(lane);
    await expectSame(world);
  });

  // What stops it asks nothing of a server that may be what it is stopped for. 13 does not disable one by itself.
  test('is disabled while the origin is down, also by a lane that does not get to follow', async () => {
    const { world, lane, following } = await begun('backward');
    const enabled = async () => (await runSql(world.toUrl, SUBSCRIPTION))[0]?.enabled;
    const { marker } = await lane.applied();
    await runSql(world.fromUrl, 'UPDATE t SET v = 0');
    await pair().target.kill();
    await following.stop().catch(() => undefined);
    expect(await enabled()).toBe(false);
    await pair().target.start();
    const second = world.follow(lane);
    await world.drain(lane);
    await expectSame(world);
    expect((await lane.applied()).marker).toBeGreaterThan(marker);
    await pair().target.kill();
    await failureOf(second, 'unreachable');
    expect(await enabled()).toBe(true);
    await lane.close({ drop: false });
    expect(await enabled()).toBe(false);
    await pair().target.start();
    world.follow(await world.open({ kind: 'resume' }));
    await expect.poll(() => world.contents().then(({ from, to }) => isDeepStrictEqual(from, to))).toBe(true);
  });
});

describe('workers', () => {
  test('that come after one that was killed take over a subscription that runs', async () => {
    const { world, following } = await begun();
    const before = await runSql(world.toUrl, `SELECT oid, * FROM pg_subscription`);
    // As if it had died: nothing of it stops the subscription.
    world.epoch = 2n;
    await world.to.query('UPDATE switchback.progress SET epoch = 2');
    const late = world.epoch;
    await runSql(world.fromUrl, 'UPDATE t SET v = v + 1');
    const lane = await world.open({ kind: 'resume' });
    const heir = world.follow(lane);
    await world.drain(lane);
    await expectSame(world);
    expect(await runSql(world.toUrl, `SELECT oid, * FROM pg_subscription`)).toEqual(before);
    expect(late).toBe(2n);
    await heir.stop();
    await following.stop().catch(() => undefined);
  });

  test('that slept can neither enable nor make a subscription', async () => {
    const { world, lane, following } = await begun();
    await following.stop();
    await world.to.query('UPDATE switchback.progress SET epoch = 2');
    await failureOf(world.follow(lane), 'deposed');
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toMatchObject([{ enabled: false }]);
    await expect(lane.close({ drop: true })).rejects.toMatchObject({ kind: 'deposed' });
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toMatchObject([{ enabled: false }]);
    const guard = async (): Promise<void> => Promise.reject(new Error('not ours'));
    const { slot, publication } = await world.spec();
    const what = {
      direction: 'forward',
      slot,
      publication,
      guard: async () => undefined,
      guardWritten: guard,
    } as const;
    await expect(world.engine.retire(what)).rejects.toThrow('not ours');
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toHaveLength(1);
  });

  test('that slept cannot end the subscription of the one that took over', async () => {
    const { world, lane, following } = await begun();
    await world.to.query('UPDATE switchback.progress SET epoch = 2');
    await failureOf(following, 'deposed');
    await expect(lane.close({ drop: true })).rejects.toMatchObject({ kind: 'deposed' });
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toMatchObject([{ enabled: true }]);
    await runSql(world.fromUrl, 'UPDATE t SET v = -v');
    await expect.poll(() => world.contents().then(({ from, to }) => isDeepStrictEqual(from, to))).toBe(true);
  });

  // The worker of a subscription that waits for a lock does not leave by itself.
  test('that slept while they ended a subscription do not end the worker of the one that took over', async () => {
    const { world, following, name } = await begun();
    const blocker = await world.to.connect('test');
    const worker = `SELECT pid FROM pg_stat_subscription WHERE subname = '${name}' AND pid IS NOT NULL`;
    try {
      await blocker.query('BEGIN; LOCK TABLE public.t IN SHARE MODE');
      await runSql(world.fromUrl, 'INSERT INTO t VALUES (50, 0)');
      await expect.poll(() => runSql(world.toUrl, 'SELECT FROM pg_locks WHERE NOT granted')).toHaveLength(1);
      const before = await runSql(world.toUrl, worker);
      expect(before).toHaveLength(1);
      let asked = 0;
      const guard = async (): Promise<void> => {
        asked += 1;
        if (asked > 1) throw new Error('not ours');
      };
      await expect(disableSubscription(world.to, name, guard)).rejects.toThrow('not ours');
      expect(await runSql(world.toUrl, worker)).toEqual(before);
      // Whoever owns the lane ends it.
      await following.stop().catch(() => undefined);
      expect(await runSql(world.toUrl, worker)).toEqual([]);
    } finally {
      await blocker.end();
    }
  });

  test('ask for the locks of triggers in short attempts, and again before anybody is told', {
    timeout: 14_000,
  }, async () => {
    const { world, lane, following, name } = await begun();
    await following.stop();
    await runSql(world.toUrl, 'DROP TRIGGER switchback_touch ON t');
    const blocker = await world.to.connect('test');
    try {
      await blocker.query('BEGIN; LOCK TABLE public.t IN SHARE MODE');
      expect((await failureOf(world.follow(lane), 'busy')).message).toContain('lock timeout');
    } finally {
      await blocker.end();
    }
    const second = world.follow(lane);
    await world.drain(lane);
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toMatchObject([{ name, enabled: true }]);
    await second.stop();
    await runSql(world.toUrl, 'DROP TRIGGER switchback_touch ON t');
    const passing = await world.to.connect('test');
    try {
      await passing.query('BEGIN; LOCK TABLE public.t IN SHARE MODE');
      world.follow(lane);
      const attempts = new Set<unknown>();
      const waiting = `SELECT virtualtransaction AS at FROM pg_locks WHERE relation = 't'::regclass AND NOT granted`;
      const seen = async () => {
        for (const { at } of await runSql(world.toUrl, waiting)) attempts.add(at);
        return attempts.size;
      };
      await expect.poll(seen, { interval: 20, timeout: 10_000 }).toBe(2);
    } finally {
      await passing.end();
    }
    // Nobody was told of what passed by itself.
    await world.drain(lane);
  });

  // Nobody in the window of a switch can wait for a dump of the side that is about to be written.
  test('begin while the markers that arrive are read, and wait for such a reader in short attempts', {
    timeout: 14_000,
  }, async () => {
    const { world, lane, following } = await begun();
    await following.stop();
    const arrivals = await arrivalsOf(world);
    const reader = await world.to.connect('test');
    try {
      await reader.query(`BEGIN; LOCK TABLE ${arrivals} IN ACCESS SHARE MODE`);
      const second = world.follow(lane);
      await world.drain(lane);
      await second.stop();
      await reader.query(`ROLLBACK; ALTER TABLE ${arrivals} DISABLE TRIGGER switchback_touch`);
      await reader.query(`BEGIN; LOCK TABLE ${arrivals} IN ACCESS SHARE MODE`);
      expect((await failureOf(world.follow(lane), 'busy')).message).toContain('lock timeout');
    } finally {
      await reader.end();
    }
    const third = world.follow(lane);
    await world.drain(lane);
    await third.stop();
    const enabled = `SELECT tgenabled AS enabled FROM pg_trigger WHERE tgrelid = '${arrivals}'::regclass`;
    expect(await runSql(world.toUrl, enabled)).toEqual([{ enabled: 'R' }]);
  });

  test('go on with a subscription of an earlier version, which noted no timeline and counted no markers', async () => {
    const { world, lane, following, name } = await begun();
    await following.stop();
    const arrivals = await arrivalsOf(world);
    const touched = quoteTable(touchedTable(await world.spec()));
    await runSql(
      world.toUrl,
      `DROP TRIGGER switchback_touch ON ${arrivals}; ALTER TABLE ${arrivals} DROP COLUMN expected, DROP COLUMN missing;
       COMMENT ON TABLE ${touched} IS '${name}'; ALTER SUBSCRIPTION ${name} ENABLE`,
    );
    await runSql(world.fromUrl, 'UPDATE t SET v = 7');
    world.follow(lane);
    await world.drain(lane);
    await expectSame(world);
    const counted = `SELECT expected = seq + 1 AS counted FROM ${arrivals}`;
    expect(await runSql(world.toUrl, counted)).toEqual([{ counted: true }]);
    const noted = `SELECT obj_description('${touched}'::regclass) ~ ' [0-9A-F]{8}$' AS noted`;
    expect(await runSql(world.toUrl, noted)).toEqual([{ noted: true }]);
  });

  test('do not begin while a subscription brings changes the other way', async () => {
    const { world, lane, following } = await begun();
    await following.stop();
    const { publication } = await world.spec();
    await runSql(world.toUrl, `CREATE PUBLICATION ${publication}`);
    const other = `${publication}_other`;
    await runSql(
      world.fromUrl,
      `CREATE SUBSCRIPTION ${other} CONNECTION 'host=127.0.0.1 port=1' PUBLICATION ${publication}
         WITH (connect = false, enabled = false, slot_name = NONE, create_slot = false)`,
    );
    await runSql(world.fromUrl, `ALTER SUBSCRIPTION ${other} SET (slot_name = '${other}')`);
    await runSql(world.fromUrl, `ALTER SUBSCRIPTION ${other} ENABLE`);
    await failureOf(world.follow(lane), 'busy');
    await runSql(world.fromUrl, `ALTER SUBSCRIPTION ${other} DISABLE`);
    world.follow(lane);
    await world.drain(lane);
    await runSql(world.fromUrl, `ALTER SUBSCRIPTION ${other} SET (slot_name = NONE)`);
    await runSql(world.fromUrl, `DROP SUBSCRIPTION ${other}`);
  });

  test('retire leaves nothing of a lane on either side', async () => {
    const { world, following } = await begun();
    await following.stop();
    const { slot, publication } = await world.spec();
    const guard = async (): Promise<void> => undefined;
    const what = { direction: 'forward', slot, publication, guard, guardWritten: guard } as const;
    await world.engine.retire(what);
    await world.engine.retire(what);
    expect(await runSql(world.toUrl, SUBSCRIPTION)).toEqual([]);
    const left = `SELECT tgname AS name FROM pg_trigger WHERE NOT tgisinternal UNION ALL
      SELECT relname FROM pg_class WHERE relname ~ '^(marker|touched)_[fr]_' UNION ALL SELECT proname FROM pg_proc WHERE proname ~ '^touch_'`;
    expect(await runSql(world.toUrl, left)).toEqual([]);
    expect(await runSql(world.fromUrl, left)).toEqual([]);
  });
});

// As when the written side was put back to where its lane stood still: the slot has been told that what is missing was on disk.
describe('a hole among the markers', () => {
  const begunWithHole = async () => {
    const { world, lane, following, name } = await begun();
    await following.stop();
    const arrivals = await arrivalsOf(world);
    await runSql(world.fromUrl, `UPDATE t SET v = 0 WHERE id = 1; UPDATE ${arrivals} SET seq = seq + 1`);
    await runSql(world.fromUrl, `SELECT pg_replication_slot_advance('${name}', pg_current_wal_insert_lsn())`);
    return { world, lane, arrivals };
  };

  test('is seen by the first that follows it, however often the subscription was made anew before', async () => {
    const { world, lane, arrivals } = await begunWithHole();
    // Its worker fails at the first marker, once; a sequence counts what is rolled back as well.
    await runSql(
      world.toUrl,
      `CREATE SEQUENCE arrived;
       CREATE FUNCTION refuse_first() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF nextval('public.arrived') = 1 THEN RAISE 'refused'; END IF; RETURN NEW; END $$;
       CREATE TRIGGER refuse_first BEFORE UPDATE ON ${arrivals} FOR EACH ROW EXECUTE FUNCTION refuse_first();
       ALTER TABLE ${arrivals} ENABLE REPLICA TRIGGER refuse_first`,
    );
    const refused = world.follow(lane);
    const lost = { id: 'lane/slot-lost', fact: expect.stringMatching(/marker \d+ and what came with it/) };
    expect((await failureOf(refused, 'halted')).findings).toMatchObject([lost]);
    expect(await runSql(world.toUrl, 'SELECT last_value > 1 AS again FROM arrived')).toEqual([{ again: true }]);
    expect((await failureOf(world.follow(lane), 'halted')).findings).toMatchObject([lost]);
  });

  test('is none of a lane that is begun anew, nor is what markers the stream engine has applied', async () => {
    const { world, lane } = await begunWithHole();
    expect((await failureOf(world.follow(lane), 'halted')).findings[0]?.id).toBe('lane/slot-lost');
    await runSql(world.toUrl, 'TRUNCATE t');
    const { lane: anew, following } = await world.begin();
    await expectSubscribed(world);
    await world.drain(anew);
    await following.stop();
    const [table] = (await world.spec()).tables;
    if (table === undefined) throw new Error('no table');
    // Up to where rows were repaired the stream engine's lane goes on, and takes the markers.
    for (let n = 1; n <= 2; n++) await runSql(world.fromUrl, `UPDATE ${await arrivalsOf(world)} SET seq = seq + 1`);
    await world.engine.repair(await world.spec(), [{ table, keys: [['1']] }], quiet());
    world.follow(anew);
    await expectSubscribed(world);
    await world.drain(anew);
    await expectSame(world);
  });
});

/** A server that stands still meanwhile; what it was is kept beside it. */
const keep = async (server: RunningServer): Promise<void> => {
  await server.stop();
  execFileSync('cp', ['-a', 'data', 'kept'], { cwd: server.directory });
  await server.start();
};

/** Makes it what it was when it was kept, as a restored disk does, or as a replica that was behind, and still is one. */
const putBack = async (server: RunningServer, { isStandby }: { readonly isStandby: boolean }): Promise<void> => {
  await server.kill();
  // Not removed: what is left of the killed server may still be writing there, and a folder that fills cannot be removed.
  const gone = `gone-${readdirSync(server.directory).length}`;
  renameSync(join(server.directory, 'data'), join(server.directory, gone));
  renameSync(join(server.directory, 'kept'), join(server.directory, 'data'));
  if (isStandby) execFileSync('cp', ['-p', 'PG_VERSION', 'standby.signal'], { cwd: join(server.directory, 'data') });
  await server.start();
};

// The slot has been told that what is missing was on disk, and what the subscription knows of itself went back with the rows.
describe.each(['forward', 'backward'] as const)('a written side that has lost what was confirmed (%s)', (way) => {
  const lose = async ({ isPromoted }: { readonly isPromoted: boolean }) => {
    const { world, lane, following, name } = await begun(way);
    const server = way === 'forward' ? pair().target : pair().source;
    await keep(server);
    await failureOf(following, 'unreachable');
    const second = world.follow(lane);
    await runSql(world.fromUrl, 'UPDATE t SET v = 0 WHERE id = 1');
    await world.drain(lane);
    await runSql(world.fromUrl, 'UPDATE t SET v = 0 WHERE id = 2');
    await world.drain(lane);
    const { position } = await lane.applied();
    const confirmed = `SELECT confirmed_flush_lsn >= '${position}' AS done FROM pg_replication_slots WHERE slot_name = '${name}'`;
    await expect.poll(() => runSql(world.fromUrl, confirmed), { timeout: 20_000 }).toEqual([{ done: true }]);
    await putBack(server, { isStandby: isPromoted });
    await failureOf(second, 'unreachable');
    if (isPromoted) {
      // Whoever comes before it is promoted comes again: what has become of the rows cannot be told yet.
      expect((await failureOf(world.follow(lane), 'unreachable')).message).toContain('takes no writes');
      await runSql(server.url, 'SELECT pg_promote()');
    }
    expect(await runSql(world.toUrl, 'SELECT id FROM t WHERE v = 0')).toEqual([]);
    return { world, lane };
  };

  test('halts the lane for good when it was put back', async () => {
    const { world, lane } = await lose({ isPromoted: false });
    const lost = { id: 'lane/slot-lost', fact: expect.stringMatching(/marker \d+ and what came with it/) };
    for (let time = 1; time <= 2; time++) {
      expect((await failureOf(world.follow(lane), 'halted')).findings).toMatchObject([lost]);
    }
    await expect(world.engine.repair(await world.spec(), [], quiet())).rejects.toMatchObject({ findings: [lost] });
  });

  test('halts the lane once when it was promoted, and all of its rows are to be compared', async () => {
    const { world, lane } = await lose({ isPromoted: true });
    const halted = world.follow(lane);
    expect((await failureOf(halted, 'halted')).findings).toMatchObject([
      { id: 'lane/divergence', fact: expect.stringContaining('promoted') },
    ]);
    expect(halted.told.applied.map(({ touched }) => touched)).toContainEqual([{ table: 'public.t', keys: 'all' }]);
    const again = world.follow(lane);
    await runSql(world.fromUrl, 'UPDATE t SET v = 5 WHERE id = 3');
    await world.drain(lane);
    await again.stop();
    const [table] = (await world.spec()).tables;
    if (table === undefined) throw new Error('no table');
    expect(await world.engine.repair(await world.spec(), [{ table, keys: [['1'], ['2']] }], quiet())).toBe(2);
    world.follow(lane);
    await world.drain(lane);
    await expectSame(world);
  });
});
