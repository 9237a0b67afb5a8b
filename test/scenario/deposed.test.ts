import { readFileSync } from 'node:fs';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askHere, writableSides } from '../support/crash-points.ts';
import { expectExit, makeScenario, type Scenario } from '../support/scenario.ts';
import { useServerPair } from '../support/servers.ts';
import { type RunningWriter, startWriter } from '../support/writer.ts';

/**
 * A worker that follows sleeps until another process has taken over and moved the writes. When it wakes, its lane still has
 * a batch in hand and its sessions may still stand: the databases refuse it, and it ends by itself and says why (S7).
 */
const servers = useServerPair();
const isStopped = (pid: number): boolean => / T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

describe('a worker that slept', () => {
  let scenario: Scenario;
  let writer: RunningWriter;
  beforeAll(async () => {
    scenario = await makeScenario(servers(), {
      name: 'deposed',
      schema: 'CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL);',
      rows: 'INSERT INTO item SELECT i, i FROM generate_series(1, 1000) i',
      more: 'switch: { max_lag: 20s, window: 30s }',
    });
  });
  afterAll(async () => {
    await writer?.stop();
    await scenario?.close();
  });

  it('keeps nobody waiting with a batch that it has open on the target', { timeout: 240_000 }, async () => {
    const asleep = scenario.worker(undefined, { SWITCHBACK_FAILPOINT: 'apply:commit:stop' });
    await asleep.until(({ events }) => events.length > 0);
    await expect.poll(() => isStopped(asleep.process.pid ?? 0), { timeout: 60_000 }).toBe(true);
    // Its transaction is open and the lease its own; the session is ended by whoever takes that.
    expect(await askHere(scenario.run, 'resume')).toMatchObject({ exitCode: 0 });
    await asleep.process.kill();
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    // One that woke for a moment after that has opened another session, and sleeps again in the middle of a batch.
    const stranger = new pg.Client({
      connectionString: scenario.target,
      application_name: 'switchback/0badc0de:apply',
    });
    stranger.on('error', () => undefined);
    await stranger.connect();
    await stranger.query('SET session_replication_role = replica; BEGIN; UPDATE item SET n = n WHERE id = 1');
    expect(await askHere(scenario.run, 'cutover')).toMatchObject({ exitCode: 0 });
    await expect(stranger.query('COMMIT')).rejects.toThrow();
    await stranger.end().catch(() => undefined);
    expect(await askHere(scenario.run, 'failback')).toMatchObject({ exitCode: 0 });
    await worker.stop();
  });

  it('is refused by both databases after a take-over, and nothing is lost', { timeout: 240_000 }, async () => {
    const sleeper = scenario.worker();
    await scenario.untilState(sleeper, 'ready', 'all');
    writer = startWriter(scenario.source, (i) => `UPDATE item SET n = n + 1 WHERE id = ${1 + (i % 1000)}`, {
      everyMs: 5,
    });
    await expect.poll(() => writer.acknowledged, { timeout: 30_000 }).toBeGreaterThan(50);
    const pid = sleeper.process.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    await expect.poll(() => isStopped(pid), { timeout: 30_000 }).toBe(true);
    const seen = writer.acknowledged;
    await expect.poll(() => writer.acknowledged, { timeout: 30_000 }).toBeGreaterThan(seen + 50);
    await writer.stop();
    // Whoever comes waits until the heartbeat is too old, then takes over by itself.
    expect(await askHere(scenario.run, 'cutover')).toMatchObject({ exitCode: 0 });
    const heir = scenario.worker();
    await heir.until(({ events }) => events.some((event) => event.type === 'lag'));
    const ended = sleeper.process.ended();
    ended.catch(() => undefined);
    process.kill(pid, 'SIGCONT');
    await expect(ended).rejects.toThrow(/ended with 4: .*another worker has taken over/s);
    expect(await writableSides(scenario, 'item')).toEqual(['target']);
    await scenario.onTarget('UPDATE item SET n = n + 1 WHERE id <= 10');
    await scenario.expectEqual();
    expectExit(await scenario.run.command('failback', scenario.run.plan, 'all', '--confirm', 'all'));
    await scenario.expectEqual();
  });
});
