import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { say } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import { confirmed, type EntryTest, ITEM, type Servers, stateOf, untilReady } from './begin.ts';

/** Where readers are led is in a file. It is not changed while one is there that is called `stuck`; `faulty`: it fails afterwards. */
const REPLICA = `{ kind: command,
    observe: [sh, -c, "cat read"],
    repoint: [sh, -c, "! test -e stuck && echo $SWITCHBACK_SIDE > read && ! test -e faulty || exit 3"] }`;

/** Nobody follows between two commands, and a lag of before is no matter here. */
const LAX = 'switch: { window: 60s, max_lag: 1h }';

const PHASES = [
  { name: 'plain', tables: ['public.plain'] },
  { name: 'one', tables: ['public.one'], reads: 'bi' },
  { name: 'all', tables: ['public.*'], reads: 'replica' },
];

/** Readers that are led by themselves. */
export const readers = (servers: Servers, entry: EntryTest): void => {
  describe('readers', () => {
    let scene: Scene;
    const status = async () => (await say(scene.run, 'status', scene.run.plan)).text;
    const file = (name: string) => join(scene.run.directory, name);
    const move = async (command: string, phase = 'all') =>
      await say(scene.run, command, scene.run.plan, phase, '--reads');
    const moved = async (command: string) => {
      const answer = await move(command);
      expect(answer, answer.text).toMatchObject({ exitCode: 0 });
    };
    const halt = async (finding: string) =>
      await runSql(scene.source, `UPDATE switchback.lane SET halt = ${finding} WHERE name = 'all/forward'`);
    const PLANTED = `'{"lane":"all/forward","at":"2026-01-01T00:00:00Z","finding":{"id":"lane/failed","severity":"blocks",
      "subject":"all/forward","fact":"planted","remedy":"mend it"}}'`;

    beforeAll(async () => {
      scene = await makeScene(servers(), {
        schema: `${ITEM.schema}; CREATE TABLE one (id int PRIMARY KEY); CREATE TABLE plain (id int PRIMARY KEY)`,
        rows: ITEM.rows,
        phases: PHASES,
        routers: { replica: REPLICA, bi: '{ kind: file, path: bi.json }' },
        more: LAX,
      });
      writeFileSync(file('read'), 'source');
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    entry('readers-refused', async (play) => {
      const sees = async (phase: string) => {
        const answer = await move('cutover', phase);
        expect(answer.exitCode).toBe(4);
        play.sees(answer.text);
      };
      await sees('plain');
      const [before] = await runSql(scene.source, `SELECT doc FROM switchback.phase WHERE name = 'all'`);
      const setState = async (doc: unknown) =>
        await runSql(scene.source, `UPDATE switchback.phase SET doc = '${doc}' WHERE name = 'all'`);
      await setState('{"name":"following","since":"2026-01-01T00:00:00Z"}');
      await sees('all');
      await setState(before?.doc);
      await halt(PLANTED);
      await sees('all');
      await halt('NULL');
      expect(await play.does(scene)).toMatch(/replica +all +readers +source/);
    });

    entry('readers-half-way', async (play) => {
      for (const at of [0, 1]) {
        writeFileSync(file('faulty'), '');
        const answer = await move('cutover');
        expect(answer.exitCode).toBe(6);
        play.sees(answer.text);
        play.sees(await status());
        rmSync(file('faulty'));
        await play.does(scene, { at });
        expect(await status()).toMatch(at === 0 ? /replica +all +readers +target/ : /replica +all +readers +source/);
        await moved('failback');
      }
    });

    entry('readers-old', async (play) => {
      await moved('cutover');
      await halt(PLANTED);
      play.sees(await status());
      await play.does(scene);
      expect(await status()).not.toContain('may be old');
      await halt('NULL');
    });

    entry('readers-strayed', async (play) => {
      writeFileSync(file('read'), 'target');
      play.sees(await status());
      await play.does(scene);
      expect(await status()).toMatch(/replica +all +readers +source/);
    });

    entry('readers-on-source', async (play) => {
      expect(await confirmed(scene, 'cutover', 'one')).toMatchObject({ exitCode: 0 });
      const refused = await say(scene.run, 'finalise', scene.run.plan, 'one', '--early', '--confirm', 'one');
      expect(refused.exitCode).toBe(4);
      play.sees(refused.text);
      await play.does(scene, { PHASE: 'one' });
      const proof = '[{"router":"bi","phase":"one","verdict":"unproven","said":"planted"}]';
      await runSql(
        scene.source,
        `UPDATE switchback.run SET facts = jsonb_set(facts::jsonb, '{readers,one,proof}', '${proof}')`,
      );
      const unseen = await say(scene.run, 'finalise', scene.run.plan, 'one', '--early', '--confirm', 'one');
      expect(unseen.exitCode).toBe(4);
      play.sees(unseen.text);
      await play.does(scene, { PHASE: 'one' });
      const ended = await say(scene.run, 'finalise', scene.run.plan, 'one', '--early', '--confirm', 'one');
      expect(ended, ended.text).toMatchObject({ exitCode: 0 });
    });

    entry('rebuild-readers', async (play) => {
      const lost = await makeScene(servers(), {
        name: 'lost_readers',
        ...ITEM,
        phases: [{ name: 'all', tables: ['public.*'], reads: 'bi' }],
        routers: { bi: '{ kind: file, path: bi.json }' },
        more: LAX,
      });
      await untilReady(lost);
      const routeFile = join(lost.run.directory, 'bi.json');
      const lead = (primary: string) => writeFileSync(routeFile, JSON.stringify({ all: { primary, held: false } }));
      const damage = async () => {
        await runSql(lost.source, `UPDATE switchback.phase SET doc = '{"name":"copying"}'`);
        await runSql(lost.target, 'DROP SCHEMA switchback CASCADE');
      };
      const rows = async () => await runSql(lost.target, 'SELECT count(*)::int AS n FROM item');
      const before = await rows();
      lead('target');
      await damage();
      const refused = await say(lost.run, 'resume', lost.run.plan, '--rebuild', '--confirm', 'test');
      expect(refused, refused.text).toMatchObject({ exitCode: 4 });
      expect(refused.text).toContain('router bi leads readers of phase all to the target');
      expect(await rows()).toEqual(before);
      play.sees(refused.text);
      lead('source');
      expect(await play.does(lost)).toContain('led by router bi, to the source');
      expect(await play.does(lost, { at: 1 })).toContain("the target's tables are emptied and copied anew");
      await untilReady(lost);
      await damage();
      const needless = await say(lost.run, 'resume', lost.run.plan, '--rebuild', '--readers', 'bi=source');
      expect(needless).toMatchObject({ exitCode: 2, text: expect.stringContaining('that router answers') });
      writeFileSync(routeFile, '{ half a file');
      const silent = await say(lost.run, 'resume', lost.run.plan, '--rebuild', '--confirm', 'test');
      expect(silent).toMatchObject({ exitCode: 4, text: expect.stringContaining('state that: --readers bi=source') });
      expect(await rows()).toEqual(before);
      const stated = await play.does(lost, { at: 2, ROUTER: 'bi' });
      expect(stated).toContain('led by router bi, which leads nobody to the target, as you have stated');
      await lost.close();
    });

    entry('readers-not-back', async (play) => {
      await moved('cutover');
      writeFileSync(file('stuck'), '');
      const refused = await confirmed(scene, 'abort');
      expect(refused.exitCode).toBe(4);
      play.sees(refused.text);
      expect(await stateOf(scene, 'all')).toBe('ready');
      rmSync(file('stuck'));
      await play.does(scene);
      expect(await stateOf(scene, 'all')).toBe('aborted');
    });
  });
};
