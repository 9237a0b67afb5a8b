import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { attempt } from '../../src/demo/attempt.ts';
import { startClients } from '../../src/demo/clients.ts';
import { Ledger } from '../../src/demo/ledger.ts';
import { checkLedger, type LedgerVerdict } from '../../src/demo/ledger-check.ts';
import { readPrimaryRows } from '../../src/demo/primary-rows.ts';
import { createShop, type ShopSize } from '../../src/demo/shop.ts';
import { stallOf, switchesSeen } from '../../src/demo/stall.ts';
import { sleep } from '../../src/platform/clock.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';

/**
 * The evidence of every other scenario rests on the clients and the ledger's check, so they are shown here on a server that
 * nothing replicates: clean when nothing happens to the database, and red for each fault that is planted in it.
 */
const server = useServer({ version: 13 });
const directory = mkdtempSync(join(tmpdir(), 'switchback-clients-'));
const routeFile = join(directory, 'route.json');
const CLEAN = { lost: 0, duplicated: 0, reordered: 0, phantom: 0 };

const route = (held: boolean, primary: 'source' | 'target' = 'source'): void => {
  writeFileSync(`${routeFile}.new`, JSON.stringify({ catalog: { primary, held }, orders: { primary, held } }));
  renameSync(`${routeFile}.new`, routeFile);
};

afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('clients of the shop', () => {
  const ledger = new Ledger();
  let url = '';

  const verdict = async (): Promise<LedgerVerdict> =>
    checkLedger(ledger, await readPrimaryRows({ catalog: url, orders: url }));

  /** Plants a fault in both journals' database, looks, and takes it back. */
  const planted = async (sql: string): Promise<LedgerVerdict> => {
    await runSql(url, sql);
    const found = await verdict();
    for (const table of ['order_write', 'order_register']) {
      await runSql(url, `TRUNCATE shop.${table}; INSERT INTO shop.${table} SELECT * FROM kept.${table}`);
    }
    return found;
  };

  beforeAll(async () => {
    url = await createDatabase(server(), 'shop');
    const size = await createShop(url, { rows: 20_000 });
    route(false);
    const clients = startClients({ urls: { source: url, target: url }, routeFile, size, ledger, clients: 8 });
    do await sleep(3_000);
    while (clients.stats().acknowledged <= 600);
    await clients.stop();
    await runSql(url, 'CREATE SCHEMA kept; CREATE TABLE kept.order_write AS TABLE shop.order_write');
    await runSql(url, 'CREATE TABLE kept.order_register AS TABLE shop.order_register');
    await runSql(url, 'ALTER TABLE shop.order_write DROP CONSTRAINT order_write_pkey');
  });

  it('write, change, delete and read, with nothing failed and the ledger clean', async () => {
    const counts = ledger.counts();
    expect(counts).toMatchObject({ failed: 0, unknown: 0, pending: 0 });
    expect(Object.keys(counts.refusals).filter((code) => code !== '40P01')).toEqual([]);
    const found = await verdict();
    expect(found).toMatchObject(CLEAN);
    expect(found.acknowledged).toBeGreaterThan(300);
    expect(found.reads).toBeGreaterThan(30);
    expect(found.acknowledged + found.reads).toBe(counts.acknowledged);
  });

  it('show a written row that was deleted as lost', async () => {
    const first = await planted('DELETE FROM shop.order_write WHERE op = (SELECT min(op) FROM shop.order_write)');
    expect(first).toMatchObject({ ...CLEAN, lost: 1 });
    const last = await planted('DELETE FROM shop.order_write WHERE op = (SELECT max(op) FROM shop.order_write)');
    expect(last).toMatchObject({ ...CLEAN, lost: 1 });
  });

  it('show a row that is there twice as duplicated', async () => {
    const found = await planted('INSERT INTO shop.order_write (TABLE shop.order_write LIMIT 1)');
    expect(found).toMatchObject({ ...CLEAN, duplicated: 1 });
  });

  it('show two versions of a key that were swapped as reordered', async () => {
    const found = await planted(
      'UPDATE shop.order_write SET version = 3 - version WHERE key = 1 AND version IN (1, 2)',
    );
    expect(found).toMatchObject({ lost: 0, duplicated: 0, phantom: 0 });
    expect(found.reordered).toBeGreaterThanOrEqual(2);
  });

  it('show a register that an older write overwrote as reordered', async () => {
    const found = await planted('UPDATE shop.order_register SET version = version - 1, op = after_op WHERE key = 1');
    expect(found).toMatchObject({ ...CLEAN, reordered: 1 });
  });

  it('show a row that nobody wrote as a phantom', async () => {
    const found = await planted("INSERT INTO shop.order_write VALUES (1000000, 1, 1, 1000000, 0, '')");
    expect(found.phantom).toBe(1);
  });

  it('are clean again once the planted faults are taken back', async () => {
    expect(await verdict()).toMatchObject(CLEAN);
  });
});

