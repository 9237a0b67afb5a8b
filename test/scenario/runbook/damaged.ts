import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { FENCE_FUNCTION_SQL, FENCE_TRIGGER } from '../../../src/databases/postgres/fence.ts';
import { writableSides } from '../../support/crash-points.ts';
import { endOf, say } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
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

const DROP = 'DROP SCHEMA switchback CASCADE';
const FENCE = `CREATE TRIGGER ${FENCE_TRIGGER} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON item
  FOR EACH STATEMENT EXECUTE FUNCTION switchback.refuse_write()`;

/** Sidecars that somebody dropped; test/scenario/rebuild.test.ts goes through every kind of damage in every state. */
export const damaged = (servers: Servers, entry: EntryTest): void => {
  describe('a damaged sidecar', () => {
    let scene: Scene;
    const status = async () => await say(scene.run, 'status', scene.run.plan);
    const rebuild = () => ['resume', scene.run.plan, '--rebuild', '--confirm', 'test'];
    const expectSoaking = async () => {
      expect(await writableSides(scene, 'item')).toEqual(['target']);
      expect(await stateOf(scene, 'all')).toBe('soaking');
    };

    beforeAll(async () => {
      scene = await makeScene(servers(), { ...ITEM, more: WIDE });
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    entry('records-damaged', async (play) => {
      expect(await confirmed(scene, 'cutover')).toMatchObject({ exitCode: 0 });
      await runSql(scene.source, DROP);
      const told = await status();
      expect(told.exitCode).toBe(6);
      play.sees(told.text);
      expect(await play.does(scene)).toContain('the target is the primary');
      expect((await status()).exitCode).toBe(6);
      await doomed(scene, rebuild(), 'acted rebuild/records:kill').ended;
      const half = await status();
      expect(half.exitCode).toBe(6);
      play.sees(half.text);
      await play.does(scene, { at: 1 });
      await expectSoaking();
    });

    entry('damaged-under-a-worker', async (play) => {
      const worker = scene.terminal('run', scene.run.plan);
      await worker.says(/verified 1 tables|lag/);
      await runSql(scene.target, 'DROP TABLE switchback.mirror');
      const early = await say(scene.run, ...rebuild());
      expect(early, early.text).toMatchObject({ exitCode: 4 });
      play.sees(early.text);
      await runSql(scene.source, DROP);
      await worker.says(/the sidecar is damaged/);
      worker.process.kill('SIGKILL');
      await worker.ended;
      play.sees(worker.text());
      await play.does(scene);
      await play.does(scene, { at: 1 });
      await expectSoaking();
    });

    entry('nothing-damaged', async (play) => {
      const answer = await say(scene.run, ...rebuild());
      expect(answer, answer.text).toMatchObject({ exitCode: 4 });
      play.sees(answer.text);
      await play.does(scene);
    });

    entry('rebuild-other-plan', async (play) => {
      await runSql(scene.source, DROP);
      const text = readFileSync(scene.run.plan, 'utf8');
      writeFileSync(scene.run.plan, text.replace('window: 60s', 'window: 50s'));
      const answer = await say(scene.run, ...rebuild());
      writeFileSync(scene.run.plan, text);
      expect(answer, answer.text).toMatchObject({ exitCode: 4 });
      play.sees(answer.text);
      await play.does(scene);
      await play.does(scene, { at: 1 });
      await expectSoaking();
    });

    entry('rebuild-changed', async (play) => {
      await runSql(scene.source, DROP);
      const rebuilding = doomed(scene, rebuild(), 'acted rebuild/begin:stop');
      await expect.poll(() => isStopped(rebuilding), { timeout: 60_000 }).toBe(true);
      // A fence that was not there when it was looked for.
      await runSql(scene.source, `${FENCE_FUNCTION_SQL} ${FENCE}`);
      rebuilding.process.kill('SIGCONT');
      const end = await endOf(rebuilding);
      expect(end, end.text).toMatchObject({ exitCode: 4 });
      play.sees(end.text);
      await play.does(scene);
      await play.does(scene, { at: 1 });
      await expectSoaking();
    });

    entry('stood-open', async (play) => {
      await runSql(scene.source, DROP);
      await runSql(scene.source, `UPDATE item SET name = 'stray' WHERE id = 9`);
      const rebuilt = await say(scene.run, ...rebuild());
      expect(rebuilt).toMatchObject({ exitCode: 0 });
      play.sees(rebuilt.text);
      await play.does(scene);
      expect(await runSql(scene.source, 'SELECT name FROM item WHERE id = 9')).toEqual([{ name: 'item 9' }]);
      await expectSoaking();
    });

    entry('primary-unknown', async (play) => {
      await runSql(scene.source, DROP);
      await runSql(scene.target, DROP);
      const parked = await say(scene.run, ...rebuild());
      expect(parked.exitCode).toBe(6);
      play.sees(parked.text);
      expect(await writableSides(scene, 'item')).toEqual(['target']);
      await play.does(scene);
      await expectSoaking();
    });
  });
};
