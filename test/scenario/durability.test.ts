import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { sleep } from '../../src/platform/clock.ts';
import { makeScenario, obstacle, type Scenario } from '../support/scenario.ts';
import { runSql, useServerPair } from '../support/servers.ts';
import { startWriter } from '../support/writer.ts';

/**
 * Servers that crash, connections that are cut between two commits, and slots that are gone. The servers' own defaults
 * promise nothing: a commit is told of up to ten seconds (three times `wal_writer_delay`) before it is on disk. Ours are.
 */
const servers = useServerPair({ synchronous_commit: 'off', wal_writer_delay: '10s' });

const SCHEMA = 'CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL, note text);';
const ROWS = `INSERT INTO item SELECT i, 0, 'seeded' FROM generate_series(1, 500) i;`;
/** The application's own writes are durable, so that what is missing afterwards is our loss and not its own. */
const writes = (i: number): string =>
  `SET LOCAL synchronous_commit = on; INSERT INTO item VALUES (${1_000 + i}, ${i}, 'written') ON CONFLICT DO NOTHING;
   UPDATE item SET n = n + 1 WHERE id = ${1 + (i % 500)}`;

const open: Scenario[] = [];
afterEach(async () => {
  for (const scenario of open.splice(0)) await scenario.close();
});

const begin = async (name: string): Promise<Scenario> => {
  const scenario = await makeScenario(servers(), { name, schema: SCHEMA, rows: ROWS, more: 'switch: { window: 20s }' });
  open.push(scenario);
  return scenario;
};

describe('a crash of a server', () => {
  it('loses nothing on the target, three times while following', async () => {
    const scenario = await begin('target_crash');
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    const writer = startWriter(scenario.source, writes);
    for (let crash = 0; crash < 3; crash++) {
      await sleep(1_000);
      await servers().target.kill();
      await servers().target.start();
    }
    await writer.stop();
    await scenario.expectEqual();
    expect(obstacle(worker.events)).toBeUndefined();
    expect(writer.acknowledged).toBeGreaterThan(100);
    await worker.stop();
  });

  it('loses nothing on the source, while following and while soaking, and the same worker goes on', async () => {
    const scenario = await begin('source_crash');
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    const before = startWriter(scenario.source, writes);
    await sleep(1_000);
    await servers().source.kill();
    await servers().source.start();
    await sleep(500);
    await before.stop();
    await scenario.expectEqual();

    await scenario.change('cutover', 'all');
    const after = startWriter(scenario.target, writes);
    await sleep(1_000);
    await servers().source.kill();
    await sleep(500);
    await servers().source.start();
    await sleep(500);
    await after.stop();
    await scenario.expectEqual();
    await scenario.change('failback', 'all');
    await scenario.expectEqual();
    // The commands were executed by it: it had not been taken for gone.
    expect(worker.state('all')).toMatch(/following|ready/);
    await worker.stop();
  });
});

const connect = async (url: string): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  return client;
};

/** A transaction that has written already, so that its commit record is all that is left to write. */
const writtenSql = (id: number): string =>
  `BEGIN; SET LOCAL synchronous_commit = on; INSERT INTO item VALUES (${id}, 0, 'pair')`;

const CONFIRMED = 'SELECT active AND confirmed_flush_lsn >= $2 AS yes FROM pg_replication_slots WHERE slot_name = $1';
const CUT_OFF = `SELECT pg_terminate_backend(active_pid), confirmed_flush_lsn = pg_current_wal_insert_lsn() AS touches
                   FROM pg_replication_slots WHERE slot_name = $1 AND active`;

/** Commits one transaction, cuts the reader off once it has confirmed that one, and commits the other one meanwhile. */
const commitPair = async (
  clients: { readonly watch: pg.Client; readonly first: pg.Client; readonly second: pg.Client },
  { slot, id }: { readonly slot: string; readonly id: number },
): Promise<boolean> => {
  const { watch, first, second } = clients;
  // Nothing of our own may come between the two commits: no marker, heartbeat or sample of the lag.
  await watch.query('BEGIN; LOCK TABLE switchback.marker, switchback.lease, switchback.lag IN EXCLUSIVE MODE');
  await first.query(writtenSql(id));
  await second.query(writtenSql(id + 1));
  await first.query('COMMIT');
  const { rows: committed } = await watch.query('SELECT pg_current_wal_insert_lsn() AS lsn');
  const isConfirmed = async () => (await watch.query(CONFIRMED, [slot, committed[0]?.lsn])).rows[0]?.yes;
  await expect.poll(isConfirmed, { timeout: 20_000, interval: 2 }).toBe(true);
  const { rows } = await watch.query(CUT_OFF, [slot]);
  await second.query('COMMIT');
  await watch.query('COMMIT');
  return rows[0]?.touches === true;
};

