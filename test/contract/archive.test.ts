import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import type { Position } from '../../src/domain/position.ts';
import { Lsn } from '../../src/platform/postgres/lsn.ts';
import { laneStore } from '../../src/sidecar/lanes.ts';
import { ArchiveWorld, reading } from '../support/archives.ts';
import { runSql, useServerPair } from '../support/servers.ts';

// With this little memory the target streams a transaction, before it ends, from its second hundred of small changes on.
const pair = useServerPair({ logical_decoding_work_mem: '64kB' });

const KEYED = `
  CREATE TYPE mood AS ENUM ('sad', 'glad');
  CREATE TABLE t (id int PRIMARY KEY, v text, big text, m mood); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;`;
const SCHEMA = `${KEYED}
  CREATE TABLE bare (a int, b text); ALTER TABLE bare REPLICA IDENTITY FULL;
  CREATE TABLE log (a int, b text)`;

const opened: ArchiveWorld[] = [];
afterEach(async () => {
  for (const world of opened.splice(0)) await world.close();
});

const worldOf = async (schema = SCHEMA): Promise<ArchiveWorld> => {
  const world = await ArchiveWorld.create(pair(), schema);
  opened.push(world);
  return world;
};

/** A forward lane that has caught up with an empty source, and where that is: there restored copies begin. */
const following = async (world: ArchiveWorld) => {
  const forward = await world.follow('forward', { kind: 'create' });
  return { forward, start: await world.drain(forward, 'forward') };
};

/** Changes of a table with a key: all kinds, values out of line that are left alone, other keys, a large one. `n` keeps calls apart. */
const writeKeyed = async (url: string, n: number): Promise<void> => {
  const id = n * 100_000;
  const big = "repeat(md5(i::text), 100), 'glad'";
  await runSql(url, `INSERT INTO t SELECT ${id} + i, 'v' || i, ${big} FROM generate_series(1, 300) i`);
  await runSql(url, `UPDATE t SET v = 'changed', m = 'sad' WHERE id BETWEEN ${id + 1} AND ${id + 50}`);
  await runSql(url, `UPDATE t SET id = id + 1000 WHERE id BETWEEN ${id + 51} AND ${id + 60}`);
  await runSql(url, `DELETE FROM t WHERE id BETWEEN ${id + 61} AND ${id + 70}`);
  await runSql(url, `INSERT INTO t SELECT ${id} + i, 'large', NULL, NULL FROM generate_series(2001, 5000) i`);
};

/** The same, and tables without a key, TRUNCATE and a transaction that is rolled back. */
const writeAll = async (url: string, n: number): Promise<void> => {
  await writeKeyed(url, n);
  await runSql(url, `INSERT INTO bare VALUES (${n}, 'one'), (${n}, 'one'), (${n}, NULL)`);
  await runSql(url, `DELETE FROM bare WHERE ctid = (SELECT min(ctid) FROM bare WHERE b = 'one' AND a = ${n})`);
  await runSql(url, `UPDATE bare SET b = 'two' WHERE b IS NULL AND a = ${n}`);
  await runSql(url, `TRUNCATE log; INSERT INTO log SELECT i, 'log' FROM generate_series(1, ${n + 1}) i`);
  await runSql(url, `BEGIN; INSERT INTO log VALUES (0, 'never'); ROLLBACK`);
};

/** Where the archive ends. */
const endOf = async (world: ArchiveWorld): Promise<Position> =>
  (await world.archives.summary(world.place)).stretches.at(-1)?.until ?? ('0/0' as Position);

/** The whole archive, replayed from its beginning, is what the target holds. */
const expectReplayed = async (world: ArchiveWorld, start: Position): Promise<void> => {
  const { url, server } = await world.restored();
  const { transactions, changes } = await world.archives.verify(world.place, reading());
  expect(await world.replay(url, start)).toMatchObject({ transactions, changes });
  expect(await world.contents(server)).toEqual(await world.contents(world.target));
};

