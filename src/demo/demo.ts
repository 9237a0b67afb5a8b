import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Event } from '../domain/event.ts';
import { monotonicMs, sleep } from '../platform/clock.ts';
import { PostgresServer } from '../platform/postgres/server.ts';
import { type RunningClients, startClients } from './clients.ts';
import { Ledger } from './ledger.ts';
import { checkLedger, type LedgerVerdict } from './ledger-check.ts';
import { readPrimaryRows } from './primary-rows.ts';
import { runCommand, WorkerProcess } from './program.ts';
import { type RunningServer, startServer } from './servers.ts';
import { createShop } from './shop.ts';
import type { ShopPhase } from './shop-schema.ts';
import { type DemoServer, type Engine, keptText, type Stage, setStage } from './stage.ts';
import { stallOf, switchesSeen } from './stall.ts';

/** How the demo is run. */
export interface DemoOptions {
  readonly rows: number;
  readonly clients: number;
  readonly engine: Engine;
  /** Leave servers and files when it is over. */
  readonly keep: boolean;
  readonly script: string;
  /** Source and target to use instead of embedded servers. */
  readonly servers?: readonly [DemoServer, DemoServer];
  /** What happens, a line at a time, for somebody who sees this for the first time. */
  readonly tell: (line: string) => void;
}

/** One switch as the clients saw it. */
export interface DemoSwitch {
  readonly phase: string;
  readonly kind: 'cutover' | 'failback';
  /** As the worker measured it, from the first hold to the last release. */
  readonly window_ms: number;
  readonly stall_p99_ms: number;
  readonly stall_max_ms: number;
  readonly client_errors: number;
}

/** The demo's verdict; its JSON line. */
export interface DemoResult {
  readonly ok: boolean;
  readonly servers: { readonly source: string; readonly target: string };
  readonly copied_rows: number;
  readonly switches: readonly DemoSwitch[];
  readonly acknowledged: number;
  readonly failed: number;
  readonly unknown: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly phantom: number;
  readonly verified_tables: number;
  readonly mismatches: number;
  readonly worker_peak_bytes: number;
  readonly seconds: number;
}

/** Before 16 a server starts one apply worker in this time, and two phases switch within it; see docs/runbook.md. */
const SETTINGS = { wal_retrieve_retry_interval: '500ms' };
/** Operations a second of all clients together: busy, and leaves two cores to the servers and the copy. */
const RATE_PER_SECOND = 600;
const WRITE_ON_MS = 1_500;
const SWITCHES: readonly { readonly kind: 'cutover' | 'failback'; readonly phase: ShopPhase }[] = [
  { kind: 'cutover', phase: 'catalog' },
  { kind: 'cutover', phase: 'orders' },
  { kind: 'failback', phase: 'orders' },
  { kind: 'cutover', phase: 'orders' },
];

/** Everything that the worker told and that the verdict needs. */
class Told {
  copiedRows = new Map<string, number>();
  verifiedTables = new Map<string, number>();
  mismatches = 0;
  readonly states = new Map<string, string>();

  take(event: Event): void {
    if (event.type === 'copied') this.copiedRows.set(event.table, event.rows);
    if (event.type === 'phase') this.states.set(event.phase, event.to);
    if (event.type === 'verified') {
      this.verifiedTables.set(event.phase, event.tables);
      this.mismatches += event.mismatches;
    }
  }

  sum(of: ReadonlyMap<string, number>): number {
    return [...of.values()].reduce((sum, n) => sum + n, 0);
  }
}

/**
 * Moves a shop from PostgreSQL 13 to 18 under the writes of many clients: two cutovers, a failback, another cutover. The
 * ledger of what clients were told is kept outside the databases and compared with them at the end, row by row.
 */
export const runDemo = async (options: DemoOptions): Promise<DemoResult> => {
  const begun = monotonicMs();
  const directory = mkdtempSync(join(tmpdir(), 'switchback-demo-'));
  const servers: RunningServer[] = [];
  try {
    const [source, target] = options.servers ?? (await startServers(servers, options.tell));
    const { script, engine } = options;
    const stage = setStage({ directory, source, target, script, engine });
    const verdict = await play(stage, { ...options, begun });
    if (options.keep) options.tell(keptText(stage));
    return verdict;
  } finally {
    for (const server of servers) await (options.keep ? server.leaveRunning() : server.stopAndRemove());
    if (!options.keep) rmSync(directory, { recursive: true, force: true });
  }
};

const startServers = async (
  started: RunningServer[],
  tell: DemoOptions['tell'],
): Promise<readonly [DemoServer, DemoServer]> => {
  tell('Starting PostgreSQL 13 (the old database) and 18 (the new one) …');
  const source = await startServer({ version: 13, settings: SETTINGS });
  started.push(source);
  const target = await startServer({ version: 18 });
  started.push(target);
  return [source, target];
};

