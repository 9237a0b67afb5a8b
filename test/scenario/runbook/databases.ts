import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { type Elsewhere, type Said, startHere } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { createDatabase, runSql } from '../../support/servers.ts';
import { confirmed, doomed, type EntryTest, ITEM, type Servers, untilReady } from './begin.ts';

const COPY_OF_RUN = (row: unknown): string => `
  CREATE SCHEMA switchback;
  CREATE TABLE switchback.run AS SELECT * FROM json_to_record($json$${JSON.stringify(row)}$json$)
    AS r(id text, side text, plan_name text, plan_hash text, plan text, identity text, peer text, version text,
         created_at timestamptz, facts text)`;

/** Plans that have been edited, and URLs that lead elsewhere. */
export const databases = (servers: Servers, entry: EntryTest): void => {
  describe('the plan or the databases are not the run’s', () => {
    let scene: Scene;
    let empty = '';
    const edit = (from: string, to: string): void => {
      const text = readFileSync(scene.run.plan, 'utf8');
      expect(text).toContain(from);
      writeFileSync(scene.run.plan, text.replace(from, to));
    };
    const cutover = async (where: Elsewhere = {}): Promise<Said> => {
      const command = startHere(scene.run, ['cutover', scene.run.plan, 'all', '--confirm', 'all'], where);
      return { exitCode: await command.ended, text: command.text() };
    };
    const hashIn = (text: string): string => /--accept-plan ([0-9a-f]{12})/.exec(text)?.[1] ?? '';

    beforeAll(async () => {
      scene = await makeScene(servers(), { ...ITEM, more: 'switch: { window: 60s, max_lag: 20s }' });
      await untilReady(scene);
      empty = await createDatabase(servers().target, 'runbook_empty');
      await runSql(empty, ITEM.schema);
    });
    afterAll(async () => await scene?.close());

    entry('plan-changed', async (play) => {
      edit('window: 60s', 'window: 50s');
      const answer = await cutover();
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await play.does(scene, { HASH: hashIn(answer.text), until: /verified 1 tables/ });
      expect(await confirmed(scene, 'cutover')).toMatchObject({ exitCode: 0 });
      expect(await confirmed(scene, 'failback')).toMatchObject({ exitCode: 0 });
    });

    entry('wrong-hash', async (play) => {
      edit('window: 50s', 'window: 40s');
      const old = hashIn((await cutover()).text);
      edit('window: 40s', 'window: 30s');
      const command = startHere(scene.run, ['run', scene.run.plan, '--accept-plan', old]);
      expect(await command.ended).toBe(2);
      play.sees(command.text());
      const HASH = /begins ([0-9a-f]{12})/.exec(command.text())?.[1] ?? '';
      await play.does(scene, { HASH, until: /verified 1 tables/ });
    });

    entry('plan-fixed', async (play) => {
      edit('["public.*"]', '["public.*", "more.*"]');
      const hash = hashIn((await cutover()).text);
      const command = startHere(scene.run, ['run', scene.run.plan, '--accept-plan', hash]);
      expect(await command.ended).toBe(4);
      play.sees(command.text());
      edit('["public.*", "more.*"]', '["public.*"]');
      await play.does(scene);
    });

    entry('routers-renamed', async (play) => {
      const args = ['cutover', scene.run.plan, 'all', '--confirm', 'all'];
      await doomed(scene, args, 'acted cutover/commit:kill').ended;
      const before = readFileSync(scene.run.plan, 'utf8');
      writeFileSync(scene.run.plan, before.replace('"router":"app"', '"router":"way"').replace('  app: ', '  way: '));
      const hash = hashIn((await cutover()).text);
      const command = startHere(scene.run, ['run', scene.run.plan, '--accept-plan', hash]);
      expect(await command.ended).toBe(4);
      play.sees(command.text());
      writeFileSync(scene.run.plan, before);
      expect(await play.does(scene)).toContain('was completed');
      expect(await confirmed(scene, 'failback')).toMatchObject({ exitCode: 0 });
    });

    entry('same-database', async (play) => {
      const answer = await cutover({ target: scene.source.replace('127.0.0.1', 'localhost') });
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await play.does(scene);
    });

    entry('swapped', async (play) => {
      const answer = await cutover({ source: scene.target, target: scene.source });
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await play.does(scene);
    });

    entry('other-database', async (play) => {
      const answer = await cutover({ target: empty });
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await play.does(scene);
      // As when one of the two was restored from a time when it was another run's.
      const [row] = await runSql(scene.target, 'SELECT id FROM switchback.run');
      await runSql(scene.target, `UPDATE switchback.run SET id = 'another'`);
      const mixed = await cutover();
      await runSql(scene.target, `UPDATE switchback.run SET id = '${row?.id}'`);
      expect(mixed.exitCode).toBe(4);
      play.sees(mixed.text);
    });

    entry('not-let-in', async (play) => {
      const answer = await cutover({ target: servers().target.urlFor('nobody_made_it') });
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await play.does(scene);
    });

    entry('not-safe', async (play) => {
      const answer = await cutover({ target: `${scene.target}?sslmode=verify-full` });
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await play.does(scene);
    });

    entry('restored-copy', async (play) => {
      const [row] = await runSql(scene.target, 'SELECT * FROM switchback.run');
      await runSql(empty, COPY_OF_RUN(row));
      const answer = await cutover({ target: empty });
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await play.does(scene);
    });

    entry('other-version', async (play) => {
      const [row] = await runSql(scene.source, 'SELECT version FROM switchback.run');
      await runSql(scene.source, `UPDATE switchback.run SET version = '0'`);
      const answer = await cutover();
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      expect(await play.does(scene)).toMatch(/^\d+\.\d+\.\d+/);
      await runSql(scene.source, `UPDATE switchback.run SET version = '${row?.version}'`);
      expect(await confirmed(scene, 'cutover')).toMatchObject({ exitCode: 0 });
    });
  });
};
