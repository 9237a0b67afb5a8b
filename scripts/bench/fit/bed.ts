import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { type Composition, compose } from '../../../src/compose.ts';
import { runCommand, type Self, WorkerProcess } from '../../../src/demo/program.ts';
import type { RunningServer } from '../../../src/demo/servers.ts';
import type { Event } from '../../../src/domain/event.ts';
import { loadPlan } from '../../../src/plan/load.ts';

const MAIN = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));

/** Both servers that a fit is measured on. */
export interface FitServers {
  readonly source: RunningServer;
  readonly target: RunningServer;
}

/** What one measurement moves. */
export interface BedOptions {
  readonly servers: FitServers;
  /** Of both databases. */
  readonly name: string;
  /** Texts run one after the other on both sides. */
  readonly schema: readonly string[];
  /** Run on the source alone. */
  readonly rows: readonly string[];
  readonly phases: readonly { readonly name: string; readonly tables: readonly string[] }[];
}

/** Two databases, a plan, and the command line over them. */
export interface Bed {
  readonly urls: { readonly source: string; readonly target: string };
  readonly plan: string;
  readonly composition: Composition;
  /** Runs a command with `--json`; throws when it fails. */
  command(...args: readonly string[]): Promise<Readonly<Record<string, unknown>>>;
  /** Starts the worker, and resolves when every phase has been told to be ready. */
  worker(onEvent?: (event: Event) => void): Promise<WorkerProcess>;
  /** Starts the worker and waits for nothing. */
  startWorker(onEvent: (event: Event) => void): WorkerProcess;
  remove(): Promise<void>;
}

/** Runs statements on a session of their own; the last one's rows. */
export const runSql = async (url: string, ...texts: readonly string[]): Promise<readonly Record<string, unknown>[]> => {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    let rows: readonly Record<string, unknown>[] = [];
    for (const text of texts) rows = (await client.query(text)).rows;
    return rows;
  } finally {
    await client.end();
  }
};

const planText = (phases: BedOptions['phases']): string =>
  [
    'version: 1',
    'name: fit',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
    'source: { url: "${FIT_SOURCE_URL}" }',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
    'target: { url: "${FIT_TARGET_URL}" }',
    'schema: { from: existing }',
    'phases:',
    ...phases.map((phase) => `  - ${JSON.stringify({ ...phase, router: 'app' })}`),
    'routers: { app: { kind: file, path: route.json } }',
    'switch: { window: 60s, max_lag: 30s }',
    '',
  ].join('\n');

/** Makes the databases and the plan; the caller calls `remove`. */
export const makeBed = async (options: BedOptions): Promise<Bed> => {
  const { servers, name, phases } = options;
  const urls = { source: servers.source.urlFor(name), target: servers.target.urlFor(name) };
  for (const side of ['source', 'target'] as const) {
    await runSql(servers[side].url, `CREATE DATABASE ${name}`);
    await runSql(urls[side], ...options.schema);
  }
  // A checkpoint of what was loaded would otherwise fall into somebody's measurement.
  await runSql(urls.source, ...options.rows, 'VACUUM ANALYZE', 'CHECKPOINT');
  const directory = mkdtempSync(join(tmpdir(), 'switchback-fit-'));
  const plan = join(directory, 'plan.yaml');
  writeFileSync(plan, planText(phases));
  const routes = Object.fromEntries(phases.map((phase) => [phase.name, { primary: 'source', held: false }]));
  writeFileSync(join(directory, 'route.json'), JSON.stringify(routes));
  const environment = { ...process.env, FIT_SOURCE_URL: urls.source, FIT_TARGET_URL: urls.target };
  const self: Self = { script: MAIN, environment };
  const composition = compose(await loadPlan(plan, environment), () => undefined);
  const startWorker: Bed['startWorker'] = (onEvent) => new WorkerProcess(self, { plan, onEvent });
  return {
    urls,
    plan,
    composition,
    command: async (...args) => (await runCommand(self, args)).json,
    startWorker,
    worker: async (onEvent) => await untilReady(startWorker, phases.length, onEvent),
    remove: async () => {
      await composition.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
};

const untilReady = async (
  start: Bed['startWorker'],
  phases: number,
  onEvent?: (event: Event) => void,
): Promise<WorkerProcess> => {
  const ready = new Set<string>();
  const all = Promise.withResolvers<void>();
  const worker = start((event) => {
    onEvent?.(event);
    if (event.type !== 'phase' || event.to !== 'ready') return;
    ready.add(event.phase);
    if (ready.size === phases) all.resolve();
  });
  await Promise.race([all.promise, worker.ended()]);
  return worker;
};
