import { afterEach, describe, expect, it } from 'vitest';
import { untilEqualSides } from '../support/rows.ts';
import { makeScene, outcomeOf, type Scene, saidBy } from '../support/scene.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/** Nothing is applied under a schema that we do not know, and nothing switches that was not copied (S13, fault 63). */
const servers = useServerPair();
const SCHEMA = `
  CREATE TABLE item (id bigint PRIMARY KEY, name text);
  CREATE TABLE reading (id bigint, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
  CREATE TABLE reading_1 PARTITION OF reading FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');`;
const ROWS = `
  INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 100) n;
  INSERT INTO reading SELECT n, '2024-01-05' FROM generate_series(1, 50) n;`;

let scene: Scene;
afterEach(async () => await scene?.close());

const command = (...args: readonly string[]) => {
  const [name = '', ...more] = args;
  return scene.run.command(name, scene.run.plan, ...more);
};
const cutover = () => command('cutover', 'all', '--confirm', 'all');
const failback = () => command('failback', 'all', '--confirm', 'all');
const begin = async () => {
  scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS });
  const worker = scene.worker();
  await worker.untilState('ready', 'all');
  return worker;
};

const expectEqual = async (): Promise<void> => {
  await untilEqualSides(scene);
  expect(await command('verify', 'all')).toMatchObject({ exitCode: 0 });
};

interface LaneView {
  readonly phases: readonly { readonly lane: { readonly halt: { readonly finding: Record<string, string> } | null } }[];
}
const halt = async () => ((await command('status')).json as unknown as LaneView).phases[0]?.lane.halt?.finding;

describe('a column that is added on the source', () => {
  it('halts the lane, blocks the cutover, and loses nothing once the target has it too', async () => {
    const worker = await begin();
    await runSql(
      scene.source,
      `ALTER TABLE item ADD COLUMN price numeric; UPDATE item SET price = id * 1.5 WHERE id <= 10`,
    );
    await worker.until((w) => w.events.some((event) => event.type === 'halted'));
    expect(await halt()).toMatchObject({
      id: 'lane/schema-changed',
      subject: 'public.item',
      remedy: expect.stringContaining('resume'),
    });
    const refused = await cutover();
    expect(refused).toMatchObject({ exitCode: 3 });
    expect(saidBy(refused).message).toContain('lane all/forward is halted');
    await runSql(scene.source, `INSERT INTO item VALUES (500, 'while halted', 3.25); DELETE FROM item WHERE id = 20`);
    await command('resume', 'all');
    await expect.poll(halt, { timeout: 20_000 }).toMatchObject({ id: 'lane/schema-changed' });

    await runSql(scene.target, 'ALTER TABLE item ADD COLUMN price numeric');
    expect(await command('resume', 'all')).toMatchObject({ exitCode: 0 });
    await expectEqual();
    // The digests have to know the new column, or a difference in it would be proven away.
    const [row] = await runSql(scene.target, 'SELECT price::text FROM item WHERE id = 10');
    expect(row).toEqual({ price: '15.0' });
    await runSql(scene.target, 'SET session_replication_role = replica; UPDATE item SET price = 99 WHERE id = 11');
    expect(await command('verify', 'all')).toMatchObject({ exitCode: 3 });
    await runSql(scene.target, 'SET session_replication_role = replica; UPDATE item SET price = NULL WHERE id = 11');
    expect(await command('resume', 'all')).toMatchObject({ exitCode: 0 });
    expect(await cutover()).toMatchObject({ exitCode: 0 });
    await runSql(scene.target, `INSERT INTO item VALUES (501, 'after', 1)`);
    await expect
      .poll(() => runSql(scene.source, 'SELECT price::text FROM item WHERE id = 501'))
      .toEqual([{ price: '1' }]);
  });
});

describe('a column that is added on the target while it soaks', () => {
  it('halts the way back until the source has it too', async () => {
    const worker = await begin();
    expect(await cutover()).toMatchObject({ exitCode: 0 });
    await runSql(scene.target, `ALTER TABLE item ADD COLUMN price numeric; UPDATE item SET price = 2 WHERE id <= 10`);
    await worker.until((w) => w.events.some((event) => event.type === 'halted'));
    expect(await failback()).toMatchObject({ exitCode: 3 });
    await runSql(scene.source, 'ALTER TABLE item ADD COLUMN price numeric');
    expect(await command('resume', 'all')).toMatchObject({ exitCode: 0 });
    expect(await failback()).toMatchObject({ exitCode: 0 });
    await runSql(scene.source, `INSERT INTO item VALUES (502, 'back', 4)`);
    await expectEqual();
  });
});

