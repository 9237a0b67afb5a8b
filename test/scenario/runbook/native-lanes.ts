import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { TestWorker } from '../../support/run.ts';
import { say } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import { type EntryTest, ITEM, type Servers, WIDE } from './begin.ts';

const SUBSCRIPTION = `SELECT subname AS name, subenabled AS enabled FROM pg_subscription
  WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`;

/** What only a lane of the engine `native` waits for a person with. */
export const nativeLanes = (servers: Servers, entry: EntryTest): void => {
  describe('a lane between the servers', () => {
    let scene: Scene;
    let worker: TestWorker;

    beforeAll(async () => {
      scene = await makeScene(servers(), { ...ITEM, more: `engine: native\n${WIDE}` });
      worker = scene.worker();
      await worker.untilState('ready', 'all');
    });
    afterAll(async () => await scene?.close());

    entry('subscription-disabled', async (play) => {
      const subscription = async () => await runSql(scene.target, SUBSCRIPTION);
      await expect.poll(subscription, { timeout: 20_000 }).toMatchObject([{ enabled: true }]);
      const [found] = await subscription();
      await runSql(scene.target, `ALTER SUBSCRIPTION ${found?.name} DISABLE`);
      await worker.until(({ events }) => events.some((event) => event.type === 'halted'));
      play.sees((await say(scene.run, 'status', scene.run.plan)).text);
      await runSql(scene.source, `INSERT INTO item VALUES (200, 'meanwhile')`);
      await play.does(scene);
      const arrived = async () => await runSql(scene.target, 'SELECT name FROM item WHERE id = 200');
      await expect.poll(arrived, { timeout: 20_000 }).toEqual([{ name: 'meanwhile' }]);
    });
  });
};
