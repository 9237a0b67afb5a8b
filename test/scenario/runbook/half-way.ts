import { readFileSync, writeFileSync } from 'node:fs';
import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { takeLease } from '../../../src/sidecar/lease.ts';
import { closeOrphanedRequests } from '../../../src/sidecar/requests.ts';
import { writableSides } from '../../support/crash-points.ts';
import { endOf, say, startHere } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import type { Terminal } from '../../support/terminal.ts';
import {
  confirmed,
  doomed,
  type EntryTest,
  ITEM,
  isStopped,
  type Servers,
  stateOf,
  untilReady,
  WIDE,
} from './begin.ts';

const CUT_AT_COMMIT = `
  CREATE FUNCTION cut_at_commit() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
  CREATE CONSTRAINT TRIGGER cut AFTER UPDATE ON switchback.lease DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.holder = OLD.holder AND NEW.epoch > OLD.epoch) EXECUTE FUNCTION cut_at_commit();`;

/** A switch that its process has left, in every way that shows differently. */
export const halfWay = (servers: Servers, entry: EntryTest): void => {
  describe('a switch stands half-way', () => {
    let scene: Scene;
    let route = '';
    const writable = () => writableSides(scene, 'item');
    const breakRoute = () => {
      route = readFileSync(scene.run.routeFile, 'utf8');
      writeFileSync(scene.run.routeFile, '{ half a file');
    };
    const mendRoute = () => writeFileSync(scene.run.routeFile, route);

    /** A switch whose process stands still right after the commit record, while somebody does something to the router. */
    const meanwhile = async (command: 'cutover' | 'failback', work: () => unknown) => {
      const switching = doomed(
        scene,
        [command, scene.run.plan, 'all', '--confirm', 'all'],
        `acted ${command}/commit:stop`,
      );
      await expect.poll(() => isStopped(switching), { timeout: 60_000 }).toBe(true);
      await work();
      switching.process.kill('SIGCONT');
      return await endOf(switching);
    };

    beforeAll(async () => {
      scene = await makeScene(servers(), { ...ITEM, more: WIDE });
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    entry('died-half-way', async (play) => {
      const cutover = ['cutover', scene.run.plan, 'all', '--confirm', 'all'];
      await doomed(scene, cutover, 'acted cutover/fence:kill').ended;
      expect(await writable()).toEqual([]);
      play.sees((await say(scene.run, 'status', scene.run.plan)).text);
      expect(await play.does(scene)).toContain('was undone');
      expect(await writable()).toEqual(['source']);

      await doomed(scene, cutover, 'acted cutover/commit:kill').ended;
      const { text } = await say(scene.run, 'status', scene.run.plan);
      play.sees(text);
      expect(text).toContain(`next:\n  switchback resume ${scene.run.plan}\n`);
      expect(await play.does(scene)).toContain('was completed');
      expect(await writable()).toEqual(['target']);
      expect(scene.run.route('all')).toMatchObject({ primary: 'target', held: false });
    });

    entry('parked', async (play) => {
      const failback = await meanwhile('failback', breakRoute);
      expect(failback.exitCode).toBe(6);
      play.sees(failback.text);
      const early = await say(scene.run, 'resume', scene.run.plan);
      expect(early.exitCode).toBe(6);
      play.sees(early.text);
      // The winner is lifted before the routers lead to it.
      expect(await writable()).toEqual(['source']);
      mendRoute();
      await play.does(scene);
      expect(await writable()).toEqual(['source']);
    });

    entry('in-the-middle', async (play) => {
      expect((await meanwhile('cutover', breakRoute)).exitCode).toBe(6);
      const abort = await confirmed(scene, 'abort');
      expect(abort.exitCode).toBe(4);
      play.sees(abort.text);
      mendRoute();
      await play.does(scene);
      expect(await writable()).toEqual(['target']);
    });

    entry('route-changed', async (play) => {
      const edited = { primary: 'target', held: true, epoch: '0' };
      const failback = await meanwhile('failback', () =>
        writeFileSync(scene.run.routeFile, JSON.stringify({ all: edited })),
      );
      expect(failback.exitCode).toBe(6);
      play.sees(failback.text);
      writeFileSync(scene.run.routeFile, JSON.stringify({ all: { ...edited, primary: 'source' } }));
      await play.does(scene);
      expect(await writable()).toEqual(['source']);
      expect(scene.run.route('all')).toMatchObject({ primary: 'source', held: false });

      const newer = { primary: 'source', held: true, epoch: '1000000' };
      const cutover = await meanwhile('cutover', () =>
        writeFileSync(scene.run.routeFile, JSON.stringify({ all: newer })),
      );
      expect(cutover.exitCode).toBe(6);
      play.sees(cutover.text);
      writeFileSync(scene.run.routeFile, JSON.stringify({ all: { ...newer, primary: 'target' } }));
      await play.does(scene);
      expect(await writable()).toEqual(['target']);
      expect(scene.run.route('all')).toMatchObject({ primary: 'target', held: false });
    });

    entry('table-gone', async (play) => {
      const failback = await meanwhile('failback', () => runSql(scene.source, 'ALTER TABLE item RENAME TO item_away'));
      expect(failback.exitCode).toBe(6);
      play.sees(failback.text);
      await runSql(scene.source, 'ALTER TABLE item_away RENAME TO item');
      await play.does(scene);
      expect(await writable()).toEqual(['source']);
    });

    entry('lost-answer', async (play) => {
      await runSql(scene.source, CUT_AT_COMMIT);
      const cutover = await confirmed(scene, 'cutover');
      await runSql(scene.source, 'DROP FUNCTION cut_at_commit CASCADE');
      expect(cutover.exitCode).toBe(6);
      play.sees(cutover.text);
      await play.does(scene);
      expect(await writable()).toEqual(['source']);
    });

    entry('worker-gone', async (play) => {
      const worker = scene.worker(undefined, { SWITCHBACK_FAILPOINT: 'acted cutover/fence:kill' });
      await worker.until(({ events }) => events.some((event) => event.type === 'verified'));
      const cutover = await confirmed(scene, 'cutover');
      expect(cutover.exitCode).toBe(6);
      play.sees(cutover.text);
      expect(await writable()).toEqual([]);
      expect(await play.does(scene)).toContain('was undone');
      expect(await writable()).toEqual(['source']);
    });

    describe('with workers that come and go', () => {
      let other: Client;
      const session = async () =>
        String(
          (
            await other.query(
              `SELECT pid || '@' || backend_start AS token FROM pg_stat_activity WHERE pid = pg_backend_pid()`,
            )
          ).rows[0]?.token,
        );
      /** What a take-over commits in one transaction, by a worker that does nothing else. */
      const takeOver = async (): Promise<void> => {
        const { context, close } = await scene.run.compose();
        const [lease] = await runSql(scene.source, 'SELECT run, epoch FROM switchback.lease');
        const claim = {
          run: String(lease?.run),
          holder: `fake-${lease?.epoch}`,
          host: 'elsewhere',
          session: await session(),
        };
        await context.source.sql.transaction(async (sql) => {
          await takeLease(sql, { ...claim, over: BigInt(String(lease?.epoch)) });
          await closeOrphanedRequests(sql);
        });
        await close();
      };
      const waiting = async () =>
        (await runSql(scene.source, `SELECT FROM switchback.request WHERE state = 'waiting'`)).length > 0;
      const untilWaiting = async () => await expect.poll(waiting, { timeout: 30_000, interval: 20 }).toBe(true);
      const take = async () =>
        await runSql(scene.source, `UPDATE switchback.request SET state = 'taken' WHERE state = 'waiting'`);

      beforeAll(async () => {
        other = await scene.session(scene.source);
        await other.query(`SET TimeZone = 'UTC'; SET DateStyle = 'ISO'`);
        await takeOver();
      });
      afterAll(async () => await other?.end());

      entry('orphaned', async (play) => {
        const cutover = startHere(scene.run, ['cutover', scene.run.plan, 'all', '--confirm', 'all']);
        await untilWaiting();
        await take();
        await takeOver();
        expect(await cutover.ended).toBe(6);
        play.sees(cutover.text());
        expect(await play.does(scene)).toContain('elsewhere');
      });

      entry('unbegun', async (play) => {
        let over = false;
        const cutover = startHere(scene.run, ['cutover', scene.run.plan, 'all', '--confirm', 'all']);
        const ended = cutover.ended.finally(() => {
          over = true;
        });
        while (!over) {
          if (await waiting()) await takeOver();
        }
        expect(await ended).toBe(4);
        play.sees(cutover.text());
        expect(await play.does(scene)).toContain('elsewhere');
        expect(await stateOf(scene, 'all')).toMatch(/ready|following/);
      });

      entry('left-to-worker', async (play) => {
        for (const isTaken of [true, false]) {
          await runSql(scene.source, `UPDATE switchback.lease SET heartbeat_at = now()`);
          const cutover = scene.terminal('cutover', scene.run.plan, 'all', '--confirm', 'all');
          await untilWaiting();
          if (isTaken) await take();
          cutover.process.kill('SIGINT');
          const end = await endOf(cutover);
          expect(end.exitCode).toBe(4);
          play.sees(end.text);
        }
        expect(await play.does(scene)).toContain('elsewhere');
      });

      // The last of this scene: afterwards there is no run any more.
      entry('request-lost', async (play) => {
        const asked = async () => {
          await runSql(
            scene.source,
            `DELETE FROM switchback.request; UPDATE switchback.lease SET heartbeat_at = now()`,
          );
          const cutover = scene.terminal('cutover', scene.run.plan, 'all', '--confirm', 'all');
          await untilWaiting();
          return cutover;
        };
        const expectUnknown = async (cutover: Terminal) => {
          const end = await endOf(cutover);
          expect(end, end.text).toMatchObject({ exitCode: 6 });
          play.sees(end.text);
        };
        const forgotten = await asked();
        await runSql(scene.source, `DELETE FROM switchback.request`);
        await expectUnknown(forgotten);

        // Looking is let through, taking the request back is not.
        const stopped = await asked();
        const locker = await scene.session(scene.source);
        await locker.query('BEGIN; LOCK TABLE switchback.request IN EXCLUSIVE MODE');
        stopped.process.kill('SIGINT');
        await expectUnknown(stopped);
        await locker.query('ROLLBACK');

        const outlived = await asked();
        for (const url of [scene.target, scene.source]) await runSql(url, 'DROP SCHEMA switchback CASCADE');
        await expectUnknown(outlived);
        expect(await play.does(scene)).toContain('no run on these databases');
      });
    });
  });
};
