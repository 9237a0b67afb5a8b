import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SqlExecutor } from '../../src/domain/sql.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { installSidecar } from '../../src/sidecar/install.ts';
import { readRun, writeEnding, writePinned, writeRun } from '../../src/sidecar/run.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';

// Two phases are prepared at once, one is ended while another is prepared: each writes its own facts into the run's one
// document, in a transaction of its own. Both have asserted the lease by then, which lets several of them in.

const WAITING = `SELECT count(*)::int AS n FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'`;
const ENDING = { command: 'abort', unfence: false } as const;

describe.each([13, 18] as const)('facts of a run, PostgreSQL %i', (version) => {
  const server = useServer({ version });
  let sql: PostgresServer;
  let url = '';

  beforeAll(async () => {
    url = await createDatabase(server(), 'facts');
    sql = new PostgresServer({ url, label: 'source', application: 'switchback:test' });
    const row = { id: 'r', side: 'source', planName: 'p', planHash: 'h', plan: {}, identity: 'a', peer: 'b' } as const;
    await sql.transaction(async (transaction) => {
      await installSidecar(transaction);
      await writeRun(transaction, { ...row, version: '2' });
    });
  });
  afterAll(async () => await sql?.close());

  it('that two transactions write at the same time are all there afterwards', async () => {
    const hasWritten = Promise.withResolvers<void>();
    const mayCommit = Promise.withResolvers<void>();
    const first = sql.transaction(async (transaction: SqlExecutor) => {
      await writePinned(transaction, 'orders', { tables: ['public.order'] });
      hasWritten.resolve();
      await mayCommit.promise;
    });
    await hasWritten.promise;
    const second = sql.transaction((transaction) =>
      writePinned(transaction, 'catalog', { tables: ['public.product'] }),
    );
    const third = sql.transaction((transaction) => writeEnding(transaction, ['stock'], ENDING));
    await expect.poll(async () => (await runSql(url, WAITING))[0]?.n, { timeout: 20_000 }).toBe(2);
    mayCommit.resolve();
    await Promise.all([first, second, third]);
    expect((await readRun(sql))?.facts).toEqual({
      tables: { orders: ['public.order'], catalog: ['public.product'] },
      ending: { stock: ENDING },
    });
  });
});
