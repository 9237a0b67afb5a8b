import { afterAll, beforeAll, expect, it } from 'vitest';
import { startClients } from '../../src/demo/clients.ts';
import { Ledger } from '../../src/demo/ledger.ts';
import { checkLedger, type LedgerVerdict } from '../../src/demo/ledger-check.ts';
import { readPrimaryRows } from '../../src/demo/primary-rows.ts';
import { runCommand } from '../../src/demo/program.ts';
import { type RunningServer, startServer } from '../../src/demo/servers.ts';
import { createShop, type ShopSize } from '../../src/demo/shop.ts';
import { SHOP_PHASES, shopSchemaSql } from '../../src/demo/shop-schema.ts';
import { sleep } from '../../src/platform/clock.ts';
import type { TableLoss } from '../../src/stages/snapshots/loss.ts';
import { commandWith, type Dump, dump, restoreBeside, selfWith } from '../support/restored.ts';
import type { CommandAnswer } from '../support/run.ts';
import { expectExit, type Scenario, scenarioOn } from '../support/scenario.ts';
import { saidBy } from '../support/scene.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/**
 * The server of the source is destroyed in the middle of the soak, while clients write on the target, and the application goes
 * back to a snapshot that is restored beside. Nothing of the run is told to the clients but by the route file.
 */
const servers = useServerPair();
const CLEAN = { lost: 0, duplicated: 0, reordered: 0, phantom: 0 };
const PHASES = Object.entries(SHOP_PHASES).map(([name, tables]) => ({ name, tables: [...tables] }));
const BOTH = ['catalog', 'orders'] as const;
const CONFIRMED = [...BOTH, '--confirm', BOTH.join(',')];
const MORE = 'switch: { window: 30s, max_lag: 20s }';
const SLOW_MS = 240_000;

let old: RunningServer;
let size: ShopSize;
let scenario: Scenario;
const dumps: Dump[] = [];
const ledger = new Ledger();
const urls = { source: '', target: '' };

const startWriting = () =>
  startClients({
    urls,
    routeFile: scenario.run.routeFile,
    size,
    ledger,
    clients: 8,
    ratePerSecond: 200,
  });

const takeDump = async (): Promise<Dump> => {
  const made = await dump(urls.source);
  dumps.push(made);
  return made;
};

/** What the clients were told, against what the source holds. */
const verdictOfSource = async (): Promise<LedgerVerdict> =>
  checkLedger(ledger, await readPrimaryRows({ catalog: urls.source, orders: urls.source }));

const failback = async (...more: readonly string[]): Promise<CommandAnswer> =>
  await commandWith(scenario.run, urls.source, 'failback', scenario.run.plan, ...CONFIRMED, '--from-snapshot', ...more);

/** The command dies at a point as by kill -9. */
const dieAt = async (point: string, ...more: readonly string[]): Promise<void> => {
  const { run } = scenario;
  const dying = selfWith(run, urls.source, { SWITCHBACK_FAILPOINT: `${point}:kill` });
  const args = ['failback', run.plan, ...CONFIRMED, '--from-snapshot', ...more];
  expect(await runCommand(dying, args, { anyExitCode: true })).toMatchObject({ exitCode: 128 });
};

const isRefused = async (url: string): Promise<boolean> => {
  const write = 'BEGIN; UPDATE shop.order_register SET version = version; ROLLBACK';
  return await runSql(url, write).then(
    () => false,
    (error: unknown) => {
      expect(error).toMatchObject({ code: '25006' });
      return true;
    },
  );
};

beforeAll(async () => {
  old = await startServer({ version: 13 });
  urls.source = await createDatabase(old, 'shop');
  urls.target = await createDatabase(servers().target, 'shop');
  size = await createShop(urls.source, { rows: 3_000 });
  await runSql(urls.target, shopSchemaSql);
}, SLOW_MS);

afterAll(async () => {
  await scenario?.close().catch(() => undefined);
  for (const made of dumps) made.remove();
  await old?.stopAndRemove();
});

it(
  'goes back to a snapshot of before the cutover, without an archive: what it lacks is read from the target, and nothing is lost',
  async () => {
    scenario = scenarioOn({ ...urls }, { phases: PHASES, more: MORE });
    const { run } = scenario;
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', ...BOTH);
    const clients = startWriting();
    await sleep(500);
    const snapshot = await takeDump();
    await scenario.change('cutover', ...BOTH);
    await worker.process.kill();
    expectExit(await run.command('failback', run.plan, ...CONFIRMED, '--from-snapshot'), 4);
    await old.stopAndRemove();
    await sleep(500);
    urls.source = await restoreBeside(snapshot, { server: servers().source, name: 'restored', run });
    expect(await isRefused(urls.source)).toBe(true);
    for (const command of ['resume', 'run']) {
      const refused = await commandWith(run, urls.source, command, run.plan);
      expectExit(refused, 4);
      expect(saidBy(refused).message).toContain('was restored from snapshot');
    }
    for (const point of ['adopt/target', 'adopt/source', 'rebuild/records', 'reread/slot', 'reread/rows']) {
      await dieAt(`acted ${point}`);
      expect(await isRefused(urls.source)).toBe(true);
    }
    expectExit(await failback());
    await sleep(500);
    await clients.stop();
    const verdict = await verdictOfSource();
    expect(verdict).toMatchObject(CLEAN);
    expect(verdict.acknowledged).toBeGreaterThan(200);
    expect(run.route('orders')).toMatchObject({ primary: 'source', held: false });
    expect(await isRefused(urls.target)).toBe(true);
  },
  SLOW_MS,
);

it(
  'goes back to a snapshot as it was restored, and loses exactly what was announced',
  async () => {
    const { run } = scenario;
    const worker = scenario.worker(undefined, { TEST_SOURCE_URL: urls.source });
    await worker.until(({ events }) =>
      BOTH.every((phase) => events.some((e) => e.type === 'verified' && e.phase === phase)),
    );
    const clients = startWriting();
    await sleep(300);
    const snapshot = await takeDump();
    await sleep(300);
    expectExit(await commandWith(run, urls.source, 'cutover', run.plan, ...CONFIRMED));
    await sleep(300);
    await worker.process.kill();
    const lost = urls.source;
    urls.source = await restoreBeside(snapshot, { server: servers().source, name: 'again', run });
    await dieAt('acted failback/fence', '--as-restored');
    const answer = await failback('--as-restored');
    expectExit(answer);
    await clients.stop();
    const { losses } = answer.json.data as { readonly losses: readonly TableLoss[] };
    const announced = losses.filter(({ table }) => table.endsWith('_write'));
    expect(announced.every(({ isExact, extra, differing }) => isExact && extra + differing === 0)).toBe(true);
    const found = await verdictOfSource();
    expect(found).toMatchObject({ duplicated: 0, phantom: 0 });
    expect(found.lost).toBeGreaterThan(20);
    expect(announced.reduce((sum, { missing }) => sum + missing, 0)).toBe(found.lost);
    expect(await isRefused(urls.target)).toBe(true);
    expect(await runSql(urls.target, 'SELECT 1 FROM pg_replication_slots WHERE database = current_database()')).toEqual(
      [],
    );
    expectExit(await commandWith(run, lost, 'resume', run.plan), 4);
  },
  SLOW_MS,
);
