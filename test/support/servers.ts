import pg from 'pg';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { findBinaries } from '../../src/demo/binaries.ts';
import { type RunningServer, type StartOptions, startServer } from '../../src/demo/servers.ts';
import { quoteName } from '../../src/platform/postgres/quote.ts';

/** A 13 as the source and an 18 as the target. */
export interface ServerPair {
  readonly source: RunningServer;
  readonly target: RunningServer;
}

/**
 * Starts both servers before the tests of this file and removes them afterwards. The returned function gives them from
 * within a hook or a test. Each test makes databases of its own with {@link createDatabase}.
 */
export const useServerPair = (settings: StartOptions['settings'] = {}): (() => ServerPair) => {
  const source = useServer({ version: 13, settings });
  const target = useServer({ version: 18, settings });
  return () => ({ source: source(), target: target() });
};

/**
 * Starts one server before the tests of this file and removes it afterwards. Where this platform has no such server the
 * tests are skipped, with a line that says so; under CI=true that is a failure.
 */
export const useServer = (options: StartOptions): (() => RunningServer) => {
  let server: RunningServer | undefined;
  let missing = '';
  beforeAll(async () => {
    try {
      findBinaries(options.version);
    } catch (error) {
      if (process.env.CI === 'true') throw error;
      missing = `SKIPPED: no PostgreSQL ${options.version} here: ${error instanceof Error ? error.message : error}`;
      process.stderr.write(`${missing}\n`);
      return;
    }
    server = await startServer(options);
  });
  beforeEach((test) => {
    if (missing !== '') test.skip(missing);
  });
  afterAll(async () => {
    await server?.stopAndRemove();
  });
  return () => {
    if (server === undefined) throw new Error('servers are there only within hooks and tests');
    return server;
  };
};

/** Makes an empty database and returns its URL. */
export const createDatabase = async (server: RunningServer, name: string): Promise<string> => {
  await runSql(server.url, `CREATE DATABASE ${quoteName(name)}`);
  return server.urlFor(name);
};

/** Runs statements (several in one text are allowed) on a session of their own; returns the last one's rows. */
export const runSql = async (url: string, sql: string): Promise<Record<string, unknown>[]> => {
  const client = new pg.Client({ connectionString: url, application_name: 'test' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const result: pg.QueryResult | pg.QueryResult[] = await client.query(sql);
    return (Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? [];
  } finally {
    await client.end();
  }
};
