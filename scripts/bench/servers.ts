import pg from 'pg';
import { type RunningServer, startServer } from '../../src/demo/servers.ts';
import { quoteName } from '../../src/platform/postgres/quote.ts';
import type { Pair, PairName } from './part.ts';

/** The majors of a pair, source first. */
const MAJORS = { '13→18': [13, 18], '18→18': [18, 18] } as const satisfies Record<
  PairName,
  readonly [13 | 18, 13 | 18]
>;

/** All pairs, in the order in which they are measured. */
export const PAIRS: readonly PairName[] = ['13→18', '18→18'];

/**
 * The same on every server for every contender: as durable as in earnest, enough memory that a table of the benchmarks
 * fits, no checkpoint and no autovacuum in the middle of a measurement (parts ask for both where they are due).
 */
export const SETTINGS: Readonly<Record<string, string>> = {
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  wal_level: 'logical',
  shared_buffers: '1GB',
  max_wal_size: '16GB',
  checkpoint_timeout: '1h',
  autovacuum: 'off',
};

/** The settings as one line for a reader. */
export const settingsText = (): string =>
  Object.entries(SETTINGS)
    .map(([name, value]) => `${name}=${value}`)
    .join(', ');

/** Starts both servers of a pair, runs the work, and ends and removes them, also when it rejects. */
export const withPair = async <T>(name: PairName, work: (pair: Pair) => Promise<T>): Promise<T> => {
  const [from, to] = MAJORS[name];
  const started: RunningServer[] = [];
  try {
    const source = await startServer({ version: from, settings: SETTINGS });
    started.push(source);
    const target = await startServer({ version: to, settings: SETTINGS });
    started.push(target);
    return await work({ name, source, target });
  } finally {
    for (const server of started) await server.stopAndRemove();
  }
};

/** A session of the benchmark's own, ended after the work. Values come as the driver parses them. */
export const withClient = async <T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> => {
  const client = new pg.Client({ connectionString: url, application_name: 'bench' });
  // A server that ends while a session is idle would otherwise end this process.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
};

/** Runs statements (several in one text are allowed) on a session of their own; returns the last one's rows. */
export const runSql = async (url: string, sql: string): Promise<readonly Record<string, unknown>[]> =>
  await withClient(url, async (client) => {
    const result: pg.QueryResult | pg.QueryResult[] = await client.query(sql);
    return (Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? [];
  });

/** Makes an empty database, in place of one of that name, and returns its URL. Its slots and subscriptions have to be gone. */
export const freshDatabase = async (server: RunningServer, name: string): Promise<string> => {
  await dropDatabase(server, name);
  await runSql(server.url, `CREATE DATABASE ${quoteName(name)}`);
  return server.urlFor(name);
};

/** Drops a database if it is there, and ends the sessions on it. */
export const dropDatabase = async (server: RunningServer, name: string): Promise<void> => {
  await runSql(server.url, `DROP DATABASE IF EXISTS ${quoteName(name)} WITH (FORCE)`);
};

/** Writes out what earlier rounds have left in memory, so that no contender pays for another. */
export const checkpoint = async (pair: Pair): Promise<void> => {
  await Promise.all([pair.source, pair.target].map((server) => runSql(server.url, 'CHECKPOINT')));
};
