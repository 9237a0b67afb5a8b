import pg from 'pg';
import { afterEach, beforeEach } from 'vitest';
import { postgresDatabase } from '../../src/databases/postgres/database.ts';
import type { RunningServer } from '../../src/demo/servers.ts';
import type { TableName } from '../../src/domain/table.ts';
import { becomeApplier } from '../../src/platform/postgres/applier.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import type { DatabaseFixture, Session } from '../contract/database.ts';
import { createDatabase, runSql } from './servers.ts';

/** Prepared transactions are possible, and autovacuum does not get in the way of timing. */
export const FENCE_SETTINGS = { max_prepared_transactions: '4', autovacuum: 'off' };
const SCHEMA = `
  CREATE SCHEMA switchback;
  CREATE TABLE public.guarded (n int); INSERT INTO public.guarded VALUES (0);
  CREATE SCHEMA shop;
  CREATE TABLE shop.a (id int PRIMARY KEY, note text); INSERT INTO shop.a VALUES (1, 'one'), (2, 'two');
  CREATE TABLE shop.b (id int PRIMARY KEY, note text);
  CREATE SEQUENCE shop.numbers;`;

let made = 0;

/** A session with its driver's client. */
export interface PostgresSession extends Session {
  readonly client: pg.Client;
}

/** A session of the application's. */
export const sessionOf = async (url: string): Promise<PostgresSession> => {
  const client = new pg.Client({ connectionString: url, application_name: 'app' });
  client.on('error', () => undefined);
  await client.connect();
  return {
    client,
    query: async (sql) => {
      const result: pg.QueryResult | pg.QueryResult[] = await client.query(sql);
      return (Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? [];
    },
    close: () => client.end().catch(() => undefined),
  };
};

/** The contract's fixture with what PostgreSQL's own tests need. */
export interface PostgresFixture extends DatabaseFixture {
  readonly url: string;
  readonly server: PostgresServer;
}

/** Makes a database with the contract's tables on a running server. */
export const makeFixture = async (running: RunningServer): Promise<PostgresFixture> => {
  const url = await createDatabase(running, `contract_${++made}`);
  await runSql(url, SCHEMA);
  const server = new PostgresServer({ url, label: 'source', application: 'switchback' });
  return {
    url,
    server,
    database: postgresDatabase(server),
    connect: () => sessionOf(url),
    connectApplier: async () => {
      const session = await sessionOf(url);
      await becomeApplier(session.client);
      return session;
    },
    guarded: 'public.guarded',
    refusal: '25006',
    close: () => server.close(),
  };
};

/** Names of tables in schema `shop`. */
export const names = (...tables: string[]): TableName[] => tables.map((name) => ({ schema: 'shop', name }));

/** A fixture of its own for every test, with sessions that are closed after it. */
export const useFixture = (running: () => RunningServer) => {
  let fixture: PostgresFixture | undefined;
  const open: PostgresSession[] = [];
  const current = (): PostgresFixture => {
    if (fixture === undefined) throw new Error('the fixture is there only within tests');
    return fixture;
  };
  beforeEach(async () => {
    fixture = await makeFixture(running());
  });
  afterEach(async () => {
    for (const session of open.splice(0)) await session.close();
    await fixture?.close();
  });
  const connect = async (url = current().url): Promise<PostgresSession> => {
    const session = await sessionOf(url);
    open.push(session);
    return session;
  };
  return { current, connect };
};
