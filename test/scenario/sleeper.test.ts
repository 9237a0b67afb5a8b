import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Composition } from '../../src/compose.ts';
import { slotName } from '../../src/stages/names.ts';
import { retireUnusedSlot } from '../../src/stages/slots.ts';
import { Worker } from '../../src/stages/worker.ts';
import { makeScene, outcomeOf, type Scene } from '../support/scene.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * What the model found (test/model): effects outside of the two databases do not know epochs, so whoever slept through a
 * take-over has to look at the lease around them; and B must not wait for a router that somebody has edited.
 * A take-over is played by raising the epoch of the lease, which is what tells the sleeper.
 */
const servers = useServerPair();
const TAKE_OVER = 'UPDATE switchback.lease SET epoch = epoch + 1';
const CUTOVER = { command: 'cutover', phases: ['item'], options: {}, by: 'test' } as const;

describe('a worker that slept through a take-over', () => {
  let scene: Scene;
  let composition: Composition | null = null;
  let worker: Worker | null = null;

  beforeAll(async () => {
    scene = await makeScene(servers(), {
      schema: 'CREATE TABLE item (id int PRIMARY KEY)',
      phases: [{ name: 'item', tables: ['public.item'] }],
    });
    const first = scene.worker();
    await first.untilState('ready', 'item');
    await first.stop();
  });
  afterEach(async () => await close());
  afterAll(async () => await scene?.close());

  const close = async (): Promise<void> => {
    await worker?.close();
    await composition?.close();
    worker = null;
    composition = null;
  };

  /** A worker in this process whose router calls `atHold` around a hold. */
  const openWorker = async (atHold: (hold: () => Promise<void>) => Promise<void>): Promise<Worker> => {
    composition = await scene.run.compose();
    const router = composition.context.routers.get('app');
    if (!router) throw new Error('no router');
    const hold = router.hold.bind(router);
    router.hold = async (phases, budgetMs) => await atHold(() => hold(phases, budgetMs));
    worker = await Worker.open(composition.context);
    await worker.ensureLane(worker.find(['item'])[0] ?? raise('no phase'));
    return worker;
  };

  const raise = (text: string): never => {
    throw new Error(text);
  };

  it('lets clients go on whom it held too late', async () => {
    let heldOnce = false;
    const asleep = await openWorker(async (hold) => {
      await runSql(scene.source, TAKE_OVER);
      await hold();
      heldOnce = scene.run.route('item').held;
    });
    await asleep.execute(CUTOVER).catch(() => undefined);
    expect(heldOnce).toBe(true);
    expect(scene.run.route('item').held).toBe(false);
    await close();
    expect(await scene.run.command('resume', scene.run.plan)).toMatchObject({ exitCode: 0 });
  });

  it('does not drop the slot of the newer worker', async () => {
    const asleep = await openWorker((hold) => hold());
    await runSql(scene.target, `SELECT pg_create_logical_replication_slot('switchback_newer', 'pgoutput')`);
    await runSql(scene.source, TAKE_OVER);
    await runSql(scene.source, `UPDATE switchback.lane SET slot = 'switchback_newer' WHERE name = 'item/reverse'`);
    await expect(retireUnusedSlot(asleep, 'item', 'reverse')).rejects.toMatchObject({ kind: 'deposed' });
    const slots = `SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'switchback_newer'`;
    expect(await runSql(scene.target, slots)).toHaveLength(1);
    await close();
    await runSql(scene.target, `SELECT pg_drop_replication_slot('switchback_newer')`);
  });

  it('a slot that it made right before it died is shown, and dropped by whoever comes next', async () => {
    const orphan = async (direction: 'forward' | 'reverse'): Promise<string> => {
      composition ??= await scene.run.compose();
      return slotName(composition.context, 'item', { direction, generation: 'cutover-1' });
    };
    const isThere = async (url: string, slot: string): Promise<boolean> =>
      (await runSql(url, `SELECT FROM pg_replication_slots WHERE slot_name = '${slot}'`)).length > 0;
    const made = { source: await orphan('forward'), target: await orphan('reverse') };
    for (const side of ['source', 'target'] as const) {
      await runSql(scene[side], `SELECT pg_create_logical_replication_slot('${made[side]}', 'pgoutput')`);
    }
    const remedy = `switchback resume ${scene.run.plan}`;
    const { json } = await scene.run.command('status', scene.run.plan);
    expect(json.orphans).toEqual([
      { phase: 'item', side: 'source', slot: made.source, remedy },
      { phase: 'item', side: 'target', slot: made.target, remedy },
    ]);
    expect(await scene.run.command('resume', scene.run.plan)).toMatchObject({ exitCode: 0 });
    expect([await isThere(scene.source, made.source), await isThere(scene.target, made.target)]).toEqual([
      false,
      false,
    ]);
    expect((await scene.run.command('status', scene.run.plan)).json.orphans).toEqual([]);
  });

  it('a switch that has committed lifts B although somebody edited the router, then parks', async () => {
    const at = await openWorker(async (hold) => {
      await hold();
      const file = scene.run.routeFile;
      const routes = JSON.parse(readFileSync(file, 'utf8')) as { item: object };
      // Somebody's own repoint, as far as the route file can tell.
      writeFileSync(file, JSON.stringify({ ...routes, item: { ...routes.item, epoch: 77 } }));
    });
    const answer = await at.execute(CUTOVER);
    expect(answer, answer.message).toMatchObject({ exitCode: 6 });
    const source = await scene.session(scene.source);
    const target = await scene.session(scene.target);
    expect(await outcomeOf(source, 'INSERT INTO item VALUES (1)')).toBe('25006');
    expect(await outcomeOf(target, 'INSERT INTO item VALUES (2)')).toBe('done');
    await close();
    // The person who was asked to mend it leads it to where the switch has gone.
    const file = scene.run.routeFile;
    const routes = JSON.parse(readFileSync(file, 'utf8')) as { item: object };
    writeFileSync(file, JSON.stringify({ ...routes, item: { ...routes.item, primary: 'target' } }));
    expect(await scene.run.command('resume', scene.run.plan)).toMatchObject({ exitCode: 0 });
    expect(scene.run.route('item')).toMatchObject({ primary: 'target', held: false });
  });
});
