import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { TestWorker } from '../../support/run.ts';
import { say } from '../../support/runbook.ts';
import { type Scene, sceneOn } from '../../support/scene.ts';
import { createDatabase, runSql } from '../../support/servers.ts';
import { confirmed, END_OUR_SESSIONS, type EntryTest, ITEM, type Servers, WIDE } from './begin.ts';

const ROLE = 'CREATE ROLE runbook_mover LOGIN SUPERUSER';

/** What our role has on the target is taken from it while a run is under way; `check` says before what it has to have. */
export const rights = (servers: Servers, entry: EntryTest): void => {
  describe('rights that were taken away', () => {
    let scene: Scene;
    let worker: TestWorker;
    /** A superuser's, on the target. */
    let owner = '';

    beforeAll(async () => {
      const { source, target } = servers();
      for (const server of [source, target]) await runSql(server.url, ROLE);
      const origin = await createDatabase(source, 'runbook_rights');
      owner = await createDatabase(target, 'runbook_rights');
      for (const url of [origin, owner]) await runSql(url, ITEM.schema);
      await runSql(origin, ITEM.rows);
      const urlOf = (server: typeof source) => server.urlFor('runbook_rights', 'runbook_mover');
      scene = sceneOn({ source: urlOf(source), target: urlOf(target) }, { more: WIDE });
      worker = scene.worker();
      await worker.untilState('ready', 'all');
      await runSql(owner, 'ALTER ROLE runbook_mover NOSUPERUSER; GRANT ALL ON item TO runbook_mover');
    });
    afterAll(async () => {
      // For the scene's end, which ends sessions of others.
      if (owner !== '') await runSql(owner, 'ALTER ROLE runbook_mover SUPERUSER');
      await scene?.close();
    });

    entry('no-applier', async (play) => {
      await runSql(owner, END_OUR_SESSIONS);
      await worker.until(({ events }) => events.some((event) => event.type === 'halted'));
      play.sees((await say(scene.run, 'status', scene.run.plan)).text);
      await runSql(owner, 'GRANT SET ON PARAMETER session_replication_role TO runbook_mover');
      await play.does(scene);
      await runSql(scene.source, `INSERT INTO item VALUES (1000, 'after')`);
      await expect.poll(() => runSql(owner, 'SELECT FROM item WHERE id = 1000'), { timeout: 20_000 }).toHaveLength(1);
      await worker.stop();
    });

    entry('no-fence-right', async (play) => {
      const abort = await confirmed(scene, 'abort');
      expect(abort, abort.text).toMatchObject({ exitCode: 4 });
      play.sees(abort.text);
      await runSql(owner, 'ALTER TABLE item OWNER TO runbook_mover');
      expect(await play.does(scene)).toContain('aborted');
      await runSql(owner, 'INSERT INTO item VALUES (1)');
    });
  });
};
