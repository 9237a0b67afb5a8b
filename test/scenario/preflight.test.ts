import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { postgresChecks } from '../../src/databases/postgres/checks/checks.ts';
import { readServer } from '../../src/databases/postgres/checks/facts/server.ts';
import { judgeServer } from '../../src/databases/postgres/checks/judge/server.ts';
import {
  CLEAN_SCHEMA,
  checkAll,
  checkInput,
  serverFor,
  unexpected,
  useCleanPair,
  withServers,
} from '../support/checks.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';
import { PLANTS } from './preflight-plants.ts';

describe('preflight on 13 and 18', () => {
  const { pair, clean, copies } = useCleanPair({ max_prepared_transactions: '4' });

  test('a clean pair has no finding but the table without a key', async () => {
    const findings = await checkAll(await copies());
    expect(unexpected(findings)).toEqual([]);
    expect(findings.map((finding) => finding.subject)).toEqual(['shop.log', 'shop.log on the target']);
  });

  test.each(PLANTS)('$what', async (plant) => {
    const urls = await copies();
    if (plant.source !== undefined) await runSql(urls.source, plant.source);
    if (plant.target !== undefined) await runSql(urls.target, plant.target);
    const findings = unexpected(await checkAll(urls, plant.check));
    const found = findings.filter((finding) => finding.id === plant.finding);
    expect(
      found.map((finding) => finding.severity),
      JSON.stringify(findings, null, 1),
    ).toContain(plant.severity);
    if (plant.fact !== undefined) expect(found.map((finding) => finding.fact).join('\n')).toMatch(plant.fact);
    const others = findings.filter((finding) => finding.id !== plant.finding && !plant.also?.includes(finding.id));
    expect(others).toEqual([]);
    for (const finding of findings) expect(finding.remedy.length).toBeGreaterThan(5);
  });

  // A server prints what it parsed: 18 reads 13's own text of an IN list and prints it differently.
  test('a schema that was printed by 13 and read by 18 does not differ', async () => {
    const urls = await copies();
    const printed = await runSql(
      urls.source,
      `SELECT format('ALTER TABLE shop.customer DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', conname, conname, pg_get_constraintdef(oid)) AS sql
       FROM pg_constraint WHERE conrelid = 'shop.customer'::regclass AND contype = 'c'`,
    );
    await runSql(urls.target, printed.map((row) => row.sql).join(';'));
    expect(unexpected(await checkAll(urls))).toEqual([]);
  });

  test('indexes and foreign keys may be missing while their phase is copied, and only then', async () => {
    const urls = await copies();
    await runSql(
      urls.target,
      `ALTER TABLE shop.purchase DROP CONSTRAINT purchase_customer_fkey, DROP CONSTRAINT purchase_during_excl;
       ALTER TABLE shop.customer DROP CONSTRAINT customer_email_key; DROP INDEX shop.customer_kind`,
    );
    expect(unexpected(await checkAll(urls, () => ({ copying: new Set(['shop']) })))).toEqual([]);
    expect(unexpected(await checkAll(urls))).toHaveLength(4);
  });

  test('the same database on both sides', async () => {
    const urls = await copies();
    const findings = await checkAll({ source: urls.source, target: urls.source });
    expect(findings.map((finding) => finding.id)).toContain('server/same-database');
  });

  test('a subscription that writes to the tables', async () => {
    const urls = await copies();
    const at = new URL(pair().target.urlFor(clean));
    await runSql(urls.target, 'ALTER TABLE shop.log REPLICA IDENTITY FULL');
    await runSql(at.toString(), 'CREATE PUBLICATION loop FOR TABLE shop.log');
    await runSql(at.toString(), `SELECT pg_create_logical_replication_slot('loop', 'pgoutput')`);
    const connection = `host=127.0.0.1 port=${at.port} user=postgres dbname=${clean}`;
    await runSql(
      urls.target,
      `CREATE SUBSCRIPTION loop CONNECTION '${connection}' PUBLICATION loop WITH (create_slot = false, slot_name = 'loop', copy_data = false)`,
    );
    const findings = await checkAll(urls);
    expect(unexpected(findings).map((finding) => [finding.id, finding.severity])).toEqual([
      ['replication/subscription', 'blocks'],
    ]);
    await runSql(urls.target, 'ALTER SUBSCRIPTION loop DISABLE');
    await runSql(urls.target, 'ALTER SUBSCRIPTION loop SET (slot_name = NONE)');
    await runSql(urls.target, 'DROP SUBSCRIPTION loop');
    expect(unexpected(await checkAll(urls))).toEqual([]);
    await runSql(at.toString(), `DROP PUBLICATION loop; SELECT pg_drop_replication_slot('loop')`);
  });

  test('long and prepared transactions', async () => {
    const urls = await copies();
    await runSql(urls.source, `BEGIN; INSERT INTO shop.log VALUES (now(), 'x'); PREPARE TRANSACTION 'left behind'`);
    const writer = new pg.Client({ connectionString: urls.source });
    await writer.connect();
    await writer.query(`BEGIN; INSERT INTO shop.log VALUES (now(), 'y')`);
    const findings = await withServers(urls, async ({ source }) =>
      judgeServer(await readServer(source, 0), { lanes: 1, made: 0 }),
    );
    expect(findings.map((finding) => finding.id).sort()).toEqual([
      'server/long-transaction',
      'server/prepared-transaction',
    ]);
    expect(findings.map((finding) => finding.remedy).join()).toContain(`ROLLBACK PREPARED 'left behind'`);
    await writer.query('ROLLBACK');
    await writer.end();
    await runSql(urls.source, `ROLLBACK PREPARED 'left behind'`);
  });

  test('settings that a connection pooler or the role take away', async () => {
    const urls = await copies();
    await runSql(
      urls.target,
      `DROP ROLE IF EXISTS limited; CREATE ROLE limited SUPERUSER LOGIN;
      ALTER ROLE limited SET transaction_timeout = '1h'; ALTER ROLE limited SET default_transaction_read_only = on`,
    );
    const target = new URL(urls.target);
    target.username = 'limited';
    const findings = await checkAll({ source: urls.source, target: target.toString() });
    expect(
      unexpected(findings)
        .map((finding) => finding.id)
        .sort(),
    ).toEqual(['server/read-only', 'server/timeout']);
  });
});

