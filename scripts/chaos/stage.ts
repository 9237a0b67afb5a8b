import { copyFileSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { giveTo, unprivileged } from '../../src/demo/binaries.ts';
import { type RunningServer, startServer } from '../../src/demo/servers.ts';
import type { Side } from '../../src/domain/position.ts';
import { FlakyProxy } from './proxy.ts';
import type { RouteFiles } from './route.ts';
import { PHASE_NAMES, PHASES, type PhaseName, ROWS_SQL, SCHEMA_SQL } from './workloads.ts';

/** The two servers with the ways to them, and the plan. */
export interface Stage {
  /** Holds the plan, the route files, logs, histories and both servers' directories. */
  readonly directory: string;
  readonly plan: string;
  readonly engine: Engine;
  readonly routeFiles: RouteFiles;
  /** The program's script, for Node. */
  readonly script: string;
  readonly servers: Readonly<Record<Side, RunningServer>>;
  /** Between the worker and each server, and between the clients and each server. */
  readonly workerProxies: Readonly<Record<Side, FlakyProxy>>;
  readonly clientProxies: Readonly<Record<Side, FlakyProxy>>;
  /** Straight to the servers, for the prober, our own looks and commands on "another machine". */
  readonly directUrls: Readonly<Record<Side, string>>;
  readonly clientUrls: Readonly<Record<Side, string>>;
}

/** The plan's engine. */
export type Engine = 'stream' | 'native';

const DATABASE = 'app';
const VERSIONS = { source: 13, target: 18 } as const;
/** Small logs, so that a disk of a few hundred megabytes is enough and can be filled. */
const SETTINGS = {
  max_wal_size: '128MB',
  min_wal_size: '48MB',
  shared_buffers: '64MB',
  log_min_messages: 'warning',
  wal_retrieve_retry_interval: '500ms',
};

type Urls = Readonly<Record<Side, string>>;

/** The servers reach each other directly: what is between them is no worker's and no client's way. */
const engineText = (engine: Engine, urls: Urls): string =>
  engine === 'stream'
    ? 'engine: stream'
    : `engine: native\nnative: { source: { url: "${urls.source}" }, target: { url: "${urls.target}" } }`;

/** A phase with one router, or with two that act one after the other and one of its readers. */
export type Routers = 'one' | 'several';

const NAMES = {
  one: { writers: ['app'], readers: undefined },
  several: { writers: ['app', 'other'], readers: 'readers' },
} as const;

const phaseText = (name: PhaseName, routers: Routers): string => {
  const { writers, readers } = NAMES[routers];
  const reads = readers === undefined ? '' : `, reads: ${readers}`;
  return `  - { name: ${name}, tables: ${JSON.stringify(PHASES[name])}, router: [${writers.join(', ')}]${reads} }`;
};

const routerText = (name: string): string => `  ${name}: { kind: file, path: ${name}.json }`;

const namesOf = (routers: Routers): readonly string[] => Object.values(NAMES[routers]).flatMap((names) => names ?? []);

const planText = (engine: Engine, routers: Routers, urls: Urls): string => `# Made by scripts/chaos.
version: 1
name: chaos
source: { url: "\${OLD_DATABASE_URL}" }
target: { url: "\${NEW_DATABASE_URL}" }
schema: { from: existing }
${engineText(engine, urls)}
phases:
${PHASE_NAMES.map((name) => phaseText(name, routers)).join('\n')}
routers:
${namesOf(routers).map(routerText).join('\n')}
switch: { max_lag: 5s, window: 5s, blockers: { wait: 500ms, then: terminate } }
`;

/** What the stage is made of, in the order in which it is taken down. */
export interface StageOptions {
  /** More variables of each server's process. */
  readonly environments: Readonly<Record<Side, Readonly<Record<string, string>>>>;
  /** Where a server's directory is to be made; it exists. */
  readonly serverDirectories: Readonly<Record<Side, string>>;
  readonly directory: string;
  readonly engine: Engine;
  readonly routers: Routers;
}

/** A new directory that the servers' user can reach. */
export const makeDirectory = (): string => {
  const directory = mkdtempSync(join(tmpdir(), 'switchback-chaos-'));
  giveTo(directory, unprivileged());
  return directory;
};

/** Makes the place of a server's data below the directory. */
export const makeServerDirectory = (directory: string, side: Side): string => {
  const path = join(directory, side);
  mkdirSync(path);
  return path;
};

/** Starts both servers with their proxies, makes the tables, and writes the plan and its route files. */
export const setStage = async (options: StageOptions): Promise<Stage> => {
  const { directory, serverDirectories, environments, engine, routers } = options;
  const start = async (side: Side) =>
    await startServer({
      version: VERSIONS[side],
      directory: serverDirectories[side],
      settings: SETTINGS,
      environment: environments[side],
    });
  const servers = {
    source: await start('source'),
    target: await start('target'),
  };
  for (const side of ['source', 'target'] as const) {
    await runSql(servers[side].url, `CREATE DATABASE ${DATABASE}`);
    await runSql(servers[side].urlFor(DATABASE), SCHEMA_SQL);
  }
  await runSql(servers.source.urlFor(DATABASE), ROWS_SQL);
  const plan = join(directory, 'plan.yaml');
  const directUrls = { source: servers.source.urlFor(DATABASE), target: servers.target.urlFor(DATABASE) };
  writeFileSync(plan, planText(engine, routers, directUrls));
  const routeFiles = writeRoutes(directory, routers);
  const proxies = async () => ({
    source: await FlakyProxy.start(servers.source.port),
    target: await FlakyProxy.start(servers.target.port),
  });
  const [workerProxies, clientProxies] = [await proxies(), await proxies()];
  return {
    directory,
    plan,
    engine,
    routeFiles,
    script: fileURLToPath(new URL('../../src/main.ts', import.meta.url)),
    servers,
    workerProxies,
    clientProxies,
    directUrls,
    clientUrls: { source: urlOf('127.0.0.1', clientProxies.source), target: urlOf('127.0.0.1', clientProxies.target) },
  };
};

const writeRoutes = (directory: string, routers: Routers): RouteFiles => {
  const written = (name: string): string => {
    const path = join(directory, `${name}.json`);
    writeFileSync(path, JSON.stringify(Object.fromEntries(PHASE_NAMES.map((phase) => [phase, { primary: 'source' }]))));
    return path;
  };
  const { writers, readers } = NAMES[routers];
  const [first, ...rest] = writers;
  return {
    writers: [written(first), ...rest.map(written)],
    readers: readers === undefined ? undefined : written(readers),
  };
};

/** The database's URL through a proxy on one of its addresses. Without TLS: the namespace is of this machine. */
export const urlOf = (host: string, proxy: FlakyProxy): string =>
  `postgresql://postgres@${host}:${proxy.port}/${DATABASE}?sslmode=disable`;

/** Ends proxies and servers, and keeps the servers' logs beside the histories, in case that they are wanted. */
export const strike = async (stage: Stage): Promise<void> => {
  for (const proxies of [stage.workerProxies, stage.clientProxies]) {
    await Promise.all([proxies.source.close(), proxies.target.close()]);
  }
  for (const side of ['source', 'target'] as const) {
    const server = stage.servers[side];
    await server.stop();
    copyFileSync(join(server.directory, 'server.log'), join(stage.directory, `${side}-server.log`));
  }
};

/** Runs statements on a session of their own; returns the last one's rows. Gives up when there is no answer for a while. */
export const runSql = async (url: string, sql: string): Promise<readonly Record<string, unknown>[]> => {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'chaos',
    connectionTimeoutMillis: 5_000,
    query_timeout: 30_000,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const result: pg.QueryResult | pg.QueryResult[] = await client.query(sql);
    return (Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? [];
  } finally {
    const late = setTimeout(() => client.connection.stream.destroy(), 1_000);
    await client.end().catch(() => undefined);
    clearTimeout(late);
  }
};
