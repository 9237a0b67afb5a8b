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
import type { CommandAnswer } from '../support/run.ts';
import { startHere } from '../support/runbook.ts';
import { expectExit, type Scenario, scenarioOn } from '../support/scenario.ts';
import { saidBy } from '../support/scene.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/**
 * The server of the source is destroyed in the middle of the soak, while clients write on the target, and the application goes
 * back to a snapshot that is restored beside: with the archive of changes, without it, and to exactly what was restored. The tests
 * follow each other on one run, whose source is another database each time. The ledger knows what its clients were told.
 */
const servers = useServerPair();
const CLEAN = { lost: 0, duplicated: 0, reordered: 0, phantom: 0 };
const PHASES = Object.entries(SHOP_PHASES).map(([name, tables]) => ({ name, tables: [...tables] }));
const BOTH = ['catalog', 'orders'] as const;
const CONFIRMED = [...BOTH, '--confirm', BOTH.join(',')];
const MORE = `switch: { window: 30s, max_lag: 20s }
soak: { for: 72h, archive: changes }
snapshots: { store: pg_dump, to: backups, jobs: 2, probes: ["select count(*) > 0 from shop.product"] }`;
const SLOW_MS = 240_000;
/** What the clients write between two steps of a test, in milliseconds. */
const A_WHILE_MS = 400;

let old: RunningServer;
let size: ShopSize;
let scenario: Scenario;
const ledger = new Ledger();
const urls = { source: '', target: '' };

const startWriting = () =>
  startClients({ urls, routeFile: scenario.run.routeFile, size, ledger, clients: 8, ratePerSecond: 200 });

/** Gives a command in this process, with the source as it is now. */
const command = async (name: string, ...args: readonly string[]): Promise<CommandAnswer> => {
  const { run } = scenario;
  const here = startHere(run, [...name.split(' '), run.plan, ...args, '--json'], { source: urls.source });
  const exitCode = await here.ended;
  return { exitCode, json: JSON.parse(here.text().trim().split('\n').at(-1) ?? '') };
};

const failback = async (...more: readonly string[]): Promise<CommandAnswer> =>
  await command('failback', ...CONFIRMED, '--from-snapshot', ...more);

/** The command dies at a point as by kill -9. */
const dieAt = async (point: string, name: string, ...args: readonly string[]): Promise<void> => {
  const { self, plan } = scenario.run;
  const more = { TEST_SOURCE_URL: urls.source, SWITCHBACK_FAILPOINT: `${point}:kill` };
  const dying = { ...self, environment: { ...self.environment, ...more } };
  expectExit(await runCommand(dying, [...name.split(' '), plan, ...args], { anyExitCode: true }), 128);
};

/** What the clients were told, against what the source holds. */
const verdictOfSource = async (): Promise<LedgerVerdict> =>
  checkLedger(ledger, await readPrimaryRows({ catalog: urls.source, orders: urls.source }));

const refuses = async (url: string): Promise<boolean> => {
  const write = 'BEGIN; UPDATE shop.order_register SET version = version; ROLLBACK';
  return await runSql(url, write).then(
    () => false,
    (error: unknown) => {
      expect(error).toMatchObject({ code: '25006' });
      return true;
    },
  );
};

/** Makes a snapshot under load, cuts over, writes on, and ends the worker. Returns the snapshot's id. */
const cutOverAfterSnapshot = async (): Promise<string> => {
  const worker = scenario.worker(undefined, { TEST_SOURCE_URL: urls.source });
  await worker.until(({ events }) =>
    BOTH.every((phase) => events.some((event) => event.type === 'verified' && event.phase === phase)),
  );
  const clients = startWriting();
  await sleep(A_WHILE_MS);
  const made = await command('snapshot create');
  expectExit(made);
  await sleep(A_WHILE_MS);
  expectExit(await command('cutover', ...CONFIRMED));
  await sleep(A_WHILE_MS);
  await worker.process.kill();
  writing = clients;
  const { snapshot } = made.json as unknown as { readonly snapshot: { readonly id: string } };
  return snapshot.id;
};

let writing: ReturnType<typeof startWriting>;

/** Restores beside, on the server of version 13 that is left. From then on it is the plan's source. */
const restore = async (id: string, name: string, ...more: readonly string[]): Promise<CommandAnswer> => {
  const into = servers().source.urlFor(name);
  const args = [id, '--into', into, '--confirm', 'test', ...more];
  const answer = await command('snapshot restore', ...args);
  expectExit(answer);
  expect(await refuses(into)).toBe(true);
  urls.source = into;
  return answer;
};

beforeAll(async () => {
  old = await startServer({ version: 13 });
  urls.source = await createDatabase(old, 'shop');
  urls.target = await createDatabase(servers().target, 'shop');
  size = await createShop(urls.source, { rows: 3_000 });
  await runSql(urls.target, shopSchemaSql);
  scenario = scenarioOn({ ...urls }, { phases: PHASES, more: MORE });
}, SLOW_MS);

