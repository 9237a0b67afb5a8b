import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDemo } from '../../src/demo/demo.ts';
import { sleep } from '../../src/platform/clock.ts';
import { type Catalogue, catalogueOf } from '../support/catalogue.ts';
import { untilEqualSides } from '../support/rows.ts';
import { makeScene, type Scene, saidBy } from '../support/scene.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/** What the engine `native` has to do as a whole; what every lane must do is in `test/contract/native-lane.test.ts`. */
const servers = useServerPair({ wal_retrieve_retry_interval: '200ms' });
const MORE = 'engine: native\nswitch: { window: 30s, max_lag: 20s }';

const SUBSCRIPTIONS = `SELECT subenabled AS enabled FROM pg_subscription
  WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`;

const RUNS = { enabled: true };

it('the demo: four switches under the writes of six clients, and nothing lost', { timeout: 300_000 }, async () => {
  const result = await runDemo({
    rows: 20_000,
    clients: 6,
    engine: 'native',
    keep: false,
    script: fileURLToPath(new URL('../../src/main.ts', import.meta.url)),
    tell: () => undefined,
  });
  expect(result).toMatchObject({ ok: true, lost: 0, duplicated: 0, reordered: 0, phantom: 0, mismatches: 0 });
  expect(result.switches).toHaveLength(4);
  expect(result.acknowledged).toBeGreaterThan(1_000);
});

/** Into a phase on each side. */
const write2 = async (scene: Scene): Promise<void> => {
  await runSql(scene.target, `INSERT INTO a (at) VALUES ('on the target')`);
  await runSql(scene.source, `INSERT INTO b VALUES ('on the source')`);
};

describe('a run', () => {
  let scene: Scene;
  let before: { readonly source: Catalogue; readonly target: Catalogue };

  const command = async (name: string, ...more: readonly string[]): Promise<void> => {
    const answer = await scene.run.command(name, scene.run.plan, 'a', 'b', ...more, '--confirm', 'a,b');
    expect({ exitCode: answer.exitCode, said: answer.exitCode === 0 ? null : saidBy(answer) }).toEqual({
      exitCode: 0,
      said: null,
    });
  };
  const write = async (url: string, at: string): Promise<void> => {
    await runSql(
      url,
      `INSERT INTO a (at) SELECT '${at}' FROM generate_series(1, 50); UPDATE a SET at = '${at} again' WHERE id % 3 = 0;
       INSERT INTO b VALUES ('${at}'); DELETE FROM a WHERE id % 7 = 0; INSERT INTO part VALUES (1, '${at}'), (2, '${at}')`,
    );
  };

  beforeAll(async () => {
    scene = await makeScene(servers(), {
      schema: `CREATE TABLE a (id serial PRIMARY KEY, at text); CREATE TABLE b (line text);
        ALTER TABLE b REPLICA IDENTITY FULL; CREATE TABLE part (k int, at text, PRIMARY KEY (k, at)) PARTITION BY LIST (k);
        CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1); CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2)`,
      rows: `INSERT INTO a (at) SELECT 'begin' FROM generate_series(1, 1000); INSERT INTO b VALUES ('begin')`,
      phases: [
        { name: 'a', tables: ['public.a'] },
        { name: 'b', tables: ['public.*'] },
      ],
      more: MORE,
    });
    before = { source: await catalogueOf(scene.source), target: await catalogueOf(scene.target) };
    await scene.worker().untilState('ready', 'a', 'b');
  });
  afterAll(async () => await scene?.close());

  it('follows by a subscription of each phase', async () => {
    await expect.poll(() => runSql(scene.target, SUBSCRIPTIONS), { timeout: 20_000 }).toEqual([RUNS, RUNS]);
    await write(scene.source, 'source 1');
    await untilEqualSides(scene);
  });

  it('is cut over, and the way back is a subscription the other way', async () => {
    await command('cutover');
    expect(await runSql(scene.target, SUBSCRIPTIONS)).toEqual([]);
    expect(await runSql(scene.source, SUBSCRIPTIONS)).toEqual([RUNS, RUNS]);
    await write(scene.target, 'target 1');
    await untilEqualSides(scene);
  });

  it('fails back and loses nothing', async () => {
    await write(scene.target, 'target 2');
    await command('failback');
    await write(scene.source, 'source 2');
    await untilEqualSides(scene);
    expect(await scene.run.command('verify', scene.run.plan, 'a', 'b')).toMatchObject({ exitCode: 0 });
  });

  it('has phases on different sides, and no marker goes round between them', async () => {
    const only = async (kind: string) =>
      expect(await scene.run.command(kind, scene.run.plan, 'a', '--confirm', 'a')).toMatchObject({ exitCode: 0 });
    await only('cutover');
    await write2(scene);
    const updates = async (): Promise<number> => {
      const sql = `SELECT coalesce(sum(n_tup_upd), 0)::int AS n FROM pg_stat_user_tables WHERE relname ~ '^marker'`;
      const [[source], [target]] = await Promise.all([runSql(scene.source, sql), runSql(scene.target, sql)]);
      return Number(source?.n) + Number(target?.n);
    };
    const before = await updates();
    await sleep(3_000);
    // Two lanes with a marker a second, each written on one side and seen on the other; one that went round would be hundreds.
    expect((await updates()) - before).toBeLessThan(60);
    await only('failback');
    await untilEqualSides(scene);
  });

  it('leaves nothing of ours when it is aborted', async () => {
    await command('abort', '--unfence');
    const traces = (catalogue: Catalogue) => ({ ...catalogue, rows: {}, sequences: [] });
    expect(traces(await catalogueOf(scene.source))).toEqual(traces(before.source));
    expect(traces(await catalogueOf(scene.target))).toEqual(traces(before.target));
  });
});
