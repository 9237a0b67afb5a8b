import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { messageOf } from '../../../src/domain/errors.ts';
import { writableSides } from '../../support/crash-points.ts';
import { say } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import { confirmed, type EntryTest, ITEM, type Servers, untilReady, WIDE } from './begin.ts';

/** Where clients are led is in a file. It does not answer while one is there that is called `broken`, nor hold while `unwilling`. */
const ROUTER = `{ kind: command,
    observe: [sh, -c, "! test -e broken && cat led || exit 3"],
    hold: [sh, -c, "! test -e unwilling || exit 3"],
    release: [sh, -c, "true"],
    repoint: [sh, -c, "! test -e broken && echo $SWITCHBACK_SIDE > led || exit 3"] }`;

const refusalOf = async (url: string): Promise<string> => {
  try {
    await runSql(url, 'DELETE FROM item WHERE id = 1');
    return 'it was not refused';
  } catch (error) {
    return messageOf(error);
  }
};

/** What clients and whoever looks after the router see. */
export const routers = (servers: Servers, entry: EntryTest): void => {
  describe('clients and routers', () => {
    let scene: Scene;
    const status = async () => (await say(scene.run, 'status', scene.run.plan)).text;
    const setRoute = (route: unknown) => writeFileSync(scene.run.routeFile, JSON.stringify({ all: route }));

    beforeAll(async () => {
      scene = await makeScene(servers(), { ...ITEM, more: WIDE });
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    entry('held', async (play) => {
      setRoute({ primary: 'source', held: true });
      play.sees(await status());
      await play.does(scene);
      expect(scene.run.route('all')).toMatchObject({ primary: 'source', held: false });
    });

    entry('led-wrong', async (play) => {
      setRoute({ primary: 'target', held: false });
      play.sees(await status());
      const abort = await confirmed(scene, 'abort');
      expect(abort.exitCode).toBe(4);
      play.sees(abort.text);
      setRoute({ primary: 'source', held: false });
      expect(await play.does(scene)).not.toContain('router');
    });

    entry('router-mute', async (play) => {
      writeFileSync(scene.run.routeFile, '{ half a file');
      play.sees(await status());
      const refused = await confirmed(scene, 'cutover');
      expect(refused.exitCode).toBe(4);
      play.sees(refused.text);
      setRoute({ primary: 'source', held: false });
      expect(await play.does(scene)).not.toContain('router');
    });

    entry('refused-write', async (play) => {
      play.sees(await refusalOf(scene.target));
      expect(await confirmed(scene, 'cutover')).toMatchObject({ exitCode: 0 });
      play.sees(await refusalOf(scene.source));
      expect(await play.does(scene)).toMatch(/soaking +target +replica, fenced +primary, writable/);
    });

    describe('a router of programs', () => {
      let own: Scene;
      const at = (file: string) => join(own.run.directory, file);

      beforeAll(async () => {
        own = await makeScene(servers(), { ...ITEM, more: WIDE, router: ROUTER });
        writeFileSync(at('led'), 'source\n');
        await untilReady(own);
      });
      afterAll(async () => await own?.close());

      entry('undone-otherwise', async (play) => {
        writeFileSync(at('unwilling'), '');
        const cutover = await confirmed(own, 'cutover');
        expect(cutover, cutover.text).toMatchObject({ exitCode: 5 });
        play.sees(cutover.text);
        rmSync(at('unwilling'));
        expect(await play.does(own)).toMatch(/source +primary, writable/);
      });

      entry('router-command', async (play) => {
        writeFileSync(at('broken'), '');
        const refused = await confirmed(own, 'cutover');
        expect(refused.exitCode).toBe(4);
        play.sees(refused.text);
        rmSync(at('broken'));
        writeFileSync(at('led'), 'to and fro\n');
        const misread = await confirmed(own, 'cutover');
        expect(misread.exitCode).toBe(4);
        play.sees(misread.text);
        writeFileSync(at('led'), 'source\n');
        expect(await play.does(own)).not.toContain('router');
        await play.does(own, { at: 1 });
        expect(await writableSides(own, 'item')).toEqual(['target']);
        expect(readFileSync(at('led'), 'utf8')).toBe('target\n');
      });
    });
  });
};
