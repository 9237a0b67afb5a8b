import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { quoteName } from '../../src/platform/postgres/quote.ts';
import { HOSTILE_NAMES, hostileSchema, hostileWrites } from '../support/hostile-names.ts';
import { expectExit, type Scenario, scenarioOn } from '../support/scenario.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/**
 * Every name that could be taken for SQL goes the whole way: made on the target by pg_dump, copied, followed, verified, cut
 * over, brought back, cut over again, finalised. Database and role have such names as well.
 */
const servers = useServerPair();
const DATABASE = `d"b'; --%s\\ é/?#`;
const ROLE = `ro"le'; \\$1 @:/é%41`;

/** Not by a URL: the driver's own reader of URLs does not find a database with such a name, and ours is what is tested. */
const onSide = async (side: 'source' | 'target', sql: string): Promise<pg.QueryResult> => {
  const client = new pg.Client({ host: '127.0.0.1', port: servers()[side].port, user: ROLE, database: DATABASE });
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
};

/** Every row of every table, by the table's name. */
const rowsOn = async (side: 'source' | 'target'): Promise<Readonly<Record<string, string>>> => {
  const { rows } = await onSide(
    side,
    `SELECT format('%I.%I', nspname, relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind = 'r' AND nspname = relname ORDER BY 1`,
  );
  const found: Record<string, string> = {};
  for (const { name } of rows as { name: string }[]) {
    const all = await onSide(
      side,
      `SELECT coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '') AS rows FROM ${name} t`,
    );
    found[name] = String(all.rows[0]?.rows);
  }
  return found;
};

describe('names that could be taken for SQL', () => {
  let scenario: Scenario;
  beforeAll(async () => {
    const urls: string[] = [];
    for (const server of [servers().source, servers().target]) {
      await createDatabase(server, DATABASE);
      await runSql(server.url, `CREATE ROLE ${quoteName(ROLE)} SUPERUSER LOGIN`);
      const [user, database] = [ROLE, DATABASE].map(encodeURIComponent);
      urls.push(`postgresql://${user}@127.0.0.1:${server.port}/${database}`);
    }
    const [source = '', target = ''] = urls;
    scenario = scenarioOn(
      { source, target },
      {
        phases: [
          { name: 'literal', tables: ['"a.b"."a.b"', '"*"."*"', '"!".*'] },
          { name: 'rest', tables: ['*.*'] },
        ],
        from: '{ from: pg_dump }',
        more: 'switch: { window: 30s, max_lag: 20s }',
      },
    );
  });
  afterAll(async () => await scenario?.close());

  it('go over, back and over again, and nothing else happens', async () => {
    const { run } = scenario;
    await onSide('source', hostileSchema());
    await onSide('source', hostileWrites(1));
    expectExit(await run.command('check', run.plan));
    const worker = scenario.worker();
    await worker.untilState('ready', 'literal', 'rest');
    await onSide('source', hostileWrites(2));
    expectExit(await run.command('verify', run.plan, 'literal', 'rest'));
    await scenario.change('cutover', 'literal', 'rest');
    await onSide('target', hostileWrites(3));
    await expect(onSide('source', hostileWrites(3))).rejects.toMatchObject({ code: '25006' });
    await scenario.change('failback', 'literal', 'rest');
    await onSide('source', hostileWrites(4));
    await scenario.change('cutover', 'literal', 'rest');
    await onSide('target', hostileWrites(5));
    expectExit(await run.command('verify', run.plan, 'literal', 'rest'));
    for (const side of ['source', 'target'] as const) {
      const { rows } = await onSide(
        side,
        `SELECT count(*)::int AS n FROM pg_class c
        JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND nspname = relname`,
      );
      expect(rows).toEqual([{ n: HOSTILE_NAMES.length }]);
    }
    expect(await rowsOn('target')).toEqual(await rowsOn('source'));
    expectExit(await run.command('audit', 'verify', run.plan));
    expectExit(await run.command('report', run.plan));
    const end = ['--early', '--unfence', '--confirm', 'literal,rest'];
    expectExit(await run.command('finalise', run.plan, 'literal', 'rest', ...end));
    await worker.stop();
    for (const side of ['source', 'target'] as const) {
      const { rows } = await onSide(
        side,
        `SELECT tgname FROM pg_trigger WHERE tgname LIKE 'switchback%'
        UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'switchback'
        UNION ALL SELECT pubname FROM pg_publication`,
      );
      expect(rows).toEqual([]);
    }
  });
});
