import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startClients } from '../../src/demo/clients.ts';
import { Ledger } from '../../src/demo/ledger.ts';
import { checkLedger } from '../../src/demo/ledger-check.ts';
import type { Pooler } from '../../src/demo/poolers.ts';
import { readPrimaryRows } from '../../src/demo/primary-rows.ts';
import { createShop, type ShopSize } from '../../src/demo/shop.ts';
import { shopSchemaSql } from '../../src/demo/shop-schema.ts';
import type { Side } from '../../src/domain/position.ts';
import { sleep } from '../../src/platform/clock.ts';
import { askHere, phaseHere, startDoomed } from '../support/crash-points.ts';
import { describeWithPoolers } from '../support/pgbouncer.ts';
import { type Scenario, scenarioOn } from '../support/scenario.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/**
 * An application behind two PgBouncers in transaction pooling, as it runs in earnest: its clients know the poolers alone, and
 * whether a switch is under way is told to nobody.
 */
const servers = useServerPair();
const CLIENTS = 16;
const ROUND_TRIPS = 2;
/** Clients lock each other, or move one row to another partition, also where nothing switches. */
const OF_THEIR_OWN = ['40P01', '40001'];
const SLOW_MS = 300_000;
const HEAD = ';; all of the shop, see the wiki\n';
const OTHER = '\n; of another team\nstock = host=stock.example pool_size=2\n';

let poolers: readonly Pooler[] = [];
let scenario: Scenario;
let size: ShopSize;

const entryOf = (side: Side): string => `shop = host=127.0.0.1 port=${servers()[side].port} dbname=pooled pool_size=20`;
const fileOf = (side: Side): string => `${HEAD}${entryOf(side)}${OTHER}`;

/** The files without the epochs, which rise from test to test. */
const filesNow = (): readonly string[] =>
  poolers.map((pooler) => pooler.entries().replace(/^; switchback: epoch \d+ of shop\n/m, ''));

/** Where clients of each pooler are, and whether somebody who asks has to wait. */
const clientsNow = async (): Promise<unknown> => {
  const ports = poolers.map(async (pooler) => {
    const [row] = await runSql(pooler.urlFor('shop'), 'SELECT inet_server_port() AS port');
    return row?.port;
  });
  return await Promise.race([Promise.all(ports), sleep(10_000).then(() => 'held')]);
};

const isHeld = async (): Promise<readonly boolean[]> => {
  const shown = await Promise.all(poolers.map((pooler) => pooler.ask('SHOW DATABASES')));
  return shown.map((rows) => rows.some((row) => Number(row.paused) === 1));
};

const expectOn = async (side: Side): Promise<void> => {
  const { port } = servers()[side];
  expect({ files: filesNow(), clients: await clientsNow() }).toEqual({
    files: [fileOf(side), fileOf(side)],
    clients: [port, port],
  });
};

