import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { sleep } from '../../src/platform/clock.ts';
import { makeScene, outcomeOf, type Scene, saidBy, stepSeen } from '../support/scene.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * What is under way when the fence is set must not fall between the sides: it is on the target afterwards, or its client
 * was told that it failed. And a switch that cannot be done within its window leaves no trace.
 */
const servers = useServerPair();
const SCHEMA = 'CREATE TABLE item (id bigint PRIMARY KEY, name text); CREATE TABLE other (id bigint PRIMARY KEY)';
const ROWS = `INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 200) n`;

let scene: Scene;
afterEach(async () => await scene?.close());

const begin = async (more: string, options: { readonly router?: string } = {}) => {
  scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS, more, ...options });
  const worker = scene.worker();
  await worker.untilState('ready', 'all');
  return worker;
};

const cutover = () => scene.run.command('cutover', scene.run.plan, 'all', '--confirm', 'all');

/** A router whose hold takes longer than any window of these tests; the file tells what its programs have done, in order. */
const SLOW_HOLD = JSON.stringify({
  kind: 'command',
  hold: ['sh', '-c', 'echo begun >>told; sleep 2; echo held >>told'],
  release: ['sh', '-c', 'echo released >>told'],
  repoint: ['sh', '-c', 'echo {side} >>told'],
});

/** The application can write on the source, the target refuses, and nothing is held. */
const expectUntouched = async (): Promise<void> => {
  expect(await outcomeOf(await scene.session(scene.source), `INSERT INTO item VALUES (9000, 'goes on')`)).toBe('done');
  expect(await outcomeOf(await scene.session(scene.target), `INSERT INTO item VALUES (9001, 'stray')`)).toBe('25006');
  expect(scene.run.route('all')).toMatchObject({ primary: 'source', held: false });
  await runSql(scene.source, 'DELETE FROM item WHERE id = 9000');
  const slots = await runSql(
    scene.target,
    'SELECT slot_name FROM pg_replication_slots WHERE database = current_database()',
  );
  expect(slots).toEqual([]);
};

const itemsOnTarget = (id: number) => runSql(scene.target, `SELECT name FROM item WHERE id = ${id}`);

describe('a transaction in flight', () => {
  it('is on the target when it commits within the time that is waited', async () => {
    const worker = await begin('switch: { window: 60s, max_lag: 20s, blockers: { wait: 30s, then: terminate } }');
    const client = await scene.session(scene.source);
    await client.query(`BEGIN; INSERT INTO item VALUES (1001, 'in flight')`);
    const answer = cutover();
    await worker.until(stepSeen('fence', 'begun'));
    await worker.until(({ events }) => events.some((event) => event.type === 'blocked'));
    // It writes more while the fence waits for it, and all of it belongs to what was in flight.
    await client.query(`UPDATE item SET name = 'changed in flight' WHERE id = 1; COMMIT`);
    expect(await answer).toMatchObject({ exitCode: 0 });
    expect(await itemsOnTarget(1001)).toEqual([{ name: 'in flight' }]);
    expect(await itemsOnTarget(1)).toEqual([{ name: 'changed in flight' }]);
  });

  it('is ended when it outlasts the time that is waited, its client is told, and none of it is anywhere', async () => {
    await begin('switch: { window: 60s, max_lag: 20s, blockers: { wait: 300ms, then: terminate } }');
    const client = await scene.session(scene.source);
    await client.query(`BEGIN; INSERT INTO item VALUES (1001, 'in flight')`);
    expect(await cutover()).toMatchObject({ exitCode: 0 });
    expect(await outcomeOf(client, 'COMMIT')).not.toBe('done');
    for (const url of [scene.source, scene.target]) {
      expect(await runSql(url, 'SELECT FROM item WHERE id = 1001')).toEqual([]);
    }
  });

  it('that outlasts the window undoes the cutover, which names it, and a second one works', async () => {
    await begin('switch: { window: 3s, max_lag: 20s, blockers: { wait: 200ms, then: abort } }');
    const client = await scene.session(scene.source);
    await client.query(`BEGIN; INSERT INTO item VALUES (1001, 'in flight') /* the slow one */`);
    const [{ pid }] = (await client.query('SELECT pg_backend_pid() AS pid, 1 /* the last one */')).rows;
    const answer = await cutover();
    expect(answer.exitCode).toBe(5);
    const { message, remedy } = saidBy(answer);
    expect(message).toContain(`pid ${pid} of "postgres" (scene)`);
    expect(message).toContain('/* the last one */');
    expect(remedy).toContain(`pg_terminate_backend(${pid})`);
    await expectUntouched();
    expect(await outcomeOf(client, 'COMMIT')).toBe('done');
    expect(await cutover()).toMatchObject({ exitCode: 0 });
    expect(await itemsOnTarget(1001)).toEqual([{ name: 'in flight' }]);
  });
});

