import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { writableSides } from '../../support/crash-points.ts';
import { endOf, type HereCommand, startHere } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import { confirmed, type EntryTest, ITEM, type Servers, untilReady } from './begin.ts';

/** A lag and a window that are reached in a test's time; the lag is the longer one, so that a drain can be between them. */
const NARROW = 'switch: { window: 6s, max_lag: 12s, blockers: { wait: 1s, then: abort } }';
const BETWEEN_MS = 8_000;

/** Switches that are undone in their window, or refused because a drain would take too long. */
export const undone = (servers: Servers, entry: EntryTest): void => {
  describe('a switch that was undone', () => {
    let scene: Scene;
    let writer: Client;
    let locker: Client;

    /** A cutover that waits at the fence for a transaction of the application's. */
    const waitingCutover = async (): Promise<HereCommand> => {
      await writer.query(`BEGIN; UPDATE item SET name = name || '!' WHERE id = 1`);
      const cutover = startHere(scene.run, ['cutover', scene.run.plan, 'all', '--confirm', 'all']);
      await cutover.says(/waiting for pid/);
      return cutover;
    };
    const endUndone = async (cutover: HereCommand): Promise<string> => {
      expect(await cutover.ended, cutover.text()).toBe(5);
      await writer.query('ROLLBACK');
      await locker.query('ROLLBACK');
      expect(await writableSides(scene, 'item')).toEqual(['source']);
      expect(scene.run.route('all')).toMatchObject({ primary: 'source', held: false });
      return cutover.text();
    };
    const back = async () => {
      expect(await writableSides(scene, 'item')).toEqual(['target']);
      expect(await confirmed(scene, 'failback')).toMatchObject({ exitCode: 0 });
    };

    beforeAll(async () => {
      scene = await makeScene(servers(), { ...ITEM, more: NARROW });
      await untilReady(scene);
      writer = await scene.session(scene.source);
      locker = await scene.session(scene.target);
    });
    afterAll(async () => await scene?.close());

    entry('fence-blocked', async (play) => {
      play.sees(await endUndone(await waitingCutover()));
      await play.does(scene);
      await back();
    });

    entry('drain-late', async (play) => {
      const cutover = await waitingCutover();
      await locker.query('BEGIN; LOCK TABLE item IN EXCLUSIVE MODE');
      await writer.query('COMMIT');
      await cutover.says(/undo fence/);
      await locker.query('ROLLBACK');
      play.sees(await endUndone(cutover));
      await play.does(scene);
      await back();
    });

    entry('window-out', async (play) => {
      const cutover = await waitingCutover();
      const sidecar = await scene.session(scene.source);
      await sidecar.query('BEGIN; LOCK TABLE switchback.switch IN EXCLUSIVE MODE');
      await writer.query('COMMIT');
      await cutover.says(/undo fence/);
      await sidecar.query('ROLLBACK');
      play.sees(await endUndone(cutover));
      expect(await play.does(scene)).toContain('"step":"position"');
      await play.does(scene, { at: 1 });
      await back();
    });

    entry('proof-differs', async (play) => {
      const cutover = await waitingCutover();
      await runSql(scene.source, `UPDATE item SET name = 'changed' WHERE id = 2`);
      const arrived = async () => await runSql(scene.target, `SELECT FROM item WHERE name = 'changed'`);
      await expect.poll(arrived, { interval: 20 }).toHaveLength(1);
      await runSql(scene.target, `SET session_replication_role = replica; UPDATE item SET name = 'stray' WHERE id = 2`);
      await writer.query('COMMIT');
      play.sees(await endUndone(cutover));
      expect(await play.does(scene)).toContain('1 rows copied again');
      expect(await confirmed(scene, 'cutover')).toMatchObject({ exitCode: 0 });
      await back();
    });

    entry('interrupted', async (play) => {
      await writer.query(`BEGIN; UPDATE item SET name = name || '!' WHERE id = 1`);
      const cutover = scene.terminal('cutover', scene.run.plan, 'all', '--confirm', 'all');
      await cutover.says(/waiting for pid/);
      cutover.process.kill('SIGINT');
      const end = await endOf(cutover);
      expect(end.exitCode).toBe(5);
      play.sees(end.text);
      await writer.query('ROLLBACK');
      expect(await play.does(scene)).toMatch(/replica, fenced/);
      expect(await writableSides(scene, 'item')).toEqual(['source']);
      await locker.query('BEGIN; LOCK TABLE item IN EXCLUSIVE MODE');
      await runSql(scene.source, `UPDATE item SET name = 'late' WHERE id = 4`);
      const early = scene.terminal('cutover', scene.run.plan, 'all', '--confirm', 'all');
      await early.says(/verifying before the switch/);
      early.process.kill('SIGINT');
      await early.says(/stopping|interrupted/);
      await locker.query('ROLLBACK');
      const before = await endOf(early);
      expect(before, before.text).toMatchObject({ exitCode: 5 });
      play.sees(before.text);
      await play.does(scene, { at: 1 });
      await back();
    });

    entry('behind', async (play) => {
      const worker = scene.worker();
      await worker.until(({ events }) => events.some((event) => event.type === 'verified'));
      await locker.query('BEGIN; LOCK TABLE item IN EXCLUSIVE MODE');
      await runSql(scene.source, `UPDATE item SET name = 'late' WHERE id = 3`);
      const refused = await confirmed(scene, 'cutover');
      expect(refused).toMatchObject({ exitCode: 4 });
      play.sees(refused.text);

      const cutover = startHere(scene.run, ['cutover', scene.run.plan, 'all', '--confirm', 'all']);
      const release = setTimeout(() => void locker.query('ROLLBACK'), BETWEEN_MS);
      expect(await cutover.ended).toBe(4);
      clearTimeout(release);
      play.sees(cutover.text());
      expect(await play.does(scene, { until: /all .*clean/ })).toContain('lag');
      await play.does(scene, { at: 1 });
      await back();
      await worker.stop();
    });
  });
};
