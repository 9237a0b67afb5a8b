import { afterAll, beforeAll, describe, expect } from 'vitest';
import { writableSides } from '../../support/crash-points.ts';
import { type ClientsPath, usePaths } from '../../support/path.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { confirmed, type EntryTest, ITEM, type Servers, untilReady, WIDE } from './begin.ts';

const ROUTER = `{ kind: file, path: route.json, probe: { url: "\${TEST_RUNBOOK_PATH}", within: 300ms } }`;

/** What is told of clients that have not arrived, or not left. */
export const arrivals = (servers: Servers, entry: EntryTest): void => {
  describe('clients after a switch', () => {
    const openPath = usePaths();
    let scene: Scene;
    let path: ClientsPath;

    beforeAll(async () => {
      const { source } = servers();
      path = await openPath(source.port);
      const url = new URL(source.urlFor('runbook_arrivals'));
      url.port = String(path.port);
      process.env.TEST_RUNBOOK_PATH = url.toString();
      scene = await makeScene(servers(), { ...ITEM, name: 'runbook_arrivals', more: WIDE, router: ROUTER });
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    entry('not-proven', async (play) => {
      const cutover = await confirmed(scene, 'cutover');
      expect(cutover.exitCode).toBe(6);
      play.sees(cutover.text);
      expect(await writableSides(scene, 'item')).toEqual(['target']);
      path.lead(servers().target.port);
      expect(await play.does(scene)).toContain('proven by 127.0.0.1:');
    });

    entry('sessions-left', async (play) => {
      const client = await scene.session(scene.target);
      path.lead(servers().source.port);
      const failback = await confirmed(scene, 'failback');
      expect(failback.exitCode).toBe(0);
      play.sees(failback.text);
      expect(await play.does(scene)).toMatch(/left +on the target: 1 of "\w+" \(scene\)/);
      await client.end();
      expect(await play.does(scene)).not.toMatch(/left +on the target/);
    });
  });
};
