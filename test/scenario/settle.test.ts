import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeScene, outcomeOf, type Scene } from '../support/scene.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * A switch of two phases that was undone left one of them `switching`, and the other one has moved on by itself since. Whoever
 * settles the old switch must leave that one alone: undoing the old switch for it would lift its fence on the source while
 * its primary is the target, and both sides could be written.
 */
const servers = useServerPair();
const PHASES = [
  { name: 'moved', tables: ['public.moved'] },
  { name: 'left', tables: ['public.left'] },
];

describe('a switch that one of its phases has outlived', () => {
  let scene: Scene;

  beforeAll(async () => {
    scene = await makeScene(servers(), {
      schema: 'CREATE TABLE moved (id int PRIMARY KEY); CREATE TABLE "left" (id int PRIMARY KEY)',
      phases: PHASES,
    });
    const worker = scene.worker();
    await worker.untilState('ready', 'moved', 'left');
    await runSql(
      scene.source,
      `INSERT INTO switchback.switch (id, direction, phases, epoch, doc)
       SELECT 'cutover-old', 'forward', 'moved,left', 1,
              json_build_object('routes', '{}'::json, 'reverseSlots', '{}'::json,
                                'before', json_object_agg(name, doc::json))::text FROM switchback.phase`,
    );
    const cutover = await scene.run.command('cutover', scene.run.plan, 'moved', '--confirm', 'moved');
    expect(cutover).toMatchObject({ exitCode: 0 });
    await worker.stop();
    await runSql(
      scene.source,
      `UPDATE switchback.phase SET doc = '{"name":"switching","switchId":"cutover-old","direction":"forward"}'
       WHERE name = 'left'`,
    );
  });
  afterAll(async () => await scene?.close());

  it('is settled for the other one alone', async () => {
    expect(await scene.run.command('resume', scene.run.plan)).toMatchObject({ exitCode: 0 });
    const states = await runSql(
      scene.source,
      `SELECT name, doc::json ->> 'name' AS state FROM switchback.phase ORDER BY 1`,
    );
    expect(states).toEqual([
      { name: 'left', state: 'ready' },
      { name: 'moved', state: 'soaking' },
    ]);
    expect(scene.run.route('moved').primary).toBe('target');
    const source = await scene.session(scene.source);
    const target = await scene.session(scene.target);
    expect(await outcomeOf(source, 'INSERT INTO moved VALUES (1)')).toBe('25006');
    expect(await outcomeOf(target, 'INSERT INTO moved VALUES (2)')).toBe('done');
    expect(await outcomeOf(source, 'INSERT INTO "left" VALUES (1)')).toBe('done');
    expect(await outcomeOf(target, 'INSERT INTO "left" VALUES (2)')).toBe('25006');
  });
});
