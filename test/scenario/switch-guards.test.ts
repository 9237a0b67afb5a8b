import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeRun, type TestRunOptions } from '../support/run.ts';
import { makeScene, outcomeOf, type Scene, saidBy } from '../support/scene.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/** Every refusal has its exit code, says why, names what to do, and changes nothing. */
const servers = useServerPair();
const SCHEMA = `
  CREATE TABLE product (id bigint PRIMARY KEY, name text);
  CREATE TABLE purchase (id bigint PRIMARY KEY, note text);
  CREATE TABLE shipment (id bigint PRIMARY KEY);`;
const ROWS = `
  INSERT INTO product SELECT n, 'product ' || n FROM generate_series(1, 100) n;
  INSERT INTO purchase SELECT n, 'purchase ' || n FROM generate_series(1, 100) n;`;
const PHASES: TestRunOptions['phases'] = [
  { name: 'catalog', tables: ['public.product'] },
  { name: 'orders', tables: ['public.purchase'], after: ['catalog'] },
  { name: 'ships', tables: ['public.shipment'], after: ['orders'] },
];

describe('guards of a run of three phases', () => {
  let scene: Scene;
  const command = (...args: readonly string[]) => scene.run.command(...args);
  const confirmed = (name: string, ...phases: readonly string[]) =>
    command(name, scene.run.plan, ...phases, '--confirm', phases.join(','));

  beforeAll(async () => {
    scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS, phases: PHASES });
  });
  afterAll(async () => await scene?.close());

  it('refuse every command but run before there is a run', async () => {
    for (const name of ['cutover', 'failback', 'finalise', 'abort']) {
      const answer = await confirmed(name, 'catalog');
      expect(answer).toMatchObject({ exitCode: 4 });
      expect(saidBy(answer)).toEqual({
        message: 'no run has been begun on these databases',
        remedy: expect.stringContaining(`switchback run ${scene.run.plan}`),
      });
    }
  });

  it('refuse the cutover of a phase that is not ready, at once', async () => {
    // A transaction that writes keeps the slot from being made, so that the phases stay planned.
    const writer = await scene.session(scene.source);
    await writer.query('BEGIN; SELECT txid_current()');
    const worker = scene.worker();
    await worker.until((w) => w.events.some((event) => event.type === 'step' && event.step === 'slot'));
    const answer = await confirmed('cutover', 'catalog');
    expect(answer).toMatchObject({ exitCode: 4 });
    expect(saidBy(answer).message).toMatch(/phase catalog is planned; a cutover needs it to be ready/);
    const verify = await command('verify', scene.run.plan, 'catalog');
    expect(verify).toMatchObject({ exitCode: 4 });
    await writer.query('ROLLBACK');
    await worker.untilState('ready', 'catalog', 'orders', 'ships');
  });

  it('refuse an unknown phase and say which there are', async () => {
    for (const name of ['cutover', 'failback', 'finalise', 'abort', 'verify', 'resume', 'show']) {
      const answer = ['verify', 'resume', 'show'].includes(name)
        ? await command(name, scene.run.plan, 'nosuch')
        : await confirmed(name, 'nosuch');
      expect({ name, exitCode: answer.exitCode }).toEqual({ name, exitCode: 2 });
      expect(saidBy(answer).remedy).toContain('catalog, orders, ships');
    }
  });

  it('refuse what was not confirmed, naming the flag', async () => {
    const asked = await runSql(scene.source, 'SELECT FROM switchback.request');
    for (const name of ['cutover', 'failback', 'finalise', 'abort']) {
      const unconfirmed = await command(name, scene.run.plan, 'catalog');
      expect(unconfirmed).toMatchObject({ exitCode: 2 });
      expect(saidBy(unconfirmed).remedy).toContain('--confirm catalog');
      const wrong = await command(name, scene.run.plan, 'catalog', '--confirm', 'orders');
      expect(wrong).toMatchObject({ exitCode: 2 });
      expect(saidBy(wrong).remedy).toContain('--confirm catalog');
    }
    expect(await runSql(scene.source, 'SELECT FROM switchback.request')).toHaveLength(asked.length);
  });

  it('refuse the failback and finalise of a phase that is not soaking', async () => {
    const failback = await confirmed('failback', 'catalog');
    expect(failback).toMatchObject({ exitCode: 4 });
    expect(saidBy(failback).message).toMatch(/catalog is ready; only a soaking phase can fail back/);
    const finalise = await confirmed('finalise', 'catalog');
    expect(finalise).toMatchObject({ exitCode: 4 });
    expect(saidBy(finalise).message).toMatch(/catalog is ready; only a soaking phase can be finalised/);
  });

  it('refuse a phase before the one that it comes after', async () => {
    const answer = await confirmed('cutover', 'orders');
    expect(answer).toMatchObject({ exitCode: 4 });
    expect(saidBy(answer).message).toBe('phase orders comes after catalog, which is ready');
    expect(saidBy(answer).remedy).toContain('catalog orders');
  });

  it('switch two phases in one window, with one commit record', async () => {
    expect(await confirmed('cutover', 'catalog', 'orders')).toMatchObject({ exitCode: 0 });
    expect(
      await runSql(
        scene.source,
        'SELECT phases, outcome FROM switchback.switch s JOIN switchback.outcome o ON o.switch_id = s.id',
      ),
    ).toEqual([{ phases: 'catalog,orders', outcome: 'committed' }]);
    const fences = await runSql(
      scene.source,
      `SELECT tgrelid::regclass::text AS table, xmin::text AS transaction FROM pg_trigger
       WHERE tgname = 'switchback_fence' ORDER BY 1`,
    );
    expect(fences.map((row) => row.table)).toEqual(['product', 'purchase']);
    expect(new Set(fences.map((row) => row.transaction)).size).toBe(1);
    for (const phase of ['catalog', 'orders'])
      expect(scene.run.route(phase)).toMatchObject({ primary: 'target', held: false });
    expect(scene.run.route('ships')).toMatchObject({ primary: 'source', held: false });
    expect(await outcomeOf(await scene.session(scene.source), 'INSERT INTO shipment VALUES (1)')).toBe('done');
  });

  it('refuse an abort after the cutover and offer the failback', async () => {
    for (const phases of [['catalog'], ['catalog', 'ships'], ['ships', 'catalog']]) {
      const answer = await confirmed('abort', ...phases);
      expect(answer).toMatchObject({ exitCode: 4 });
      expect(saidBy(answer).message).toBe('phase catalog has been cut over; there is nothing left to abort');
      expect(saidBy(answer).remedy).toContain(`switchback failback ${scene.run.plan} catalog`);
    }
    const all = await command('abort', scene.run.plan, '--confirm', 'test');
    expect(all).toMatchObject({ exitCode: 4 });
    expect(await outcomeOf(await scene.session(scene.source), 'INSERT INTO shipment VALUES (2)')).toBe('done');
  });

  it('refuse a second cutover', async () => {
    const answer = await confirmed('cutover', 'catalog');
    expect(answer).toMatchObject({ exitCode: 4 });
    expect(saidBy(answer)).toMatchObject({
      message: expect.stringContaining('catalog is soaking'),
      remedy: expect.stringContaining('cut over already'),
    });
  });

  it('refuse to finalise before the soak is over, unless told so', async () => {
    const answer = await confirmed('finalise', 'orders');
    expect(answer).toMatchObject({ exitCode: 4 });
    expect(saidBy(answer)).toMatchObject({
      message: expect.stringMatching(/phase orders soaks for another 72\.0 h/),
      remedy: expect.stringContaining('--early'),
    });
    expect(await command('finalise', scene.run.plan, 'orders', '--early', '--confirm', 'orders')).toMatchObject({
      exitCode: 0,
    });
  });

  it('refuse a failback after that, and an abort', async () => {
    const failback = await confirmed('failback', 'orders');
    expect(failback).toMatchObject({ exitCode: 4 });
    expect(saidBy(failback).message).toBe('phase orders is finalised: its way back was given up');
    expect(await confirmed('abort', 'orders')).toMatchObject({ exitCode: 4 });
    expect(await confirmed('failback', 'catalog')).toMatchObject({ exitCode: 0 });
  });
});

