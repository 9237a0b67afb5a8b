import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import type { ChainEnd } from '../../src/sidecar/chain.ts';
import { installSidecar } from '../../src/sidecar/install.ts';
import { readChainEnd, writeJournal } from '../../src/sidecar/journal.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';

// A COMMIT of the journal whose answer was lost may still be under way when its writer comes again. Nobody but the server
// can tell them apart then: the second waits for the first, and learns from the entry's key how that ended.

const WAITING = `SELECT count(*)::int AS n FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'`;
const END: ChainEnd = { id: 0n, hash: '' };
const ENTRY = {
  at: '2026-01-01T00:00:00.000000Z',
  epoch: 1n,
  scope: 'test',
  phases: [],
  status: 'begun',
  detail: null,
  ms: null,
} as const;

describe.each([13, 18] as const)('the end of the journal, PostgreSQL %i', (version) => {
  const server = useServer({ version });
  let sql: PostgresServer;
  let url = '';

  beforeAll(async () => {
    url = await createDatabase(server(), 'journal');
    sql = new PostgresServer({ url, label: 'source', application: 'switchback:test' });
    await sql.transaction(installSidecar);
  });
  beforeEach(async () => void (await runSql(url, 'DELETE FROM switchback.journal')));
  afterAll(async () => await sql?.close());

  /** Writes `first` in a transaction that stands open while `second` is written at the same end. */
  const race = async (end: 'commits' | 'rolls back'): Promise<unknown> => {
    const hasWritten = Promise.withResolvers<void>();
    const mayEnd = Promise.withResolvers<void>();
    const first = sql.transaction(async (transaction) => {
      await writeJournal(transaction, END, { ...ENTRY, step: 'first' });
      hasWritten.resolve();
      await mayEnd.promise;
      if (end === 'rolls back') throw new Error('the connection broke');
    });
    const ended = first.catch(() => undefined);
    await hasWritten.promise;
    const second = sql
      .transaction((transaction) => writeJournal(transaction, END, { ...ENTRY, step: 'second' }))
      .catch((error: unknown) => error);
    await expect.poll(async () => (await runSql(url, WAITING))[0]?.n, { timeout: 20_000 }).toBe(1);
    mayEnd.resolve();
    await ended;
    return await second;
  };
  const steps = async () =>
    (await runSql(url, 'SELECT step FROM switchback.journal ORDER BY id')).map((row) => row.step);

  it('is told as busy when the entry that was under way stands', async () => {
    expect(await race('commits')).toMatchObject({
      kind: 'busy',
      message: 'entry 1 of the journal was written by another transaction',
    });
    expect(await steps()).toEqual(['first']);
    expect((await readChainEnd(sql)).id).toBe(1n);
  });

  it('is free when it does not', async () => {
    expect(await race('rolls back')).toMatchObject({ id: 1n });
    expect(await steps()).toEqual(['second']);
  });
});
