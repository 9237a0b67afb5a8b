import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDemo } from '../../src/demo/demo.ts';
import { type Catalogue, catalogueOf } from '../support/catalogue.ts';
import { allRows } from '../support/rows.ts';
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
  const expectEqualSides = async (): Promise<void> => {
    await expect.poll(() => allRows(scene.target), { timeout: 20_000 }).toEqual(await allRows(scene.source));
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
    await expectEqualSides();
  });

  it('is cut over, and the way back is a subscription the other way', async () => {
    await command('cutover');
    expect(await runSql(scene.target, SUBSCRIPTIONS)).toEqual([]);
    expect(await runSql(scene.source, SUBSCRIPTIONS)).toEqual([RUNS, RUNS]);
    await write(scene.target, 'target 1');
    await expectEqualSides();
  });

  it('fails back and loses nothing', async () => {
    await write(scene.target, 'target 2');
    await command('failback');
    await write(scene.source, 'source 2');
    await expectEqualSides();
    expect(await scene.run.command('verify', scene.run.plan, 'a', 'b')).toMatchObject({ exitCode: 0 });
  });

  it('has no marker that comes back', async () => {
    // One for each phase and direction, on both sides.
    const seqs = `SELECT sum((xpath('/row/seq/text()', query_to_xml(format('SELECT seq FROM switchback.%I', relname), true, true, '')))[1]::text::bigint)::int AS seq
      FROM pg_class WHERE relname LIKE 'marker\\_r\\_%' AND relkind = 'r'`;
    const [one] = await runSql(scene.source, seqs);
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(await runSql(scene.source, seqs)).toEqual([one]);
  });

  it('leaves nothing of ours when it is aborted', async () => {
    await command('abort', '--unfence');
    const traces = (catalogue: Catalogue) => ({ ...catalogue, rows: {}, sequences: [] });
    expect(traces(await catalogueOf(scene.source))).toEqual(traces(before.source));
    expect(traces(await catalogueOf(scene.target))).toEqual(traces(before.target));
  });
});
