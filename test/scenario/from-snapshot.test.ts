import { afterAll, beforeAll, expect, it } from 'vitest';
import { startClients } from '../../src/demo/clients.ts';
import { Ledger } from '../../src/demo/ledger.ts';
import { checkLedger } from '../../src/demo/ledger-check.ts';
import { readPrimaryRows } from '../../src/demo/primary-rows.ts';
import { type RunningServer, startServer } from '../../src/demo/servers.ts';
import { createShop } from '../../src/demo/shop.ts';
import { SHOP_PHASES, shopSchemaSql } from '../../src/demo/shop-schema.ts';
import { sleep } from '../../src/platform/clock.ts';
import { commandWith, type Dump, dump, restoreBeside } from '../support/restored.ts';
import { expectExit, type Scenario, scenarioOn } from '../support/scenario.ts';
import { saidBy } from '../support/scene.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/**
 * The server of the source is destroyed in the middle of the soak, while clients write on the target. A snapshot that was made
 * before the cutover is restored beside, without any archive of changes, and the application goes back to it: what the snapshot
 * lacks is read again from the target, which has it.
 */
const servers = useServerPair();
const CLEAN = { lost: 0, duplicated: 0, reordered: 0, phantom: 0 };
const PHASES = Object.entries(SHOP_PHASES).map(([name, tables]) => ({ name, tables: [...tables] }));
const SLOW_MS = 120_000;

let old: RunningServer;
let scenario: Scenario;
let snapshot: Dump;
let restored = '';
const ledger = new Ledger();
const urls = { source: '', target: '' };

beforeAll(async () => {
  old = await startServer({ version: 13 });
  urls.source = await createDatabase(old, 'shop');
  urls.target = await createDatabase(servers().target, 'shop');
  await runSql(urls.target, shopSchemaSql);
}, SLOW_MS);

afterAll(async () => {
  await scenario?.close().catch(() => undefined);
  snapshot?.remove();
  await old?.stopAndRemove();
});

it(
  'goes back to a snapshot of before the cutover under load when the old server is destroyed, and loses nothing',
  async () => {
    const size = await createShop(urls.source, { rows: 3_000 });
    scenario = scenarioOn({ ...urls }, { phases: PHASES, more: 'switch: { window: 30s, max_lag: 20s }' });
    const { run } = scenario;
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'catalog', 'orders');
    const clients = startClients({ urls, routeFile: run.routeFile, size, ledger, clients: 8, ratePerSecond: 200 });
    await sleep(500);
    snapshot = await dump(urls.source);
    await sleep(500);
    await scenario.change('cutover', 'catalog', 'orders');
    await sleep(500);
    await worker.process.kill();
    await old.stopAndRemove();
    await sleep(500);
    restored = await restoreBeside(snapshot, { server: servers().source, name: 'restored', run });
    urls.source = restored;
    for (const command of ['resume', 'run', 'verify', 'abort', 'failback']) {
      const phases = command === 'run' ? [] : ['catalog'];
      const confirm = command === 'abort' || command === 'failback' ? ['--confirm', 'catalog'] : [];
      const refused = await commandWith(run, restored, command, run.plan, ...phases, ...confirm);
      expectExit(refused, 4);
      expect(saidBy(refused).message).toContain('was restored from snapshot');
    }
    const back = await commandWith(
      run,
      restored,
      'failback',
      run.plan,
      'catalog',
      'orders',
      '--from-snapshot',
      '--confirm',
      'catalog,orders',
    );
    expectExit(back);
    await sleep(500);
    await clients.stop();
    const verdict = checkLedger(ledger, await readPrimaryRows({ catalog: restored, orders: restored }));
    expect(verdict).toMatchObject(CLEAN);
    expect(verdict.acknowledged).toBeGreaterThan(200);
    expect(run.route('orders')).toMatchObject({ primary: 'source', held: false });
  },
  SLOW_MS,
);
