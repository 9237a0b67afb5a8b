import { afterAll, beforeAll, describe, expect } from 'vitest';
import { writableSides } from '../../support/crash-points.ts';
import { say } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import { confirmed, type EntryTest, type Servers, stateOf, untilReady, WIDE } from './begin.ts';

const SCHEMA = `
  CREATE TABLE item (id serial PRIMARY KEY, name text);
  CREATE TABLE spare (id int PRIMARY KEY);
  CREATE TABLE plain (n int); ALTER TABLE plain REPLICA IDENTITY FULL;`;
const ROWS = `INSERT INTO item (name) SELECT 'item' FROM generate_series(1, 100); INSERT INTO plain VALUES (1), (2), (3);`;
const PHASES = [
  { name: 'all', tables: ['public.item'] },
  { name: 'plain', tables: ['public.plain'] },
  { name: 'spare', tables: ['public.spare'] },
];

/** Tables, sequences and records that are not what a command needs. */
export const keys = (servers: Servers, entry: EntryTest): void => {
  describe('keys and sequences', () => {
    let scene: Scene;
    beforeAll(async () => {
      scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS, phases: PHASES, more: WIDE });
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    entry('no-key-repair', async (play) => {
      await runSql(scene.target, 'SET session_replication_role = replica; DELETE FROM plain WHERE n = 2');
      const repair = await say(scene.run, 'verify', scene.run.plan, 'plain', '--repair');
      expect(repair, repair.text).toMatchObject({ exitCode: 4 });
      play.sees(repair.text);
      await play.does(scene, { PHASE: 'plain' });
      expect(await stateOf(scene, 'plain')).toBe('aborted');
    });

    entry('no-unique-index', async (play) => {
      // Rows are looked at one by one only where a table differs.
      await runSql(scene.target, `SET session_replication_role = replica; UPDATE item SET name = 'stray' WHERE id = 7`);
      await runSql(scene.target, 'ALTER TABLE item DROP CONSTRAINT item_pkey');
      const verified = await say(scene.run, 'verify', scene.run.plan, 'all');
      expect(verified, verified.text).toMatchObject({ exitCode: 4 });
      play.sees(verified.text);
      await runSql(scene.target, 'ALTER TABLE item ADD PRIMARY KEY (id)');
      expect(await play.does(scene)).toContain('phase all goes on');
      const repair = await say(scene.run, 'verify', scene.run.plan, 'all', '--repair');
      expect(repair, repair.text).toMatchObject({ exitCode: 0 });
    });

    entry('not-recorded', async (play) => {
      const record = (role: string) => `UPDATE switchback.ownership SET role = '${role}' WHERE phase = 'spare'`;
      await runSql(scene.target, record('primary'));
      const abort = await confirmed(scene, 'abort', 'spare');
      expect(abort, abort.text).toMatchObject({ exitCode: 4 });
      play.sees(abort.text);
      expect(await play.does(scene)).toMatch(/^spare .* primary, fenced/m);
      await runSql(scene.target, record('replica'));
      expect(await play.does(scene, { at: 1 })).toContain('spare: aborted');
      expect(await stateOf(scene, 'spare')).toBe('aborted');
    });

    entry('sequence-range', async (play) => {
      await runSql(scene.target, 'ALTER SEQUENCE item_id_seq MAXVALUE 10');
      const cutover = await confirmed(scene, 'cutover');
      expect(cutover, cutover.text).toMatchObject({ exitCode: 5 });
      play.sees(cutover.text);
      expect(await writableSides(scene, 'item')).toEqual(['source']);
      await runSql(scene.target, 'ALTER SEQUENCE item_id_seq NO MAXVALUE');
      await play.does(scene);
      expect(await runSql(scene.target, `INSERT INTO item (name) VALUES ('new') RETURNING id`)).toEqual([{ id: 101 }]);
    });
  });
};