const play = async (stage: Stage, options: DemoOptions & { readonly begun: number }): Promise<DemoResult> => {
  const { tell } = options;
  const size = await createShop(stage.urls.source, { rows: options.rows });
  const ledger = new Ledger();
  const clients = startClients({
    urls: stage.urls,
    routeFile: join(stage.directory, 'route.json'),
    size,
    ledger,
    clients: options.clients,
    ratePerSecond: RATE_PER_SECOND,
  });
  const told = new Told();
  let worker: WorkerProcess | null = null;
  try {
    tell(`${options.clients} clients write to the shop all the time, and keep a ledger of what they were told.`);
    await runCommand(stage.self, ['check', stage.plan]);
    tell('check: nothing blocks. The worker copies both phases while the clients write on …');
    worker = new WorkerProcess(stage.self, { plan: stage.plan, onEvent: (event) => told.take(event) });
    await until(worker, () => told.states.get('catalog') === 'ready' && told.states.get('orders') === 'ready');
    tell(
      `copied ${told.sum(told.copiedRows).toLocaleString('en-US')} rows, followed, and verified ${told.sum(told.verifiedTables)} tables: both phases are ready (${elapsed(options.begun)}).`,
    );
    const windows = await switchAll(stage, { worker, ledger, clients, tell });
    await sleep(WRITE_ON_MS);
    await runCommand(stage.self, ['verify', stage.plan, 'catalog', 'orders']);
    await runCommand(stage.self, [
      'finalise',
      stage.plan,
      'catalog',
      'orders',
      '--early',
      '--confirm',
      'catalog,orders',
    ]);
    tell('finalised: the way back is given up, the old database stays fenced.');
    await worker.stop();
    await clients.stop();
    const verdict = checkLedger(
      ledger,
      await readPrimaryRows({ catalog: stage.urls.target, orders: stage.urls.target }),
    );
    return result({ stage, options, ledger, told, verdict, windows, worker });
  } finally {
    await clients.stop();
    await worker?.stop();
  }
};

const elapsed = (begun: number): string => `${((monotonicMs() - begun) / 1000).toFixed(0)} s`;

const until = async (worker: WorkerProcess, reached: () => boolean): Promise<void> => {
  const wait = async () => {
    while (!reached()) await sleep(50);
  };
  await Promise.race([wait(), worker.ended()]);
};

const switchAll = async (
  stage: Stage,
  play: { worker: WorkerProcess; ledger: Ledger; clients: RunningClients; tell: DemoOptions['tell'] },
): Promise<readonly DemoSwitch[]> => {
  const done: DemoSwitch[] = [];
  for (const { kind, phase } of SWITCHES) {
    await sleep(1_000);
    const { json } = await runCommand(stage.self, [kind, stage.plan, phase, '--confirm', phase]);
    // Operations that were held have to end before their stall is known.
    await sleep(WRITE_ON_MS);
    const seen = switchesSeen(play.ledger)
      .filter((s) => s.phases.includes(phase))
      .at(-1);
    const stall = seen ? stallOf(play.ledger, seen) : { p99Ms: 0, maxMs: 0, errors: 0, operations: 0 };
    const windowMs = (json.data as { readonly windowMs: number }).windowMs;
    done.push({
      phase,
      kind,
      window_ms: Math.round(windowMs),
      stall_p99_ms: Math.round(stall.p99Ms),
      stall_max_ms: Math.round(stall.maxMs),
      client_errors: stall.errors,
    });
    play.tell(
      `${kind} of ${phase}: ${Math.round(windowMs)} ms; ${stall.operations} operations waited, ` +
        `99% of them less than ${Math.round(stall.p99Ms)} ms, the longest ${Math.round(stall.maxMs)} ms; ${stall.errors} errors seen by clients.`,
    );
  }
  return done;
};

const result = (made: {
  stage: Stage;
  options: DemoOptions & { readonly begun: number };
  ledger: Ledger;
  told: Told;
  verdict: LedgerVerdict;
  windows: readonly DemoSwitch[];
  worker: WorkerProcess;
}): DemoResult => {
  const { verdict, told, ledger } = made;
  const counts = ledger.counts();
  const bad = verdict.lost + verdict.duplicated + verdict.reordered + verdict.phantom + told.mismatches;
  return {
    ok: bad === 0 && made.windows.length === SWITCHES.length,
    servers: { source: made.stage.source.version, target: made.stage.target.version },
    copied_rows: told.sum(told.copiedRows),
    switches: made.windows,
    acknowledged: verdict.acknowledged,
    failed: counts.failed,
    unknown: counts.unknown,
    lost: verdict.lost,
    duplicated: verdict.duplicated,
    reordered: verdict.reordered,
    phantom: verdict.phantom,
    verified_tables: told.sum(told.verifiedTables),
    mismatches: told.mismatches,
    worker_peak_bytes: made.worker.peakBytes,
    seconds: Math.round((monotonicMs() - made.options.begun) / 100) / 10,
  };
};

/** Asks a given database for its version. Throws kind `unreachable`. */
export const readDemoServer = async (label: string, url: string): Promise<DemoServer> => {
  const server = new PostgresServer({ url, label, application: 'switchback/demo' });
  try {
    const { rows } = await server.query('SHOW server_version');
    return { url, version: rows[0]?.server_version?.split(' ')[0] ?? '' };
  } finally {
    await server.close();
  }
};
