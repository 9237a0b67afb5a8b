import { afterAll, beforeAll, describe, expect } from 'vitest';
import { writableSides } from '../../support/crash-points.ts';
import { endOf, say } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
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

/** Servers that do not answer. The other scenes of the file have ended by then, or begin later. */
export const serversDown = (servers: Servers, entry: EntryTest): void => {
  describe('servers down', () => {
    let scene: Scene;
    const status = async () => (await say(scene.run, 'status', scene.run.plan)).text;

    beforeAll(async () => {
      scene = await makeScene(servers(), { ...ITEM, more: WIDE });
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    entry('outcome-unknown', async (play) => {
      const cutover = doomed(
        scene,
        ['cutover', scene.run.plan, 'all', '--confirm', 'all'],
        'begun cutover/commit:stop',
      );
      await expect.poll(() => isStopped(cutover), { timeout: 60_000 }).toBe(true);
      await servers().source.kill();
      cutover.process.kill('SIGCONT');
      const end = await endOf(cutover);
      await servers().source.start();
      expect(end, end.text).toMatchObject({ exitCode: 6 });
      play.sees(end.text);
      await play.does(scene);
      expect(await writableSides(scene, 'item')).toHaveLength(1);
      expect(await stateOf(scene, 'all')).toMatch(/ready|following/);
    });

    entry('target-down', async (play) => {
      await servers().target.stop();
      const text = await status();
      await servers().target.start();
      play.sees(text);
      expect(await play.does(scene)).not.toContain('not reachable');
    });

    entry('source-down', async (play) => {
      expect(await confirmed(scene, 'cutover')).toMatchObject({ exitCode: 0 });
      await servers().source.stop();
      const text = await status();
      await servers().source.start();
      expect(text).toMatch(/all +soaking/);
      play.sees(text);
      expect(await play.does(scene)).not.toContain('mirror');
    });

    entry('unreachable', async (play) => {
      for (const side of ['source', 'target'] as const) {
        await servers()[side].stop();
        const answer = await confirmed(scene, 'failback');
        await servers()[side].start();
        expect(answer.exitCode).toBe(1);
        play.sees(answer.text);
      }
      expect(await play.does(scene)).toMatch(/soaking/);
      expect(await confirmed(scene, 'failback')).toMatchObject({ exitCode: 0 });
    });
  });
};