describe('the proof', () => {
  it('is about few keys within the window, however many have changed since the certificate', async () => {
    const worker = await begin('switch: { window: 60s, max_lag: 20s }');
    await runSql(scene.source, 'INSERT INTO other SELECT generate_series(1, 3000)');
    expect(await cutover()).toMatchObject({ exitCode: 0 });
    const said = worker.events.flatMap((event) =>
      event.type === 'step' && event.step === 'prove' && event.status === 'done' ? [event.detail] : [],
    );
    expect(said).toEqual([expect.stringMatching(/^\d{1,2} changed keys equal on both sides$/)]);
    expect(await runSql(scene.target, 'SELECT FROM other')).toHaveLength(3_000);
  });
});

describe('a drain', () => {
  it('waits for all that was committed before the fence, however late the target takes it', async () => {
    const worker = await begin('switch: { window: 60s, max_lag: 20s, blockers: { wait: 30s, then: abort } }');
    const writer = await scene.session(scene.source);
    const other = await scene.session(scene.source);
    const locker = await scene.session(scene.target);
    await writer.query(`BEGIN; INSERT INTO item VALUES (1001, 'in flight')`);
    const answer = cutover();
    await worker.until(stepSeen('fence', 'begun'));
    await locker.query('BEGIN; LOCK TABLE item IN EXCLUSIVE MODE');
    // Several batches: the lane hangs in the first of them.
    for (let id = 2000; id < 2010; id++) {
      await other.query(`INSERT INTO item VALUES (${id}, 'before the fence')`);
      await sleep(50);
    }
    await writer.query('COMMIT');
    await worker.until(stepSeen('fence', 'done'));
    await sleep(500);
    await locker.query('ROLLBACK');
    expect(await answer).toMatchObject({ exitCode: 0 });
    expect(await runSql(scene.target, 'SELECT FROM item WHERE id > 1000')).toHaveLength(11);
  });
});

describe('a drain that cannot finish', () => {
  it('within the window undoes the cutover, and a second one works', async () => {
    const worker = await begin('switch: { window: 10s, max_lag: 20s, blockers: { wait: 9s, then: abort } }');
    const writer = await scene.session(scene.source);
    await writer.query(`BEGIN; INSERT INTO item VALUES (1001, 'in flight')`);
    const answer = cutover();
    await worker.until(stepSeen('fence', 'begun'));
    const locker = await scene.session(scene.target);
    await locker.query('BEGIN; LOCK TABLE item IN EXCLUSIVE MODE');
    await writer.query('COMMIT');
    const undone = await answer;
    expect(undone.exitCode).toBe(5);
    expect(saidBy(undone).message).toMatch(/all\/forward did not reach/);
    expect(stepSeen('fence', 'done')(worker)).toBe(true);
    await locker.query('ROLLBACK');
    await expectUntouched();
    await expect.poll(() => itemsOnTarget(1001), { timeout: 20_000 }).toHaveLength(1);
    expect(await cutover()).toMatchObject({ exitCode: 0 });
  });
});

describe('a hold that takes longer than the window', () => {
  it('is ended before the undo releases, so that nobody is held afterwards', async () => {
    await begin('switch: { window: 1s, max_lag: 20s }', { router: SLOW_HOLD });
    const undone = await cutover();
    expect(undone.exitCode).toBe(5);
    // Longer than the program would still have slept.
    await sleep(3_000);
    expect(readFileSync(join(scene.run.directory, 'told'), 'utf8').split('\n')).toEqual(['begun', 'released', '']);
  });
});