afterAll(async () => {
  await writing?.stop();
  await scenario?.close().catch(() => undefined);
  await old?.stopAndRemove();
});

it(
  'goes back to a snapshot of before the cutover with the archive replayed, when the old server is destroyed: 0 lost',
  async () => {
    const id = await cutOverAfterSnapshot();
    const alive = await failback();
    expectExit(alive, 4);
    expect(saidBy(alive).message).toContain("is the run's own");
    await old.stopAndRemove();
    await sleep(A_WHILE_MS);
    const into = servers().source.urlFor('replayed');
    const args = [id, '--into', into, '--confirm', 'test', '--replay'];
    for (const point of ['restore:fenced', 'restore:replayed']) await dieAt(point, 'snapshot restore', ...args);
    const answer = await restore(id, 'replayed', '--replay');
    const { replayed } = answer.json as unknown as { readonly replayed: Record<string, { transactions: number }> };
    expect(Object.keys(replayed)).toEqual([...BOTH]);
    for (const name of ['resume', 'run']) {
      const refused = await command(name);
      expectExit(refused, 4);
      expect(saidBy(refused).message).toContain('was restored from snapshot');
    }
    for (const point of ['adopt/target', 'adopt/source', 'rebuild/records']) {
      await dieAt(`acted ${point}`, 'failback', ...CONFIRMED, '--from-snapshot');
      expect(await refuses(urls.source)).toBe(true);
    }
    expectExit(await failback());
    // It is the primary now, and must never be fenced by whoever gives the command of before again.
    expectExit(await command('snapshot restore', ...args), 4);
    expect(await refuses(urls.source)).toBe(false);
    await sleep(A_WHILE_MS);
    await writing.stop();
    const verdict = await verdictOfSource();
    expect(verdict).toMatchObject(CLEAN);
    expect(verdict.acknowledged).toBeGreaterThan(100);
    expect(scenario.run.route('orders')).toMatchObject({ primary: 'source', held: false });
    expect(await refuses(urls.target)).toBe(true);
    expect(
      await runSql(urls.source, `SELECT 1 FROM switchback.journal WHERE step = 'commit' AND status = 'done'`),
    ).not.toEqual([]);
    const journal = `SELECT 1 FROM switchback.lane WHERE slot LIKE '%reread%'`;
    expect(await runSql(urls.source, journal), 'the reverse lane went on from where the archive ended').toEqual([]);
  },
  SLOW_MS,
);

it(
  'goes back to one without the archive: what it lacks is read from the target, and nothing is lost',
  async () => {
    const id = await cutOverAfterSnapshot();
    await restore(id, 'reread');
    for (const point of ['reread/slot', 'reread/rows']) {
      await dieAt(`acted ${point}`, 'failback', ...CONFIRMED, '--from-snapshot');
      expect(await refuses(urls.source)).toBe(true);
    }
    expectExit(await failback());
    await sleep(A_WHILE_MS);
    await writing.stop();
    expect(await verdictOfSource()).toMatchObject(CLEAN);
    expect(await refuses(urls.target)).toBe(true);
  },
  SLOW_MS,
);

it(
  'goes back to one when the run has ended, as soon as somebody says where the application writes, and nothing is lost',
  async () => {
    const id = await cutOverAfterSnapshot();
    expectExit(await command('finalise', ...BOTH, '--early', '--confirm', BOTH.join(',')));
    await restore(id, 'over');
    const unsaid = await failback();
    expectExit(unsaid, 4);
    expect(saidBy(unsaid).remedy).toContain('--primary catalog=target --primary orders=target');
    expectExit(await failback('--primary', 'catalog=target', '--primary', 'orders=target'));
    await sleep(A_WHILE_MS);
    await writing.stop();
    expect(await verdictOfSource()).toMatchObject(CLEAN);
    expect(await refuses(urls.target)).toBe(true);
  },
  SLOW_MS,
);

it(
  'goes back to one as it was restored, and loses exactly what was announced',
  async () => {
    const id = await cutOverAfterSnapshot();
    await restore(id, 'as_restored');
    await dieAt('acted failback/fence', 'failback', ...CONFIRMED, '--from-snapshot', '--as-restored');
    const answer = await failback('--as-restored');
    expectExit(answer);
    await writing.stop();
    const { losses } = answer.json.data as { readonly losses: readonly TableLoss[] };
    const announced = losses.filter(({ table }) => table.endsWith('_write'));
    expect(announced.every(({ isExact, extra, differing }) => isExact && extra + differing === 0)).toBe(true);
    const found = await verdictOfSource();
    expect(found).toMatchObject({ duplicated: 0, phantom: 0 });
    expect(found.lost).toBeGreaterThan(20);
    expect(announced.reduce((sum, { missing }) => sum + missing, 0)).toBe(found.lost);
    expect(await refuses(urls.target)).toBe(true);
    const slots = 'SELECT 1 FROM pg_replication_slots WHERE database = current_database()';
    expect(await runSql(urls.target, slots)).toEqual([]);
    expect(await runSql(urls.source, slots)).toEqual([]);
  },
  SLOW_MS,
);