describe('clients in a switch', () => {
  let size: ShopSize;
  let oldUrl = '';
  let databases = 0;

  beforeEach(async () => {
    oldUrl = await createDatabase(server(), `old_${databases++}`);
    size = await createShop(oldUrl, { rows: 2_000 });
  });

  /** The same database under another URL stands for the new side, so that it needs no replication. */
  it('wait while held, follow the repoint, and try again what a fence refused', async () => {
    const ledger = new Ledger();
    const newUrl = `${oldUrl}?application_name=new`;
    route(false);
    const urls = { source: oldUrl, target: newUrl };
    const clients = startClients({ urls, routeFile, size, ledger, clients: 6, ratePerSecond: 300 });
    await sleep(500);
    await runSql(oldUrl, FENCE);
    await sleep(200);
    route(true);
    await runSql(oldUrl, 'DROP TRIGGER fence ON shop.order_write');
    const before = clients.stats().acknowledged;
    await sleep(300);
    const during = clients.stats().acknowledged;
    route(false, 'target');
    await expect.poll(() => clients.stats().acknowledged).toBeGreaterThan(during + 50);
    await clients.stop();

    const { refusals, failed, unknown } = clients.stats();
    const codes = Object.keys(refusals).filter((code) => code !== '40P01');
    expect({ failed, unknown, codes }).toEqual({ failed: 0, unknown: 0, codes: ['25006'] });
    expect(during - before).toBeLessThanOrEqual(12);
    expect(checkLedger(ledger, await readPrimaryRows({ catalog: oldUrl, orders: oldUrl }))).toMatchObject(CLEAN);
    const seen = switchesSeen(ledger);
    expect(seen.map(({ from, to }) => [from, to])).toEqual([
      ['source', 'target'],
      ['source', 'target'],
    ]);
    const orders = seen.find(({ phases }) => phases.includes('orders'));
    if (orders === undefined) throw new Error('no switch of orders was seen');
    const stall = stallOf(ledger, orders);
    expect(stall.maxMs).toBeGreaterThan(250);
    expect(stall.errors).toBeGreaterThan(0);
  });

  it('come through a crash of the server with nothing lost', async () => {
    const ledger = new Ledger();
    route(false);
    const clients = startClients({ urls: { source: oldUrl, target: oldUrl }, routeFile, size, ledger, clients: 6 });
    await sleep(500);
    await server().kill();
    const before = clients.stats().acknowledged;
    await expect.poll(() => clients.stats().refusals.ECONNREFUSED).toBeGreaterThan(0);
    await server().start();
    await expect.poll(() => clients.stats().acknowledged).toBeGreaterThan(before);
    // The others have longer pauses, and what still waits when they are stopped is given up.
    await sleep(1_000);
    await clients.stop();
    expect(clients.stats()).toMatchObject({ failed: 0, pending: 0 });
    expect(checkLedger(ledger, await readPrimaryRows({ catalog: oldUrl, orders: oldUrl }))).toMatchObject(CLEAN);
  });

  it('give up what waits when they are stopped, and leave no session', async () => {
    const ledger = new Ledger();
    route(true);
    const clients = startClients({ urls: { source: oldUrl, target: oldUrl }, routeFile, size, ledger, clients: 3 });
    await sleep(100);
    await clients.stop();
    expect(ledger.counts()).toMatchObject({ failed: 3, acknowledged: 0, pending: 0 });
    const sessions = "SELECT FROM pg_stat_activity WHERE application_name LIKE 'shop-client%'";
    await expect.poll(async () => (await runSql(oldUrl, sessions)).length).toBe(0);
  });
});

describe('an attempt', () => {
  let url = '';

  beforeAll(async () => {
    url = await createDatabase(server(), 'attempts');
    await runSql(url, ATTEMPTS);
  });

  /** Does `insert into t` with a value that makes the deferred trigger end the commit in some way. */
  const outcomeOf = async (value: string): Promise<{ outcome: string; code?: string }> => {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => undefined);
    await client.connect();
    const result = await attempt(client, async () => {
      await client.query('INSERT INTO t VALUES ($1)', [value]);
      return value;
    });
    await client.end().catch(() => undefined);
    return result.outcome === 'done' ? { outcome: 'done' } : { outcome: result.outcome, code: result.code };
  };

  it.each([
    ['done', { outcome: 'done' }, 1],
    ['refuse', { outcome: 'refused', code: '25006' }, 0],
    ['refuse late', { outcome: 'refused', code: '25006' }, 0],
    ['end', { outcome: 'refused', code: '57P01' }, 0],
    ['end late', { outcome: 'unknown', code: '57P01' }, 0],
  ])('that is to %s', async (value, expected, rows) => {
    expect(await outcomeOf(value)).toEqual(expected);
    expect(await runSql(url, `SELECT FROM t WHERE value = '${value}'`)).toHaveLength(rows);
  });

  it('whose transaction had failed unseen is not taken for done', async () => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const result = await attempt(client, async () => {
      await client.query('INSERT INTO t VALUES (NULL)').catch(() => undefined);
    });
    await client.end();
    expect(result).toMatchObject({ outcome: 'refused', code: 'ROLLBACK' });
  });
});

const FENCE = `
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN RAISE EXCEPTION 'fenced' USING ERRCODE = '25006'; END $$;
CREATE TRIGGER fence BEFORE INSERT OR UPDATE OR DELETE ON shop.order_write FOR EACH STATEMENT EXECUTE FUNCTION refuse();
`;

const ATTEMPTS = `
CREATE TABLE t (value text NOT NULL);
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.value LIKE 'refuse%' THEN RAISE EXCEPTION 'fenced' USING ERRCODE = '25006'; END IF;
  IF NEW.value LIKE 'end%' THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER at_once BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.value IN ('refuse', 'end')) EXECUTE FUNCTION act();
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.value LIKE '% late') EXECUTE FUNCTION act();
`;