const PAIRS = 12;

describe('a reader that is cut off', () => {
  it(`between two commits that touch in the log loses neither, ${PAIRS} times`, { timeout: 300_000 }, async () => {
    const scenario = await begin('back_to_back');
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    const slot = (await scenario.phase('all')).lane?.slot ?? '';
    const [watch, first, second] = [
      await connect(scenario.source),
      await connect(scenario.source),
      await connect(scenario.source),
    ];
    let touching = 0;
    try {
      for (let pair = 0; pair < PAIRS; pair++) {
        // Time for the reader to come back and for a marker to travel, which ends the lane's growing pauses.
        await sleep(1_500);
        if (await commitPair({ watch, first, second }, { slot, id: 10_000 + pair * 2 })) touching += 1;
      }
    } finally {
      await Promise.all([watch.end(), first.end(), second.end()]);
    }
    await scenario.expectEqual();
    console.log(`${touching} of ${PAIRS} pairs touched in the log`);
    // The server writes now and then as well; a run in which every pair was parted would show nothing.
    expect(touching).toBeGreaterThanOrEqual(PAIRS / 4);
  });
});

/** The lane says what is wrong, nothing is made anew, and no switch is possible. */
const expectLost = async (scenario: Scenario, slot: string, slots: number): Promise<void> => {
  const { run } = scenario;
  const worker = scenario.worker();
  await worker.until(({ events }) => obstacle(events) !== undefined);
  const told = worker.events.find((event) => event.type === 'halted');
  expect(told).toMatchObject({ finding: { id: 'lane/slot-lost', subject: `slot ${slot}` } });
  expect((await scenario.phase('all')).lane?.halt?.finding.id).toBe('lane/slot-lost');
  const cutover = await run.command('cutover', run.plan, 'all', '--confirm', 'all');
  expect([3, 4]).toContain(cutover.exitCode);
  const resume = await run.command('resume', run.plan);
  expect([3, 4]).toContain(resume.exitCode);
  const state = `SELECT count(*)::int AS n FROM pg_replication_slots WHERE database = current_database()
                    AND slot_name = '${slot}' AND restart_lsn IS NOT NULL`;
  expect(await runSql(scenario.source, state)).toEqual([{ n: slots }]);
  await worker.stop();
};

describe('a slot that is lost while no worker runs', () => {
  it('is reported when it was dropped, and not made again', async () => {
    const scenario = await begin('slot_dropped');
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    const slot = (await scenario.phase('all')).lane?.slot ?? '';
    await worker.stop();
    await scenario.onSource(`SELECT pg_drop_replication_slot('${slot}')`);
    await scenario.onSource(writes(1));
    await expectLost(scenario, slot, 0);
  });

  it('is reported when the server has invalidated it', async () => {
    const scenario = await begin('slot_invalidated');
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    const slot = (await scenario.phase('all')).lane?.slot ?? '';
    await worker.stop();
    await scenario.onSource(`ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`);
    await scenario.onSource('SELECT pg_reload_conf()');
    try {
      for (let i = 0; i < 4; i++)
        await scenario.onSource(`SELECT pg_switch_wal(); UPDATE item SET n = n + 1; CHECKPOINT`);
      const [row] = await scenario.onSource(`SELECT wal_status FROM pg_replication_slots WHERE slot_name = '${slot}'`);
      expect(row).toEqual({ wal_status: 'lost' });
      await expectLost(scenario, slot, 0);
    } finally {
      await scenario.onSource('ALTER SYSTEM RESET max_slot_wal_keep_size');
      await scenario.onSource('SELECT pg_reload_conf()');
    }
  });
});