describe('a server that is not set up for it', () => {
  const good = useServer({ version: 13 });
  const bad = useServer({
    version: 18,
    settings: {
      wal_level: 'replica',
      max_replication_slots: '1',
      max_wal_senders: '1',
      max_connections: '12',
      max_slot_wal_keep_size: '1MB',
      idle_replication_slot_timeout: '60s',
      wal_sender_timeout: '1s',
      idle_session_timeout: '1h',
      fsync: 'off',
    },
  });

  test('is told every setting', async () => {
    const source = await createDatabase(good(), 'shop');
    await runSql(bad().url, `CREATE DATABASE shop ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`);
    await runSql(bad().url, `SELECT pg_create_physical_replication_slot('standby')`);
    const target = bad().urlFor('shop');
    await runSql(source, CLEAN_SCHEMA);
    await runSql(target, CLEAN_SCHEMA);
    const sides = { source: serverFor(source, 'source'), target: serverFor(target, 'target') };
    const findings = await postgresChecks(await checkInput(sides));
    expect(findings.map((finding) => finding.id).sort()).toEqual(
      [
        'database/collation',
        'database/encoding',
        'server/connections',
        'server/failover',
        'server/fsync',
        'server/idle-slots',
        'server/senders',
        'server/sender-timeout',
        'server/slot-keep-size',
        'server/slots',
        'server/timeout',
        'server/wal-level',
      ].sort(),
    );
    for (const finding of findings) expect(finding.subject).toBe('target');
    await Promise.all([sides.source.close(), sides.target.close()]);
  });
});