describeWithPoolers('an application behind PgBouncer', (makePooler) => {
  beforeAll(async () => {
    const source = await createDatabase(servers().source, 'pooled');
    const target = await createDatabase(servers().target, 'pooled');
    size = await createShop(source, { rows: 2_000 });
    await runSql(target, shopSchemaSql);
    poolers = [
      await makePooler({ mode: 'transaction', entries: fileOf('source') }),
      await makePooler({ mode: 'transaction', entries: fileOf('source') }),
    ];
    const references = poolers.map(({ admin }, index) => {
      process.env[`TEST_POOLER_${index}`] = admin;
      return `"\${TEST_POOLER_${index}}"`;
    });
    // What clients ask is held with them, so it is asked when they have been let go on.
    const paths = poolers.map((pooler, index) => {
      process.env[`TEST_POOLED_${index}`] = pooler.urlFor('shop');
      return `"\${TEST_POOLED_${index}}"`;
    });
    const probe = `{ url: [${paths.join(', ')}], within: 10s }`;
    const configs = poolers.map(({ config }) => JSON.stringify(config));
    scenario = scenarioOn(
      { source, target },
      {
        phases: [{ name: 'all', tables: ['shop.*'] }],
        router: `{ kind: pgbouncer, admin: [${references.join(', ')}], config: [${configs.join(', ')}], database: shop, probe: ${probe} }`,
        more: 'switch: { window: 30s, max_lag: 20s, blockers: { wait: 10s, then: abort } }',
      },
    );
  }, SLOW_MS);
  afterAll(async () => await scenario?.close());

  it(
    'is moved over and back at full speed without an error, and nothing is lost',
    async () => {
      const worker = scenario.worker();
      await scenario.untilState(worker, 'ready', 'all');
      // The clients' own file never changes: one kind of work goes through each pooler.
      const routeFile = join(scenario.run.directory, 'clients.json');
      const led = (primary: Side) => ({ primary, held: false });
      writeFileSync(routeFile, JSON.stringify({ catalog: led('source'), orders: led('target') }));
      const [first, second] = poolers.map((pooler) => pooler.urlFor('shop'));
      const ledger = new Ledger();
      const urls = { source: first ?? '', target: second ?? '' };
      const clients = startClients({ urls, routeFile, size, ledger, clients: CLIENTS });
      for (let trip = 0; trip < ROUND_TRIPS; trip++) {
        await sleep(500);
        await scenario.change('cutover', 'all');
        const before = clients.stats().acknowledged;
        await sleep(500);
        expect(clients.stats().acknowledged).toBeGreaterThan(before);
        expect(filesNow()).toEqual([fileOf('target'), fileOf('target')]);
        await scenario.change('failback', 'all');
      }
      await sleep(300);
      await clients.stop();
      await worker.stop();
      const { refusals, failed, unknown } = clients.stats();
      const errors = Object.keys(refusals).filter((code) => !OF_THEIR_OWN.includes(code));
      expect({ errors, failed, unknown }).toEqual({ errors: [], failed: 0, unknown: 0 });
      const { source } = scenario;
      expect(checkLedger(ledger, await readPrimaryRows({ catalog: source, orders: source }))).toMatchObject({
        lost: 0,
        duplicated: 0,
        reordered: 0,
        phantom: 0,
      });
      await expectOn('source');
    },
    SLOW_MS,
  );

  const POINTS: readonly (readonly [point: string, held: boolean, side: Side])[] = [
    ['acted cutover/hold', true, 'source'],
    ['pgbouncer:edited', true, 'target'],
    ['pgbouncer:reloaded', true, 'target'],
    ['acted cutover/repoint', true, 'target'],
    ['acted cutover/release', false, 'target'],
  ];

  it.each(POINTS)(
    'is let go on by whoever comes after a worker that died at "%s"',
    async (point, held, side) => {
      const { run } = scenario;
      const doomed = startDoomed(run, ['cutover', run.plan, 'all', '--confirm', 'all'], `${point}:kill`);
      expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
      expect(await isHeld()).toEqual([held, held]);
      const waiting = clientsNow();
      expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 0 });
      const said = expect.stringMatching(/^127\.0\.0\.1:\d+\/shop, 127\.0\.0\.1:\d+\/shop$/);
      if (side === 'target') expect((await phaseHere(run, 'all')).proof).toMatchObject([{ verdict: 'proven', said }]);
      const { port } = servers()[side];
      expect(await waiting).toEqual([port, port]);
      await expectOn(side);
      if (side === 'target') expect(await askHere(run, 'failback')).toMatchObject({ exitCode: 0 });
      await expectOn('source');
    },
    SLOW_MS,
  );

  it(
    'goes on through the poolers that there are when one is gone after the commit record',
    async () => {
      const { run } = scenario;
      const args = ['cutover', run.plan, 'all', '--confirm', 'all'];
      expect(await startDoomed(run, args, 'acted cutover/commit:kill').ended).toMatchObject({ signal: 'SIGKILL' });
      const [there, gone] = poolers;
      if (there === undefined || gone === undefined) throw new Error('no poolers');
      await gone.stop();
      const resumed = askHere(run, 'resume');
      const led = runSql(there.urlFor('shop'), 'SELECT inet_server_port() AS port');
      expect(await Promise.race([led, sleep(20_000)])).toEqual([{ port: servers().target.port }]);
      await gone.start();
      expect(await resumed).toMatchObject({ exitCode: 0 });
      await expectOn('target');
      expect(await askHere(run, 'failback')).toMatchObject({ exitCode: 0 });
      await expectOn('source');
    },
    SLOW_MS,
  );

  it(
    'is led nowhere against the will of a person who edits the file in the middle',
    async () => {
      const { run } = scenario;
      const args = ['cutover', run.plan, 'all', '--confirm', 'all'];
      expect(await startDoomed(run, args, 'acted cutover/commit:kill').ended).toMatchObject({ signal: 'SIGKILL' });
      const [, edited] = poolers;
      const third = fileOf('source').replace('127.0.0.1', 'third.example');
      if (edited === undefined) throw new Error('no pooler');
      writeFileSync(edited.config, third);
      const parked = await askHere(run, 'resume');
      expect(parked).toMatchObject({ exitCode: 6 });
      expect(parked.message).toContain('was changed by somebody since it was looked at');
      expect(filesNow()).toEqual([fileOf('source'), third]);
      writeFileSync(edited.config, fileOf('target'));
      expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 0 });
      await expectOn('target');
      expect(await askHere(run, 'failback')).toMatchObject({ exitCode: 0 });
      await expectOn('source');
    },
    SLOW_MS,
  );

  it(
    'is not touched while something is in the way, and `check` says what',
    async () => {
      const [pooler] = poolers;
      if (pooler === undefined) throw new Error('no pooler');
      const findings = async (): Promise<unknown> => {
        const { json } = await scenario.run.command('check', scenario.run.plan);
        return (json.findings as { id: string }[]).map(({ id }) => id).filter((id) => id.startsWith('router/'));
      };
      expect(await findings()).toEqual([]);
      await pooler.ask('SET query_wait_timeout = 5');
      expect(await findings()).toEqual(['router/waits-too-short']);
      await pooler.ask('SET query_wait_timeout = 120');
      writeFileSync(pooler.config, fileOf('target'));
      expect(await findings()).toEqual(['router/other-file']);
      await pooler.setEntries(fileOf('source').replace('127.0.0.1', 'localhost'));
      expect(await findings()).toEqual(['router/leads-elsewhere']);
      const refused = await askHere(scenario.run, 'cutover');
      expect(refused).toMatchObject({ exitCode: 3 });
      await pooler.setEntries(OTHER);
      expect(await findings()).toEqual(['router/refused']);
      await pooler.setEntries(fileOf('source'));
      expect(await findings()).toEqual([]);
    },
    SLOW_MS,
  );
});
