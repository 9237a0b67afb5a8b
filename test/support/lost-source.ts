import { expect } from 'vitest';
import { type RunningClients, startClients } from '../../src/demo/clients.ts';
import { Ledger } from '../../src/demo/ledger.ts';
import { checkLedger, type LedgerVerdict } from '../../src/demo/ledger-check.ts';
import { readPrimaryRows } from '../../src/demo/primary-rows.ts';
import { runCommand } from '../../src/demo/program.ts';
import type { RunningServer } from '../../src/demo/servers.ts';
import { createShop, type ShopSize } from '../../src/demo/shop.ts';
import { SHOP_PHASES, shopSchemaSql } from '../../src/demo/shop-schema.ts';
import { monotonicMs, sleep } from '../../src/platform/clock.ts';
import type { CommandAnswer, TestWorker } from './run.ts';
import { startHere } from './runbook.ts';
import { expectExit, type Scenario, scenarioOn } from './scenario.ts';
import { createDatabase, runSql } from './servers.ts';

/** The phases of the shop. */
export const BOTH = ['catalog', 'orders'] as const;
/** The phases as arguments of a switch. */
export const CONFIRMED = [...BOTH, '--confirm', BOTH.join(',')];
/** For how long clients write between two steps of a test, in milliseconds. */
export const A_WHILE_MS = 400;

const PHASES = Object.entries(SHOP_PHASES).map(([name, tables]) => ({ name, tables: [...tables] }));
const MORE = `switch: { window: 30s, max_lag: 20s }
soak: { for: 72h, archive: changes }
snapshots: { store: pg_dump, to: backups, jobs: 2, probes: ["select count(*) > 0 from shop.product"] }`;
/** A fault shows in a handful of rows; more load only makes everything else late. */
const LOAD = { clients: 4, ratePerSecond: 60 };

/** What a command answered, and everything it told before that. */
export interface Told extends CommandAnswer {
  readonly lines: readonly Readonly<Record<string, unknown>>[];
}

/** A run on the shop whose source is lost and restored, again and again, while clients write and a ledger knows what they were told. */
export class LostSource {
  /** Where the databases are now; a restore leads the source to what it made. */
  readonly urls: { source: string; readonly target: string };
  readonly ledger = new Ledger();
  readonly scenario: Scenario;
  readonly #size: ShopSize;
  #clients: RunningClients | null = null;

  private constructor(urls: { source: string; readonly target: string }, size: ShopSize) {
    this.urls = urls;
    this.#size = size;
    this.scenario = scenarioOn({ ...urls }, { phases: PHASES, more: MORE });
  }

  /** Makes the shop on two servers, and the plan. */
  static async make(servers: { readonly source: RunningServer; readonly target: RunningServer }): Promise<LostSource> {
    const source = await createDatabase(servers.source, 'shop');
    const target = await createDatabase(servers.target, 'shop');
    const size = await createShop(source, { rows: 2_000 });
    await runSql(target, shopSchemaSql);
    return new LostSource({ source, target }, size);
  }

  /** Gives a command in this process, with the source as it is now. */
  async command(name: string, ...args: readonly string[]): Promise<Told> {
    const { run } = this.scenario;
    const argv = [...name.split(' '), run.plan, ...args, '--json'];
    const here = startHere(run, argv, { source: this.urls.source });
    const exitCode = await here.ended;
    const told = here.text().trim().split('\n');
    const lines = told.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
    return { exitCode, json: lines.at(-1) ?? {}, lines };
  }

  /** `failback --from-snapshot` of both phases. */
  async failback(...more: readonly string[]): Promise<Told> {
    return await this.command('failback', ...CONFIRMED, '--from-snapshot', ...more);
  }

  /** Goes back with everything. Returns the phases whose rows were read again from the target, as no slot could bring them. */
  async goBack(...more: readonly string[]): Promise<readonly string[]> {
    const answer = await this.failback(...more);
    expectExit(answer);
    const { phases } = answer.lines.find(({ type }) => type === 'reread') as { phases: readonly { phase: string }[] };
    return phases.map(({ phase }) => phase);
  }