describe('archive', () => {
  test('what both lanes carried over a cutover is replayed onto a copy of the source from before it', async () => {
    const world = await worldOf();
    const { forward, start } = await following(world);
    await writeAll(world.urls.source, 1);
    await world.drain(forward, 'forward');
    await writeAll(world.urls.source, 2);
    const reverse = await world.turn(forward, 'forward');
    await writeAll(world.urls.target, 3);
    const between = await world.drain(reverse, 'reverse');
    await writeAll(world.urls.target, 4);
    const head = await world.drain(reverse, 'reverse');
    expect(await world.contents(world.source)).toEqual(await world.contents(world.target));

    const summary = await world.archives.verify(world.place, reading());
    expect(summary).toEqual(await world.archives.summary(world.place));
    expect(summary.stretches).toMatchObject([{ direction: 'forward', ended: null }, { direction: 'reverse' }]);
    expect(summary.objects).toBeGreaterThan(6);
    expect(Math.abs(Date.parse(summary.newestAt ?? '') - Date.now())).toBeLessThan(600_000);
    const base = { source: { atLeast: start, atMost: start }, reverse: null };
    const since = await world.archives.since(world.place, base);
    const { transactions, changes } = summary;
    expect(since).toMatchObject({ missing: null, transactions: { atLeast: transactions, atMost: transactions } });
    expect(since.changes.atMost).toBe(changes);
    expect(Lsn.reached(since.end?.position ?? ('0/0' as Position), head)).toBe(true);

    const { url, server } = await world.restored();
    const part = await world.replay(url, start, { until: { direction: 'reverse', position: between } });
    expect(part.end).toEqual({ direction: 'reverse', position: between });
    expect(await world.contents(server)).not.toEqual(await world.contents(world.target));
    const until = { direction: 'reverse', position: between } as const;
    expect(await world.replay(url, start, { until })).toMatchObject({ transactions: 0, end: until });
    const rest = await world.replay(url, start);
    expect(await world.contents(server)).toEqual(await world.contents(world.target));
    // What was to be left out is in it.
    const past = { kind: 'refused', message: expect.stringMatching(/of direction reverse already, more than/) };
    await expect(world.replay(url, start, { until })).rejects.toMatchObject(past);
    expect(part.transactions + rest.transactions).toBe(transactions);
    expect(part.changes + rest.changes).toBe(changes);
    expect(await world.replay(url, start)).toMatchObject({ transactions: 0, changes: 0 });
    expect(await world.contents(server)).toEqual(await world.contents(world.target));

    const far = { direction: 'reverse', position: 'FFFFFF/0' as Position } as const;
    await expect(world.replay(url, start, { until: far })).rejects.toMatchObject({ kind: 'refused' });
  });

  // The reverse lane of a restored copy goes on from the row that the replay leaves; a soak may end and begin again.
  test('over a switch that was undone, a cutover, a failback and a cutover', async () => {
    const world = await worldOf();
    const { forward, start } = await following(world);
    await writeAll(world.urls.source, 1);
    const undone = await world.turn(forward, 'forward');
    await world.drain(undone, 'reverse');
    await undone.stop();
    world.epoch += 1n;
    const again = await world.follow('forward', { kind: 'resume' });
    await writeAll(world.urls.source, 2);
    const reverse = await world.turn(again, 'forward');
    await writeAll(world.urls.target, 3);
    const back = await world.turn(reverse, 'reverse');
    await writeAll(world.urls.source, 4);
    await world.drain(back, 'forward');
    const middle = await world.head(world.source);
    const { url, server } = await world.restored();
    await world.replay(url, start);
    expect(await world.contents(server)).toEqual(await world.contents(world.source));
    const { position } = (await laneStore('all/reverse', () => 9n).progress(server)) ?? {};
    await writeAll(world.urls.source, 5);
    const last = await world.turn(back, 'forward');
    await writeAll(world.urls.target, 6);
    await world.drain(last, 'reverse');
    const { stretches } = await world.archives.summary(world.place);
    const directions = ['forward', 'reverse', 'forward', 'reverse', 'forward', 'reverse'];
    expect(stretches.map(({ direction }) => direction)).toEqual(directions);
    await expectReplayed(world, start);

    // A snapshot from the middle needs no more than what came after it, and what came before can go, the oldest first.
    const base = { source: { atLeast: middle, atMost: middle }, reverse: position ?? null };
    for (const { key } of await world.archives.unneeded(world.place, base)) {
      expect(await world.archives.since(world.place, base)).toMatchObject({ missing: null });
      await world.objects.remove(key);
    }
    expect((await world.archives.summary(world.place)).stretches.length).toBeLessThan(4);
    await world.replay(url, middle);
    expect(await world.contents(server)).toEqual(await world.contents(world.target));
    const early = { source: { atLeast: start, atMost: start }, reverse: null };
    expect((await world.archives.since(world.place, early)).missing).toMatch(/is not in the archive/);
    const other = await world.restored();
    await expect(world.replay(other.url, start)).rejects.toMatchObject({ kind: 'refused' });
    expect(await runSql(other.url, 'SELECT * FROM t')).toEqual([]);
  });

  // S6: what the slot was told of is gone for good, so the archive must have it before.
  test('while it cannot be written the slot keeps everything, the lane waits and says so, and then it goes on', async () => {
    const world = await worldOf();
    const { forward, start } = await following(world);
    world.objects.isBroken = true;
    for (let n = 1; n <= 3; n++) await writeAll(world.urls.source, n);
    await expect.poll(() => forward.texts.join()).toMatch(/cannot be written \(no room\).*its lane waits/);
    const end = await endOf(world);
    // A second is how often the origin is told.
    const { rows } = await world.source.query('SELECT seq FROM switchback.marker');
    const markers = async () => Number((await world.source.query('SELECT seq FROM switchback.marker')).rows[0]?.seq);
    await expect.poll(markers).toBeGreaterThan(Number(rows[0]?.seq) + 2);
    expect(Lsn.reached(end, await world.confirmed('forward'))).toBe(true);
    const signal = new AbortController().signal;
    const head = await world.head(world.source);
    await expect(forward.lane.drainTo(head, { budgetMs: 300, signal })).rejects.toMatchObject({ kind: 'aborted' });
    expect(await endOf(world)).toBe(end);
    // What it has in hand is lost with it, and comes again.
    await forward.stop();
    expect(Lsn.reached(end, await world.confirmed('forward'))).toBe(true);
    world.objects.isBroken = false;
    const again = await world.follow('forward', { kind: 'resume' });
    await world.drain(again, 'forward');
    await expectReplayed(world, start);
    expect(await world.contents(world.source)).toEqual(await world.contents(world.target));

    // An idle lane writes markers and no objects.
    const puts = world.objects.puts.length;
    const seen = await markers();
    await expect.poll(markers).toBeGreaterThan(seen + 2);
    expect(world.objects.puts.length).toBe(puts);
  });

  test('a worker that is killed at any point of storing and applying leaves no hole and nothing twice', async () => {
    const world = await worldOf();
    const { forward, start } = await following(world);
    await forward.stop();
    const program = new URL('../support/archive-program.ts', import.meta.url).pathname;
    const args = [program, world.urls.source, world.urls.target, world.name, world.slot('forward'), world.directory];
    const points = ['archive:store', 'archive:stored', 'apply:commit', 'apply:committed', ''];
    for (const [n, point] of points.entries()) {
      const env = { ...process.env, SWITCHBACK_FAILPOINT: point === '' ? '' : `${point}:kill` };
      const child = spawn(process.execPath, args, { stdio: ['pipe', 'inherit', 'inherit'], env });
      const exited = once(child, 'exit');
      await writeAll(world.urls.source, n);
      if (point === '') {
        await expect.poll(async () => await world.contents(world.target)).toEqual(await world.contents(world.source));
        child.stdin.end();
        expect(await exited).toEqual([0, null]);
      } else {
        expect(await exited).toEqual([null, 'SIGKILL']);
      }
      expect(Lsn.reached(await endOf(world), await world.confirmed('forward'))).toBe(true);
    }
    await expectReplayed(world, start);
  });

  // A value out of line that a move leaves alone comes with no change, and there is no origin to read it from.
  test('onto a state that stands somewhere between two positions everything is applied as often as need be', async () => {
    const world = await worldOf(KEYED);
    const { forward, start } = await following(world);
    await writeKeyed(world.urls.source, 1);
    const first = await world.drain(forward, 'forward');
    await runSql(world.urls.source, 'UPDATE t SET id = id + 500000 WHERE id BETWEEN 100100 AND 100120');
    await runSql(world.urls.source, 'DELETE FROM t WHERE id = 600110; UPDATE t SET id = 700111 WHERE id = 600111');
    const middle = await world.drain(forward, 'forward');
    await writeKeyed(world.urls.source, 2);
    const last = await world.drain(forward, 'forward');
    await writeKeyed(world.urls.source, 3);
    await world.drain(forward, 'forward');
    const stores = { forward: laneStore('all/again', () => 1n), reverse: laneStore('all/reverse', () => 1n) };
    for (const position of [first, middle, last]) {
      const { url, server } = await world.restored();
      await world.replay(url, start, { until: { direction: 'forward', position } });
      await world.replay(url, start, { stores, source: { atLeast: first, atMost: last } });
      expect(await world.contents(server)).toEqual(await world.contents(world.source));
    }
  });

  // A store that tells only bounds may have begun before a cutover and ended after it.
  test('onto a state whose bounds span a switch, nothing from before it goes over what came after', async () => {
    const world = await worldOf(KEYED);
    const { forward, start } = await following(world);
    await runSql(world.urls.source, `INSERT INTO t SELECT i, 'old' FROM generate_series(1, 9) i`);
    const atLeast = await world.drain(forward, 'forward');
    await runSql(world.urls.source, `UPDATE t SET v = 'newer' WHERE id < 5; INSERT INTO t VALUES (10, 'gone later')`);
    const reverse = await world.turn(forward, 'forward');
    await runSql(world.urls.target, `UPDATE t SET v = 'newest' WHERE id < 3; DELETE FROM t WHERE id = 10`);
    await world.drain(reverse, 'reverse');
    const { url, server } = await world.restored();
    await world.replay(url, start);
    // As the copied files have it: the rows, and the progress of the reverse lane only.
    await server.query(`DELETE FROM switchback.progress WHERE lane = 'all/replay'`);
    const atMost = await world.head(world.source);
    const source = { atLeast, atMost };
    expect(await world.replay(url, start, { source })).toMatchObject({ changes: 0 });
    expect(await world.contents(server)).toEqual(await world.contents(world.target));
    const back = await world.turn(reverse, 'reverse');
    await runSql(world.urls.source, `UPDATE t SET v = 'newest of all' WHERE id < 2`);
    await world.drain(back, 'forward');
    expect(await world.replay(url, start, { source })).toMatchObject({ changes: 1, end: { direction: 'forward' } });
    expect(await world.contents(server)).toEqual(await world.contents(world.source));
  });

  test('refuses what a table without a key cannot tell, a lane behind its slot, and a link over what is not there', async () => {
    const world = await worldOf();
    const { forward, start } = await following(world);
    await writeAll(world.urls.source, 1);
    const head = await world.drain(forward, 'forward');
    const { url } = await world.restored();
    const source = { atLeast: start, atMost: head };
    const refused = { kind: 'refused', message: expect.stringMatching(/public\.bare, public\.log, without a key/) };
    await expect(world.replay(url, start, { source })).rejects.toMatchObject(refused);
    await forward.stop();
    const spec = await world.spec('forward');
    const { archive: _, ...bare } = spec;
    const reverse = await world.spec('reverse');
    await world.engine.publish({ ...reverse, guard: async () => undefined });
    await (await world.engine.openLane(reverse, { kind: 'reserve' })).close({ drop: false });
    const position = await world.head(world.target);
    const ended = 'FFFFFF/0' as Position;
    await expect(world.engine.openLane(reverse, { kind: 'from', position, ended })).rejects.toMatchObject({
      kind: 'busy',
    });
    const without = await world.engine.openLane(bare, { kind: 'resume' });
    const stop = new AbortController();
    const observer = { copied: () => undefined, applied: () => undefined, lag: () => undefined };
    const ran = without.follow({ signal: stop.signal, observer });
    await sleep(1);
    await runSql(world.urls.source, 'INSERT INTO log VALUES (1, NULL)');
    await without.drainTo(await world.head(world.source), { budgetMs: 60_000, signal: stop.signal });
    stop.abort();
    await ran;
    await without.close({ drop: false });
    const behind = await world.follow('forward', { kind: 'resume' });
    expect(await behind.ended).toMatchObject({ kind: 'halted', findings: [{ id: 'lane/archive-gap' }] });
  });
});
