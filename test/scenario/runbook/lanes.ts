import { mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { TestWorker } from '../../support/run.ts';
import { say } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import { confirmed, type EntryTest, type Servers, stateOf, WIDE } from './begin.ts';

/** One phase for each thing that can halt a lane, so that one worker follows them all. */
const TABLES = ['grown', 'stray', 'choosy', 'unkeyed', 'guarded', 'lost', 'moved', 'kept'] as const;
const SCHEMA = `${TABLES.map((name) => `CREATE TABLE ${name} (id int PRIMARY KEY, name text);`).join('\n')}
  CREATE TABLE reading (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
  CREATE TABLE reading_1 PARTITION OF reading FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');`;
const ROWS = TABLES.map((name) => `INSERT INTO ${name} SELECT n, 'row ' || n FROM generate_series(1, 20) n;`).join(
  '\n',
);
const PHASES = [
  ...TABLES.map((name) => ({ name, tables: [`public.${name}`] })),
  { name: 'parts', tables: ['public.reading'] },
];
const ADD_PARTITION = `CREATE TABLE reading_2 PARTITION OF reading FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')`;

/** A trigger that also fires for appliers, as some audit tools make them. */
const guard = (table: string, body: string): string => `
  CREATE FUNCTION ${table}_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body} END $$;
  CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION ${table}_guard();
  ALTER TABLE ${table} ENABLE ALWAYS TRIGGER guard;`;

/** The reader comes back at once, so the slot is dropped in the moment in between. */
const dropSlotOf = (lane: string): string => `
  DO $$ DECLARE lost text := (SELECT slot FROM switchback.lane WHERE name = '${lane}'); BEGIN
    FOR attempt IN 1..500 LOOP
      BEGIN
        PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = lost AND active;
        PERFORM pg_drop_replication_slot(lost);
        RETURN;
      EXCEPTION WHEN object_in_use THEN PERFORM pg_sleep(0.01);
      END;
    END LOOP;
    RAISE 'slot % stays in use', lost;
  END $$`;

/** Lanes that wait for a person. */
export const lanes = (servers: Servers, entry: EntryTest): void => {
  describe('a lane that is halted', () => {
    let scene: Scene;
    let worker: TestWorker;
    const archive = mkdtempSync(join(tmpdir(), 'switchback-archive-'));
    const onSource = async (sql: string) => await runSql(scene.source, sql);
    const onTarget = async (sql: string) => await runSql(scene.target, sql);
    const untilHalted = async (phase: string) =>
      await worker.until(({ events }) => events.some((event) => event.type === 'halted' && event.phase === phase));
    /** The lines of the status about one lane, since several may be halted. */
    const status = async (phase: string): Promise<string> => {
      const { text } = await say(scene.run, 'status', scene.run.plan);
      expect(text).toContain(phase);
      return text.split(/^(?=halted|stuck|router|last switch|$)/m).find((part) => part.includes(` ${phase}/`)) ?? text;
    };
    const expectArrived = async (table: string, id: number) =>
      await expect.poll(() => onTarget(`SELECT FROM ${table} WHERE id = ${id}`), { timeout: 20_000 }).toHaveLength(1);

    /** Its connection breaks, and it begins to follow again. */
    const beginAgain = async (phase: string) =>
      await onSource(
        `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name =
           (SELECT slot FROM switchback.lane WHERE name = '${phase}/forward')`,
      );

    beforeAll(async () => {
      scene = await makeScene(servers(), {
        schema: SCHEMA,
        rows: ROWS,
        phases: PHASES,
        more: `${WIDE}\nsoak: { for: 72h, archive: ${archive} }`,
      });
      worker = scene.worker();
      await worker.untilState('ready', ...PHASES.map(({ name }) => name));
    });
    afterAll(async () => {
      await scene?.close();
      rmSync(archive, { recursive: true });
    });

    entry('lane-halted', async (play) => {
      await onSource(`ALTER TABLE grown ADD COLUMN price numeric; INSERT INTO grown VALUES (100, 'new', 1)`);
      await untilHalted('grown');
      const refused = await confirmed(scene, 'cutover', 'grown');
      expect(refused.exitCode).toBe(3);
      play.sees(refused.text);
      await onTarget('ALTER TABLE grown ADD COLUMN price numeric');
      await play.does(scene, { PHASE: 'grown' });
      await expectArrived('grown', 100);
    });

    entry('still-halted', async (play) => {
      await onSource(`ALTER TABLE grown ADD COLUMN weight int; INSERT INTO grown VALUES (101, 'new', 1, 2)`);
      const isHalted = async () => (await status('grown')).includes('weight');
      await expect.poll(isHalted, { timeout: 20_000 }).toBe(true);
      const early = await say(scene.run, 'resume', scene.run.plan, 'grown');
      expect(early.exitCode).toBe(3);
      play.sees(early.text);
      await onTarget('ALTER TABLE grown ADD COLUMN weight int');
      await play.does(scene, { PHASE: 'grown' });
      await expectArrived('grown', 101);
    });

    entry('schema-changed', async (play) => {
      await onSource(`ALTER TABLE grown ADD COLUMN colour text; INSERT INTO grown VALUES (102, 'new', 1, 2, 'red')`);
      const isHalted = async () => (await status('grown')).includes('colour');
      await expect.poll(isHalted, { timeout: 20_000 }).toBe(true);
      play.sees(await status('grown'));
      await onTarget('ALTER TABLE grown ADD COLUMN colour text');
      await play.does(scene, { PHASE: 'grown' });
      await expectArrived('grown', 102);
    });

    entry('divergence', async (play) => {
      await onTarget('SET session_replication_role = replica; DELETE FROM stray WHERE id = 5');
      await onSource(`UPDATE stray SET name = 'changed' WHERE id = 5`);
      await untilHalted('stray');
      const text = await status('stray');
      play.sees(text);
      const { json } = await scene.run.command('status', scene.run.plan);
      expect(JSON.stringify(json)).toContain(`"switchback verify ${scene.run.plan} stray --repair"`);
      await play.does(scene, { PHASE: 'stray' });
      expect(await onTarget('SELECT name FROM stray WHERE id = 5')).toEqual([{ name: 'changed' }]);
    });

    entry('apply-failed', async (play) => {
      await onTarget(guard('choosy', `RAISE 'not on my watch';`));
      await onSource(`INSERT INTO choosy VALUES (100, 'new')`);
      await untilHalted('choosy');
      play.sees(await status('choosy'));
      await onTarget('DROP TRIGGER guard ON choosy');
      await play.does(scene, { PHASE: 'choosy' });
      await expectArrived('choosy', 100);
    });

    entry('no-key-index', async (play) => {
      await onTarget('ALTER TABLE unkeyed DROP CONSTRAINT unkeyed_pkey');
      // The lane looks at what it writes to when it begins to follow.
      await beginAgain('unkeyed');
      await onSource(`INSERT INTO unkeyed VALUES (100, 'new')`);
      await untilHalted('unkeyed');
      play.sees(await status('unkeyed'));
      await onTarget('ALTER TABLE unkeyed ADD PRIMARY KEY (id)');
      await play.does(scene, { PHASE: 'unkeyed' });
      await expectArrived('unkeyed', 100);
    });

    entry('lane-failed', async (play) => {
      await onTarget(guard('guarded', `RAISE 'read-only for now' USING ERRCODE = '25006';`));
      await onSource(`INSERT INTO guarded VALUES (100, 'new')`);
      await untilHalted('guarded');
      play.sees(await status('guarded'));
      await onTarget('DROP TRIGGER guard ON guarded');
      await play.does(scene, { PHASE: 'guarded' });
      await expectArrived('guarded', 100);
    });

    entry('new-partition', async (play) => {
      await onSource(ADD_PARTITION);
      const early = await say(scene.run, 'resume', scene.run.plan, 'parts');
      expect(early.exitCode).toBe(4);
      play.sees(early.text);
      await onTarget(ADD_PARTITION);
      await play.does(scene, { PHASE: 'parts' });
      await onSource(`INSERT INTO reading VALUES (100, '2024-02-05')`);
      await expectArrived('reading', 100);
    });

    entry('archive-gap', async (play) => {
      const [run = ''] = readdirSync(archive);
      const own = join(archive, run, 'kept');
      // What was drained when it was verified.
      const last = readdirSync(own).toSorted().at(-1) ?? '';
      rmSync(join(own, last));
      await beginAgain('kept');
      await untilHalted('kept');
      play.sees(await status('kept'));
      renameSync(own, join(archive, run, 'kept-before'));
      await play.does(scene, { PHASE: 'kept' });
      await onSource(`INSERT INTO kept VALUES (100, 'new')`);
      await expectArrived('kept', 100);
      expect(readdirSync(own)).not.toEqual([]);
    });

    entry('slot-lost', async (play) => {
      await onSource(dropSlotOf('lost/forward'));
      await untilHalted('lost');
      play.sees(await status('lost'));
      expect(await say(scene.run, 'resume', scene.run.plan, 'lost')).toMatchObject({ exitCode: 3 });
      await play.does(scene, { PHASE: 'lost' });
      expect(await stateOf(scene, 'lost')).toBe('aborted');
      await onSource(`INSERT INTO lost VALUES (100, 'the application goes on')`);
      await onTarget('INSERT INTO lost VALUES (100); DELETE FROM lost');
    });

    entry('way-back-lost', async (play) => {
      expect(await confirmed(scene, 'cutover', 'moved')).toMatchObject({ exitCode: 0 });
      // On the side that the lane reads, which is the target now.
      const [lane] = await onSource(`SELECT slot FROM switchback.lane WHERE name = 'moved/reverse'`);
      await onTarget(dropSlotOf('moved/reverse').replace(/\(SELECT slot [^)]*\)/, `'${lane?.slot}'`));
      await untilHalted('moved');
      play.sees(await status('moved'));
      expect(await confirmed(scene, 'failback', 'moved')).toMatchObject({ exitCode: 3 });
      await onTarget(`INSERT INTO moved VALUES (100, 'the application goes on')`);
      await play.does(scene, { PHASE: 'moved' });
      expect(await stateOf(scene, 'moved')).toBe('finalised');
    });
  });
};
