import { afterEach, describe, expect, test } from 'vitest';
import type { Position } from '../../src/domain/position.ts';
import { streamEngine } from '../../src/engines/stream/engine.ts';
import { LaneWorld } from '../support/lanes.ts';
import { runSql, useServerPair } from '../support/servers.ts';
import { failureOf } from './lane.ts';

const pair = useServerPair();
const opened: LaneWorld[] = [];
afterEach(async () => {
  for (const world of opened.splice(0)) await world.close();
});

/** What a lane needs of the written side is had with its slot, before clients wait; nobody may be left with its session. */
describe('stream: a lane whose slot was reserved', () => {
  const worldOf = async (): Promise<LaneWorld> => {
    const servers = { from: pair().source, to: pair().target };
    const world = await LaneWorld.create(servers, (both) => streamEngine(both), 'CREATE TABLE t (id int PRIMARY KEY)');
    opened.push(world);
    await world.engine.publish({ ...(await world.spec()), guard: async () => undefined });
    return world;
  };
  const appliers = async (world: LaneWorld): Promise<readonly unknown[]> => {
    const rows = await runSql(
      world.toUrl,
      "SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%:apply' AND datname = current_database()",
    );
    return rows.map(({ pid }) => pid);
  };
  const headOf = async (world: LaneWorld): Promise<Position> => {
    const [row] = await runSql(world.fromUrl, 'SELECT pg_current_wal_insert_lsn()::text AS lsn');
    return row?.lsn as Position;
  };

  test('applies by the session that was opened then', async () => {
    const world = await worldOf();
    await world.open({ kind: 'reserve' });
    const before = await appliers(world);
    expect(before).toHaveLength(1);
    const lane = await world.open({ kind: 'from', position: await headOf(world) });
    const following = world.follow(lane);
    await runSql(world.fromUrl, 'INSERT INTO t VALUES (1)');
    await world.drain(lane);
    expect(await appliers(world)).toEqual(before);
    expect(await runSql(world.toUrl, 'SELECT id FROM t')).toEqual([{ id: 1 }]);
    await following.stop();
    await lane.close({ drop: false });
    await expect.poll(() => appliers(world)).toEqual([]);
  });

  test('leaves no session behind when the slot is given up', async () => {
    const world = await worldOf();
    await world.open({ kind: 'reserve' });
    expect(await appliers(world)).toHaveLength(1);
    const { slot, direction } = await world.spec();
    const guard = async (): Promise<void> => undefined;
    await world.engine.retire({ direction, slot, publication: null, guard, guardWritten: guard });
    await expect.poll(() => appliers(world)).toEqual([]);
  });

  test('follows all the same when that session has broken', async () => {
    const world = await worldOf();
    await world.open({ kind: 'reserve' });
    const [pid] = await appliers(world);
    await runSql(world.toUrl, `SELECT pg_terminate_backend(${pid})`);
    const lane = await world.open({ kind: 'from', position: await headOf(world) });
    await failureOf(world.follow(lane), 'unreachable');
    const following = world.follow(lane);
    await runSql(world.fromUrl, 'INSERT INTO t VALUES (2)');
    await world.drain(lane);
    expect(await runSql(world.toUrl, 'SELECT id FROM t')).toEqual([{ id: 2 }]);
    await following.stop();
  });
});