describe('a changed plan', () => {
  let scene: Scene;
  const change = (from: string, to: string): void => {
    const text = readFileSync(scene.run.plan, 'utf8');
    expect(text).toContain(from);
    writeFileSync(scene.run.plan, text.replace(from, to));
  };
  const run = async (...args: readonly string[]) => {
    const terminal = scene.terminal('run', scene.run.plan, '--until', 'ready', ...args);
    return { exitCode: await terminal.ended, text: terminal.text() };
  };

  beforeAll(async () => {
    scene = await makeScene(servers(), {
      schema: SCHEMA,
      rows: ROWS,
      phases: PHASES,
      more: 'switch: { window: 30s, max_lag: 20s }\nverify: { fresh_for: 1h }',
    });
    expect(await run()).toMatchObject({ exitCode: 0 });
  });
  afterAll(async () => await scene?.close());

  it('is refused by every command with the difference, and goes on when its hash is accepted', async () => {
    change('window: 30s', 'window: 40s');
    change('fresh_for: 1h', 'fresh_for: 2h');
    for (const args of [['check'], ['cutover', 'catalog', '--confirm', 'catalog'], ['resume']]) {
      const [name = '', ...rest] = args;
      const answer = await scene.run.command(name, scene.run.plan, ...rest);
      expect(answer).toMatchObject({ exitCode: 4 });
      expect(saidBy(answer).message).toMatch(/switch\.window: \S*30\S* → \S*40\S*/);
      expect(saidBy(answer).message).toMatch(/verify\.fresh_for: \S+ → \S+/);
    }
    const refused = await run();
    expect(refused.exitCode).toBe(4);
    const hash = /--accept-plan ([0-9a-f]{12})/.exec(refused.text)?.[1] ?? '';
    expect(await run('--accept-plan', '000000000000')).toMatchObject({ exitCode: 2 });
    expect(await run('--accept-plan', hash)).toMatchObject({ exitCode: 0 });
    expect(await scene.run.command('check', scene.run.plan)).toMatchObject({ exitCode: 0 });
  });

  it('is refused even so when it moves a table', async () => {
    change('["public.shipment"]', '["public.shipment", "public.nosuch"]');
    const refused = await run();
    expect(refused.exitCode).toBe(4);
    const hash = /--accept-plan ([0-9a-f]{12})/.exec(refused.text)?.[1] ?? '';
    const still = await run('--accept-plan', hash);
    expect(still.exitCode).toBe(4);
    expect(still.text).toContain('phases.ships.tables');
    change('["public.shipment", "public.nosuch"]', '["public.shipment"]');
    expect(await scene.run.command('check', scene.run.plan)).toMatchObject({ exitCode: 0 });
  });
});

