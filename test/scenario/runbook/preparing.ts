import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { sleep } from '../../../src/platform/clock.ts';
import { publicationName } from '../../../src/stages/names.ts';
import { type Play, say } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import { doomed, type EntryTest, ITEM, type Servers, stateOf, WIDE } from './begin.ts';

const NAMES = ['filled', 'slotted', 'published'] as const;
const SCHEMA = NAMES.map((name) => `CREATE TABLE ${name} (id int PRIMARY KEY);`).join(' ');
const ROWS = NAMES.map((name) => `INSERT INTO ${name} SELECT generate_series(1, 10);`).join(' ');
const PHASES = NAMES.map((name) => ({ name, tables: [`public.${name}`] }));

/** More than is copied in one piece. */
const MANY_ROWS = `INSERT INTO item SELECT n, repeat('item', 100) FROM generate_series(1, 40000) n`;

/** What stands in the way of preparing a phase and of its first row. */
export const preparing = (servers: Servers, entry: EntryTest): void => {
  describe('a phase that cannot begin', () => {
    let scene: Scene;
    let reader: pg.Client;
    let readerPid = 0;

    const stuck = async (phase: string): Promise<string> => {
      const look = async () => {
        const { text } = await say(scene.run, 'status', scene.run.plan);
        return text.split(/^(?=halted|stuck|router|last switch|next:)/m).find((part) => part.includes(`  ${phase}:`));
      };
      await expect.poll(look, { timeout: 60_000, interval: 200 }).toBeDefined();
      return (await look()) ?? '';
    };
    const endIn = async (play: Play, phase: string): Promise<void> => {
      await play.does(scene, { PHASE: phase });
      await expect.poll(() => stateOf(scene, phase), { timeout: 30_000 }).toBe('ready');
    };

    beforeAll(async () => {
      scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS, phases: PHASES, more: WIDE });
      const { context, close } = await scene.run.compose();
      const [published, slotted] = ['published', 'slotted'].map((phase) => publicationName(context, phase));
      await close();
      // Phases are prepared at the same time: what is in the way of two of them lets the first one through alone, and then the next.
      await runSql(scene.source, `CREATE PUBLICATION ${published} FOR TABLE filled`);
      await runSql(scene.source, `CREATE PUBLICATION ${slotted} FOR TABLE filled`);
      const run = ['run', scene.run.plan];
      await doomed(scene, run, 'stage:prepared:kill').ended;
      await runSql(scene.source, `DROP PUBLICATION ${slotted}`);
      await runSql(scene.target, 'SET session_replication_role = replica; INSERT INTO filled VALUES (1)');
      await doomed(scene, run, 'acted prepare/slot:kill').ended;
      const [lane] = await runSql(scene.source, `SELECT slot FROM switchback.lane WHERE phase = 'slotted'`);
      const replication = { connectionString: scene.source, replication: 'database' };
      reader = new pg.Client(replication);
      reader.on('error', () => undefined);
      await reader.connect();
      // It streams from now on, so this is answered when somebody ends it.
      const options = `proto_version '1', publication_names '${slotted}'`;
      reader.query(`START_REPLICATION SLOT ${lane?.slot} LOGICAL 0/0 (${options})`).catch(() => undefined);
      const readBy = `SELECT active_pid AS pid FROM pg_replication_slots WHERE slot_name = '${lane?.slot}' AND active`;
      while (readerPid === 0) {
        await sleep(50);
        readerPid = Number((await runSql(scene.source, readBy))[0]?.pid ?? 0);
      }
      // A session that does not end when it is told to, as one does that waits for a disk. First it comes to rest, where it
      // holds nothing that others need.
      await sleep(200);
      process.kill(readerPid, 'SIGSTOP');
      scene.worker();
    });
    const letReaderEnd = (): void => {
      if (readerPid > 0) process.kill(readerPid, 'SIGCONT');
      readerPid = 0;
    };
    afterAll(async () => {
      letReaderEnd();
      await reader?.end();
      await scene?.close();
    });

    entry('target-not-empty', async (play) => {
      play.sees(await stuck('filled'));
      await runSql(scene.target, 'SET session_replication_role = replica; TRUNCATE filled');
      await endIn(play, 'filled');
    });

    entry('publication-differs', async (play) => {
      const text = await stuck('published');
      play.sees(text);
      const [drop = ''] = /DROP PUBLICATION [^;]+;/.exec(text) ?? [];
      await runSql(scene.source, drop);
      await endIn(play, 'published');
    });

    entry('slot-in-use', async (play) => {
      const text = await stuck('slotted');
      play.sees(text);
      const [end = ''] = /SELECT pg_terminate_backend\(\d+\);/.exec(text) ?? [];
      letReaderEnd();
      await runSql(scene.source, end);
      await endIn(play, 'slotted');
    });

    entry('key-changed', async (play) => {
      const own = await makeScene(servers(), { ...ITEM, rows: MANY_ROWS, more: WIDE });
      try {
        await doomed(own, ['run', own.run.plan], 'copy:chunk-done:kill').ended;
        await runSql(own.source, 'ALTER TABLE item DROP CONSTRAINT item_pkey');
        const run = await say(own.run, 'run', own.run.plan, '--until', 'ready');
        expect(run, run.text).toMatchObject({ exitCode: 3 });
        play.sees(run.text);
        await runSql(own.source, 'ALTER TABLE item ADD PRIMARY KEY (id)');
        expect(await play.does(own)).toContain('phase all goes on (copying)');
        await play.does(own, { at: 1 });
      } finally {
        await own.close();
      }
    });

    entry('schema-refused', async (play) => {
      const own = await makeScene(servers(), {
        ...ITEM,
        targetSchema: '',
        more: WIDE,
        from: '{ files: [schema.sql] }',
      });
      const file = join(own.run.directory, 'schema.sql');
      try {
        writeFileSync(file, 'CREATE TABLE item (id int PRIMARY KEY, name txt);');
        const run = await say(own.run, 'run', own.run.plan);
        expect(run, run.text).toMatchObject({ exitCode: 3 });
        play.sees(run.text);
        writeFileSync(file, `${ITEM.schema};`);
        await play.does(own, { until: /→ ready/ });
      } finally {
        await own.close();
      }
    });
  });
};