describe('a table that comes after the phase was prepared', () => {
  it('blocks the cutover until it is gone, also after the worker was started again', async () => {
    const worker = await begin();
    await runSql(scene.source, `CREATE TABLE latecomer (id bigint PRIMARY KEY); INSERT INTO latecomer VALUES (1)`);
    await runSql(scene.target, `CREATE TABLE latecomer (id bigint PRIMARY KEY)`);
    const expectFound = async () => {
      const refused = await cutover();
      expect(refused).toMatchObject({ exitCode: 3 });
      expect(saidBy(refused).message).toMatch(/public\.latecomer: came after phase all was prepared/);
      const check = await command('check');
      expect(check).toMatchObject({ exitCode: 3 });
      expect(check.json.findings).toContainEqual(
        expect.objectContaining({
          id: 'plan/new-table',
          subject: 'public.latecomer',
          // An aborted phase does not begin again in its run.
          remedy: expect.stringContaining(
            `switchback abort ${scene.run.plan} all --confirm all; a new run copies it anew`,
          ),
        }),
      );
    };
    await expectFound();
    await worker.stop();
    await scene.worker().until((w) => w.events.some((event) => event.type === 'lag'));
    await expectFound();
    expect(scene.run.route('all')).toMatchObject({ primary: 'source', held: false });
    await runSql(scene.source, 'DROP TABLE latecomer');
    await runSql(scene.target, 'DROP TABLE latecomer');
    expect(await cutover()).toMatchObject({ exitCode: 0 });
  });

  it('of no phase blocks it too', async () => {
    await begin();
    await runSql(scene.source, 'CREATE SCHEMA more; CREATE TABLE more.thing (id bigint PRIMARY KEY)');
    const refused = await cutover();
    expect(refused).toMatchObject({ exitCode: 3 });
    expect(saidBy(refused).message).toMatch(/more\.thing: no phase takes this table/);
  });
});

describe('a partition that comes later', () => {
  const ADD = `CREATE TABLE reading_2 PARTITION OF reading FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')`;

  it('blocks the cutover, and is taken in by resume once both sides have it', async () => {
    const worker = await begin();
    await runSql(scene.source, ADD);
    const refused = await cutover();
    expect(refused).toMatchObject({ exitCode: 3 });
    expect(saidBy(refused).message).toMatch(/public\.reading_2: is a partition of public\.reading that came after/);
    await runSql(scene.source, `INSERT INTO reading SELECT n, '2024-02-05' FROM generate_series(1, 20) n`);
    await worker.until((w) => w.events.some((event) => event.type === 'halted'));

    const early = await command('resume', 'all');
    expect(early).toMatchObject({ exitCode: 4 });
    expect(saidBy(early).message).toBe('the target has no partition public.reading_2');
    await runSql(scene.target, ADD);
    expect(await command('resume', 'all')).toMatchObject({ exitCode: 0 });
    await expectEqual();
    const stray = await scene.session(scene.target);
    expect(await outcomeOf(stray, `INSERT INTO reading_2 VALUES (900, '2024-02-06')`)).toBe('25006');
    expect(await cutover()).toMatchObject({ exitCode: 0 });
    const forgotten = await scene.session(scene.source);
    expect(await outcomeOf(forgotten, `INSERT INTO reading_2 VALUES (901, '2024-02-06')`)).toBe('25006');
    await runSql(scene.target, `INSERT INTO reading VALUES (902, '2024-02-06')`);
    await expect.poll(() => runSql(scene.source, 'SELECT FROM reading_2 WHERE id = 902')).toHaveLength(1);
  });

  it('may be dropped on both sides, and is let go by resume', async () => {
    await begin();
    await runSql(scene.source, ADD);
    await runSql(scene.target, ADD);
    expect(await command('resume', 'all')).toMatchObject({ exitCode: 0 });
    await runSql(scene.source, 'DROP TABLE reading_1');
    const refused = await cutover();
    expect(refused).toMatchObject({ exitCode: 3 });
    expect(saidBy(refused).message).toMatch(/public\.reading_1: phase all was prepared with it/);
    await runSql(scene.target, 'DROP TABLE reading_1');
    expect(await command('resume', 'all')).toMatchObject({ exitCode: 0 });
    expect(await cutover()).toMatchObject({ exitCode: 0 });
  });

  it('is not taken in with rows that no stream has brought', async () => {
    await begin();
    await runSql(
      scene.source,
      `CREATE TABLE reading_2 (LIKE reading INCLUDING ALL); INSERT INTO reading_2 VALUES (1, '2024-02-05')`,
    );
    await runSql(
      scene.source,
      ADD.replace('CREATE TABLE reading_2 PARTITION OF reading', 'ALTER TABLE reading ATTACH PARTITION reading_2'),
    );
    await runSql(scene.target, ADD);
    expect(await command('resume', 'all')).toMatchObject({ exitCode: 0 });
    const refused = await cutover();
    expect(refused).toMatchObject({ exitCode: 3 });
    expect(saidBy(refused).message).toMatch(/public\.reading_2: 1 rows differ/);
  });
});
