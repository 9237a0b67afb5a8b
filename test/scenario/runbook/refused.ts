import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { slotName } from '../../../src/stages/names.ts';
import { writableSides } from '../../support/crash-points.ts';
import { endOf, say } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import type { Terminal } from '../../support/terminal.ts';
import { confirmed, doomed, type EntryTest, ITEM, type Servers, stateOf, untilReady, WIDE } from './begin.ts';

const PHASES = [
  { name: 'one', tables: ['public.one'] },
  { name: 'two', tables: ['public.two'], after: ['one'] },
];
const SCHEMA = 'CREATE TABLE one (id int PRIMARY KEY); CREATE TABLE two (id int PRIMARY KEY);';
const ROWS = 'INSERT INTO one SELECT generate_series(1, 50); INSERT INTO two TABLE one;';

/** Commands that the state of a phase does not allow, from before there is a run until after its end. */
export const refused = (servers: Servers, entry: EntryTest): void => {
  describe('refused before a switch', () => {
    let scene: Scene;
    const tell = async (command: string, phase: string) => await confirmed(scene, command, phase);

    beforeAll(async () => {
      scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS, phases: PHASES, more: WIDE });
    });
    afterAll(async () => await scene?.close());

    entry('no-run', async (play) => {
      const answer = await tell('cutover', 'one');
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      const rebuild = await say(scene.run, 'resume', scene.run.plan, '--rebuild', '--confirm', 'test');
      expect(rebuild.exitCode).toBe(4);
      play.sees(rebuild.text);
      await play.does(scene, { until: /one: .*→ ready[\s\S]*two: .*→ ready|two: .*→ ready[\s\S]*one: .*→ ready/ });
      expect(await stateOf(scene, 'one')).toBe('ready');
    });

    entry('wrong-state', async (play) => {
      // Another run, which has died before its phase was prepared.
      const early = await makeScene(servers(), ITEM);
      try {
        await doomed(early, ['run', early.run.plan], 'begun prepare/tables:kill').ended;
        for (const command of ['cutover', 'failback', 'finalise']) {
          const answer = await confirmed(early, command);
          expect(answer.exitCode).toBe(4);
          play.sees(answer.text);
        }
        const answer = await say(early.run, 'verify', early.run.plan, 'all');
        expect(answer.exitCode).toBe(4);
        play.sees(answer.text);
        expect(await play.does(early)).toContain('planned');
      } finally {
        await early.close();
      }
    });

    entry('no-such-phase', async (play) => {
      const answer = await tell('failback', 'won');
      expect(answer.exitCode).toBe(2);
      expect(answer.text).toContain('one, two');
      play.sees(answer.text);
      expect(await play.does(scene)).toContain('one');
    });

    entry('findings', async (play) => {
      await runSql(scene.source, 'CREATE TABLE latecomer (id int PRIMARY KEY)');
      const answer = await tell('cutover', 'one');
      expect(answer.exitCode).toBe(3);
      play.sees(answer.text);
      expect(await say(scene.run, 'check', scene.run.plan)).toMatchObject({ exitCode: 3 });
      await runSql(scene.source, 'DROP TABLE latecomer');
      await play.does(scene);
    });

    entry('not-equal', async (play) => {
      await runSql(scene.target, 'SET session_replication_role = replica; DELETE FROM one WHERE id = 7');
      const answer = await tell('cutover', 'one');
      expect(answer.exitCode).toBe(3);
      expect(answer.text).toContain('(7)');
      play.sees(answer.text);
      await play.does(scene, { PHASE: 'one' });
      expect(await runSql(scene.target, 'SELECT FROM one WHERE id = 7')).toHaveLength(1);
    });

    entry('confirm', async (play) => {
      for (const flags of [['--confirm', 'two'], []]) {
        const answer = await say(scene.run, 'cutover', scene.run.plan, 'one', ...flags);
        expect(answer.exitCode).toBe(2);
        play.sees(answer.text);
      }
      await play.does(scene, { PHASE: 'one' });
      expect(await writableSides(scene, 'one')).toEqual(['target']);
    });

    entry('abort-too-late', async (play) => {
      const answer = await tell('abort', 'one');
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await runSql(scene.target, 'INSERT INTO one VALUES (1000)');
      await play.does(scene, { PHASE: 'one' });
      expect(await writableSides(scene, 'one')).toEqual(['source']);
      expect(await runSql(scene.source, 'SELECT FROM one WHERE id = 1000')).toHaveLength(1);
    });

    entry('after', async (play) => {
      const answer = await tell('cutover', 'two');
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await play.does(scene, { FIRST: 'one', PHASE: 'two' });
      for (const table of ['one', 'two']) expect(await writableSides(scene, table)).toEqual(['target']);
    });

    entry('broken-off', async (play) => {
      const locker = await scene.session(scene.target);
      await locker.query('BEGIN; LOCK TABLE one IN ACCESS EXCLUSIVE MODE');
      const verify = scene.terminal('verify', scene.run.plan, 'one', 'two');
      // Locks of other databases are shown too.
      const inWay = `SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE NOT l.granted AND d.datname = current_database()`;
      const waiting = async () => await runSql(scene.target, inWay);
      await expect.poll(waiting, { timeout: 30_000, interval: 50 }).not.toEqual([]);
      verify.process.kill('SIGINT');
      await verify.says(/stopping/);
      await locker.query('ROLLBACK');
      const end = await endOf(verify);
      expect(end, end.text).toMatchObject({ exitCode: 4 });
      play.sees(end.text);
      expect(await play.does(scene)).toContain('soaking');
    });

    entry('soaks', async (play) => {
      const answer = await tell('finalise', 'two');
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await play.does(scene, { PHASE: 'two' });
      expect(await stateOf(scene, 'two')).toBe('finalised');
    });

    entry('finalised', async (play) => {
      for (const command of ['failback', 'abort']) {
        const answer = await tell(command, 'two');
        expect(answer.exitCode).toBe(4);
        play.sees(answer.text);
      }
      await play.does(scene);
      expect(existsSync(join(scene.run.directory, 'test-report.html'))).toBe(true);
    });

    entry('end-begun', async (play) => {
      const finalise = ['finalise', scene.run.plan, 'one', '--early', '--confirm', 'one'];
      await doomed(scene, finalise, 'acted finalise/lane:kill').ended;
      for (const other of ['failback', 'abort']) {
        const answer = await tell(other, 'one');
        expect(answer.exitCode).toBe(4);
        play.sees(answer.text);
      }
      play.sees((await say(scene.run, 'status', scene.run.plan)).text);
      expect(await play.does(scene)).toContain('finalise');
      await play.does(scene, { PHASE: 'one', at: 1 });
      expect(await stateOf(scene, 'one')).toBe('finalised');
    });

    entry('unended', async (play) => {
      const finalise = ['finalise', scene.run.plan, 'one', 'two', '--unfence', '--confirm', 'one,two'];
      await doomed(scene, finalise, 'end:target done:kill').ended;
      play.sees((await say(scene.run, 'status', scene.run.plan)).text);
      expect(await play.does(scene)).toContain('nothing of ours remains');
      expect(await writableSides(scene, 'one')).toEqual(['source', 'target']);
    });
  });

  describe('one worker at a time', () => {
    let scene: Scene;
    let sleeper: Terminal;
    beforeAll(async () => {
      scene = await makeScene(servers(), { ...ITEM, more: WIDE });
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    entry('no-worker', async (play) => {
      play.sees((await say(scene.run, 'status', scene.run.plan)).text);
      const verified = await say(scene.run, 'verify', scene.run.plan, 'all');
      expect(verified.exitCode).toBe(0);
      play.sees(verified.text);
      const worker = scene.worker();
      await worker.until(({ events }) => events.some((event) => event.type === 'lag'));
      await worker.process.kill();
      play.sees((await say(scene.run, 'status', scene.run.plan)).text);
      await play.does(scene, { until: /verified 1 tables/ });
    });

    entry('lease-held', async (play) => {
      const worker = scene.worker();
      await worker.until(({ events }) => events.some((event) => event.type === 'lag'));
      const second = await say(scene.run, 'run', scene.run.plan);
      expect(second.exitCode).toBe(4);
      play.sees(second.text);
      expect(await play.does(scene)).toMatch(/^worker \w+ on /m);
      await worker.stop();
    });

    entry('trying-again', async (play) => {
      sleeper = scene.terminal('run', scene.run.plan);
      await sleeper.says(/verified 1 tables/);
      const endReader = `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
         WHERE database = current_database() AND active_pid IS NOT NULL`;
      await expect.poll(() => runSql(scene.source, endReader)).toHaveLength(1);
      await sleeper.says(/trying again/);
      play.sees(sleeper.text());
      expect(await play.does(scene)).toMatch(/^worker \w+ on /m);
    });

    entry('deposed', async (play) => {
      sleeper.process.kill('SIGSTOP');
      // As when its network is gone: the source ends the sessions of a host that does not answer.
      await runSql(
        scene.source,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND starts_with(application_name, 'switchback/')`,
      );
      const worker = scene.worker();
      await worker.until(({ events }) => events.some((event) => event.type === 'lag'));
      sleeper.process.kill('SIGCONT');
      expect(await sleeper.ended, sleeper.text()).toBe(4);
      play.sees(sleeper.text());
      expect(await play.does(scene)).toMatch(/^worker \w+ on /m);
      await worker.stop();
    });

    entry('orphan-slot', async (play) => {
      const { context, close } = await scene.run.compose();
      const slot = slotName(context, 'all', { direction: 'reverse', generation: 'cutover-1' });
      await close();
      await runSql(scene.target, `SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`);
      play.sees((await say(scene.run, 'status', scene.run.plan)).text);
      await play.does(scene);
      const left = `SELECT FROM pg_replication_slots WHERE slot_name = '${slot}'`;
      expect(await runSql(scene.target, left)).toEqual([]);
    });

    entry('was-moved', async (play) => {
      for (const command of ['cutover', 'failback']) {
        const answer = await confirmed(scene, command);
        expect(answer, answer.text).toMatchObject({ exitCode: 0 });
      }
      const answer = await confirmed(scene, 'abort');
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      expect(await writableSides(scene, 'item')).toEqual(['source']);
      await play.does(scene, { PHASE: 'all' });
      expect(await writableSides(scene, 'item')).toEqual(['source', 'target']);
    });
  });
};