describe('the wrong database', () => {
  let scene: Scene;
  const others: { remove(): void }[] = [];
  const otherRun = (source: string, target: string) => {
    const run = makeRun({ source, target, phases: PHASES, more: 'switch: { window: 30s, max_lag: 20s }' });
    others.push(run);
    return run;
  };

  beforeAll(async () => {
    scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS, phases: PHASES });
    expect(await scene.terminal('run', scene.run.plan, '--until', 'ready').ended).toBe(0);
  });
  afterAll(async () => {
    for (const other of others) other.remove();
    await scene?.close();
  });

  it('is refused when source and target are one, under whatever name', async () => {
    const alias = new URL(scene.source);
    alias.hostname = alias.hostname === 'localhost' ? '127.0.0.1' : 'localhost';
    for (const name of ['check', 'run']) {
      const answer = await otherRun(scene.source, alias.href).command(name, others.length > 0 ? planOf() : '');
      expect(answer).toMatchObject({ exitCode: 4 });
      expect(saidBy(answer).message).toContain('source and target are the same database');
    }
  });

  it('is refused when the sides are swapped', async () => {
    const swapped = otherRun(scene.target, scene.source);
    for (const args of [
      ['check', swapped.plan],
      ['run', swapped.plan],
      ['cutover', swapped.plan, 'catalog', '--confirm', 'catalog'],
    ]) {
      const answer = await swapped.command(...args);
      expect(answer).toMatchObject({ exitCode: 4 });
      expect(saidBy(answer)).toMatchObject({
        message: expect.stringMatching(/the plan's source is the target of run/),
        remedy: expect.stringContaining('swapped'),
      });
    }
  });

  it('is refused when it is a copy of one of the two', async () => {
    const copy = await createDatabase(servers().target, 'restored');
    await runSql(copy, SCHEMA);
    // What a restored dump of the target brings along, as far as this matters.
    await runSql(copy, 'CREATE SCHEMA switchback');
    const [row] = await runSql(scene.target, 'SELECT * FROM switchback.run');
    await runSql(
      copy,
      `CREATE TABLE switchback.run AS SELECT * FROM json_to_record($json$${JSON.stringify(row)}$json$)
         AS r(id text, side text, plan_name text, plan_hash text, plan text, identity text, peer text, version text,
              created_at timestamptz, facts text)`,
    );
    const restored = otherRun(scene.source, copy);
    for (const name of ['check', 'run']) {
      const answer = await restored.command(name, restored.plan);
      expect(answer).toMatchObject({ exitCode: 4 });
      expect(saidBy(answer)).toMatchObject({
        message: expect.stringMatching(/began on postgresql:.*; the target is now postgresql:/),
        remedy: expect.stringContaining('a restored copy cannot take its place'),
      });
    }
  });

  it('is refused when it belongs to another run, or to none', async () => {
    const empty = await createDatabase(servers().target, 'empty_target');
    await runSql(empty, SCHEMA);
    const answer = await otherRun(scene.source, empty).command('run', planOf());
    expect(answer).toMatchObject({ exitCode: 4 });
    expect(saidBy(answer).message).toMatch(/^run \w+ began with postgresql:.* as its target; it is now postgresql:/);
    expect(await runSql(empty, `SELECT FROM pg_namespace WHERE nspname = 'switchback'`)).toEqual([]);
  });

  const planOf = (): string => (others.at(-1) as { plan?: string } | undefined)?.plan ?? '';
});
