import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { TestWorker } from '../../support/run.ts';
import { say } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import { type EntryTest, ITEM, type Servers, stateOf, WIDE } from './begin.ts';

/** The same constraint on both sides, by a function that is not: what no comparison of schemas sees. */
const SCHEMA = `
  CREATE FUNCTION fine(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
  CREATE TABLE choosy (id int PRIMARY KEY, name text CHECK (fine(name)));
  CREATE TABLE parent (id int PRIMARY KEY, name text);
  CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);`;
const ROWS = `
  INSERT INTO choosy SELECT n, 'row ' || n FROM generate_series(1, 20) n;
  INSERT INTO parent TABLE choosy;
  SET session_replication_role = replica;
  INSERT INTO child VALUES (1, 1), (2, 99);`;
const PHASES = [
  { name: 'choosy', tables: ['public.choosy'] },
  { name: 'family', tables: ['public.parent', 'public.child'] },
];
const setFine = (value: boolean): string =>
  `CREATE OR REPLACE FUNCTION fine(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT ${value}'`;

/** Stages that wait for a person. */
export const stages = (servers: Servers, entry: EntryTest): void => {
  describe('a stage that is stuck', () => {
    let scene: Scene;
    let worker: TestWorker;
    /** The lines of the status about a phase that is stuck. */
    const stuck = async (phase: string, at: string): Promise<string> => {
      const look = async () => {
        const { text } = await say(scene.run, 'status', scene.run.plan);
        const parts = text.split(/^(?=halted|stuck|router|last switch|next:)/m);
        return parts.find((part) => part.startsWith(`stuck  ${phase}:`)) ?? text;
      };
      await expect.poll(look, { timeout: 30_000 }).toContain(at);
      return await look();
    };
    const untilReady = async (phase: string) =>
      await expect.poll(() => stateOf(scene, phase), { timeout: 30_000 }).toBe('ready');

    beforeAll(async () => {
      scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS, phases: PHASES, more: WIDE });
      await runSql(scene.target, `INSERT INTO choosy VALUES (1); ${setFine(false)}`);
      worker = scene.worker();
    });
    afterAll(async () => await scene?.close());

    entry('cannot-prepare', async (play) => {
      play.sees(await stuck('choosy', 'cannot be prepared'));
      await runSql(scene.target, 'TRUNCATE choosy');
      await play.does(scene, { PHASE: 'choosy', at: 1 });
      // With no phase that goes on, the worker has nothing to stay for.
      const alone = await makeScene(servers(), { ...ITEM, more: WIDE });
      try {
        await runSql(alone.target, 'INSERT INTO item VALUES (1)');
        const run = await say(alone.run, 'run', alone.run.plan);
        expect(run, run.text).toMatchObject({ exitCode: 3 });
        play.sees(run.text);
        await runSql(alone.target, 'TRUNCATE item');
        await play.does(alone, { until: /→ ready/ });
      } finally {
        await alone.close();
      }
    });

    entry('cannot-copy', async (play) => {
      play.sees(await stuck('choosy', 'cannot be copied'));
      await runSql(scene.target, setFine(true));
      await play.does(scene, { PHASE: 'choosy' });
      await untilReady('choosy');
    });

    entry('cannot-build', async (play) => {
      play.sees(await stuck('family', 'cannot be built'));
      // For the next entry: the rows are all there, and are verified only later.
      await runSql(
        scene.target,
        `SET session_replication_role = replica; UPDATE parent SET name = 'stray' WHERE id = 7`,
      );
      await runSql(scene.source, 'DELETE FROM child WHERE id = 2');
      await play.does(scene, { PHASE: 'family' });
    });

    entry('stuck-unequal', async (play) => {
      play.sees(await stuck('family', 'not equal'));
      await play.does(scene, { PHASE: 'family' });
      await untilReady('family');
      expect(await runSql(scene.target, 'SELECT name FROM parent WHERE id = 7')).toEqual([{ name: 'row 7' }]);
      await worker.stop();
    });
  });
};