  /** The command dies at a point as by kill -9. */
  async dieAt(point: string, name: string, ...args: readonly string[]): Promise<void> {
    const { self, plan } = this.scenario.run;
    const more = { TEST_SOURCE_URL: this.urls.source, SWITCHBACK_FAILPOINT: `${point}:kill` };
    const dying = { ...self, environment: { ...self.environment, ...more } };
    expectExit(await runCommand(dying, [...name.split(' '), plan, ...args], { anyExitCode: true }), 128);
  }

  /** Keeps lanes going, and the archive. Resolves when the phases can be cut over. */
  async startWorker(): Promise<TestWorker> {
    const worker = this.scenario.worker(undefined, { TEST_SOURCE_URL: this.urls.source });
    await worker.until(({ events }) =>
      BOTH.every((phase) => events.some((event) => event.type === 'verified' && event.phase === phase)),
    );
    return worker;
  }

  /** Makes a snapshot under load, cuts over and writes on. Tells when the cutover began. */
  async cutOverAfterSnapshot(): Promise<{ readonly id: string; readonly cutAtMs: number }> {
    const { urls, ledger } = this;
    this.#clients = startClients({ urls, routeFile: this.scenario.run.routeFile, size: this.#size, ledger, ...LOAD });
    await sleep(A_WHILE_MS);
    const made = await this.command('snapshot create');
    expectExit(made);
    await sleep(A_WHILE_MS);
    const cutAtMs = monotonicMs();
    expectExit(await this.command('cutover', ...CONFIRMED));
    await sleep(A_WHILE_MS);
    const { snapshot } = made.json as unknown as { readonly snapshot: { readonly id: string } };
    return { id: snapshot.id, cutAtMs };
  }

  /** Restores beside, on a server. From then on it is the plan's source. */
  async restore(id: string, into: string, ...more: readonly string[]): Promise<Told> {
    const answer = await this.command('snapshot restore', id, '--into', into, '--confirm', 'test', ...more);
    expectExit(answer);
    expect(await this.refuses(into)).toBe(true);
    this.urls.source = into;
    return answer;
  }

  /** Whether a database refuses the application's writes; any other failure of a write is a failure. */
  async refuses(url: string): Promise<boolean> {
    const write = 'BEGIN; UPDATE shop.order_register SET version = version; ROLLBACK';
    return await runSql(url, write).then(
      () => false,
      (error: unknown) => {
        expect(error).toMatchObject({ code: '25006' });
        return true;
      },
    );
  }

  /** Writes that clients were told of before a time and that a database lacks. */
  async lackedBy(url: string, beforeMs: number): Promise<readonly number[]> {
    const { writes } = await readPrimaryRows({ catalog: url, orders: url });
    const there = new Set(writes.map(({ op }) => op));
    const told = [...this.ledger.operations()].filter(
      ({ kind, outcome }) => kind === 'write' && outcome === 'acknowledged',
    );
    return told.filter(({ op, endMs }) => endMs < beforeMs && !there.has(op)).map(({ op }) => op);
  }

  /** Writes that a database has and that clients began after a time. */
  async begunSince(url: string, afterMs: number): Promise<readonly number[]> {
    const { writes } = await readPrimaryRows({ catalog: url, orders: url });
    return writes.flatMap(({ op }) => ((this.ledger.operation(op)?.startMs ?? 0) > afterMs ? [op] : []));
  }

  /** Lets the clients end. Returns what they were told, against what the source holds. */
  async verdict(): Promise<LedgerVerdict> {
    await this.#clients?.stop();
    const { source } = this.urls;
    return checkLedger(this.ledger, await readPrimaryRows({ catalog: source, orders: source }));
  }

  /** Ends whatever a test has left. */
  async close(): Promise<void> {
    await this.#clients?.stop();
    await this.scenario.close().catch(() => undefined);
  }
}
