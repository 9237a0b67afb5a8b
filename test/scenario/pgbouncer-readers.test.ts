import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Pooler } from '../../src/demo/poolers.ts';
import type { Side } from '../../src/domain/position.ts';
import { Worker } from '../../src/stages/worker.ts';
import { openClient } from '../support/clients.ts';
import { askHere, startDoomed, writableSides } from '../support/crash-points.ts';
import { askWithFaults } from '../support/failing-routers.ts';
import { describeWithPoolers } from '../support/pgbouncer.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * Readers behind a pooler of their own: they are led to the target before the writers and back after them, while one of them
 * reads on a connection that it never gives up.
 */
const servers = useServerPair();
const SLOW_MS = 120_000;
const NAME = 'pooled_readers';

describeWithPoolers('readers behind a PgBouncer of their own', (makePooler) => {
  let writers: Pooler;
  let readers: Pooler;
  let scenario: Scenario;
  const entryOf = (side: Side): string =>
    `shop = host=127.0.0.1 port=${servers()[side].port} dbname=${NAME} pool_size=5\n`;
  const routerOf = (pooler: Pooler, variable: string): string => {
    process.env[variable] = pooler.admin;
    return `{ kind: pgbouncer, admin: "\${${variable}}", config: ${JSON.stringify(pooler.config)}, database: shop }`;
  };
  const sideOf = async (pooler: Pooler): Promise<Side> => {
    const [row] = await runSql(pooler.urlFor('shop'), 'SELECT inet_server_port() AS port');
    return row?.port === servers().source.port ? 'source' : 'target';
  };
  const now = async () => ({ writers: await sideOf(writers), readers: await sideOf(readers) });
  const move = async (command: 'cutover' | 'failback' | 'cutover --reads' | 'failback --reads'): Promise<void> =>
    expect(await askWithFaults(scenario.run, { command }, [])).toMatchObject({ exitCode: 0 });

  beforeAll(async () => {
    writers = await makePooler({ mode: 'transaction', entries: entryOf('source') });
    readers = await makePooler({ mode: 'transaction', entries: entryOf('source') });
    scenario = await makeScenario(servers(), {
      name: NAME,
      schema: 'CREATE TABLE item (id int PRIMARY KEY, name text)',
      rows: `INSERT INTO item SELECT n, 'item' FROM generate_series(1, 100) n`,
      phases: [{ name: 'all', tables: ['public.*'], reads: 'replica' }],
      router: routerOf(writers, 'TEST_POOLER_OF_WRITERS'),
      routers: { replica: routerOf(readers, 'TEST_POOLER_OF_READERS') },
      more: 'switch: { window: 30s, max_lag: 20s }',
    });
    const composition = await scenario.run.compose();
    const worker = await Worker.open(composition.context);
    await worker.run({ signal: new AbortController().signal, until: 'ready' });
    await worker.close();
    await composition.close();
  }, SLOW_MS);
  afterAll(async () => await scenario?.close());

  beforeEach(async () => {
    await move('failback --reads');
    expect(await now()).toEqual({ writers: 'source', readers: 'source' });
  });

  it.each([
    ['the edit of its file', 'pgbouncer:edited'],
    ['its RELOAD', 'pgbouncer:reloaded'],
    ['its repoint', 'acted reads/repoint'],
  ])(
    'are led on by whoever resumes after a death behind %s',
    async (_, point) => {
      const { run } = scenario;
      const doomed = startDoomed(run, ['cutover', run.plan, 'all', '--reads'], `${point}:kill`);
      expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
      expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 0 });
      expect(await now()).toEqual({ writers: 'source', readers: 'target' });
      expect(await writableSides(scenario, 'item')).toEqual(['source']);
    },
    SLOW_MS,
  );

  it(
    'are moved before the writers, and back behind them, on the connections that they have',
    async () => {
      const reader = await openClient(readers.urlFor('shop'), 'reader');
      const seen: unknown[] = [];
      let reads = true;
      const reading = (async () => {
        while (reads) seen.push((await reader.query('SELECT count(*)::int AS n FROM item')).rows[0]?.n);
      })();
      const files = [writers.entries(), readers.entries()];
      await move('cutover --reads');
      expect(await now()).toEqual({ writers: 'source', readers: 'target' });
      expect(writers.entries()).toBe(files[0]);
      await move('cutover');
      expect(await now()).toEqual({ writers: 'target', readers: 'target' });
      await runSql(writers.urlFor('shop'), `INSERT INTO item VALUES (101, 'new')`);
      await move('failback');
      expect(await now()).toEqual({ writers: 'source', readers: 'target' });
      await move('failback --reads');
      expect(await now()).toEqual({ writers: 'source', readers: 'source' });
      reads = false;
      await reading;
      await reader.end();
      // Every answer came, in one order: who reads where it is written a little later never goes back.
      expect([...new Set(seen)]).toEqual([100, 101]);
    },
    SLOW_MS,
  );
});
