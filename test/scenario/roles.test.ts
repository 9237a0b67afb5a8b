import { readFileSync } from 'node:fs';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/domain/finding.ts';
import { expectExit, type Scenario, scenarioOn } from '../support/scenario.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/**
 * The whole way as the role of docs/grants.md and nothing more. The statements are read from the page, so that the page is
 * what is tested; around them is a database that gives nothing away: PUBLIC may not even connect.
 */
const servers = useServerPair();
const page = readFileSync(new URL('../../docs/grants.md', import.meta.url), 'utf8');

/** The page's statements under a heading of the fence: none for both servers, `13`, `15`, `target`, `after`. */
const statements = (tag: string): string => {
  const blocks = [...page.matchAll(/^```sql *(\w*)\n([\s\S]*?)^```$/gm)].filter((match) => match[1] === tag);
  if (blocks.length === 0) throw new Error(`docs/grants.md has no block "sql ${tag}"`);
  return blocks.map((match) => match[2]).join('\n');
};

/** What a service has that existed before us: an owner of the tables, an application, a schema that is somebody else's. */
const ROLES = `
  CREATE ROLE shop_owner NOLOGIN; CREATE ROLE shop_app LOGIN;`;
const DATABASE = `
  REVOKE ALL ON DATABASE shop FROM PUBLIC; GRANT CONNECT ON DATABASE shop TO shop_app;
  CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO shop_app, shop_owner;
  REVOKE ALL ON SCHEMA public FROM PUBLIC;
  CREATE SEQUENCE shop.ticket; ALTER SEQUENCE shop.ticket OWNER TO shop_owner;
  CREATE TABLE shop.customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
  CREATE TABLE shop.sale (id bigserial, day date NOT NULL, customer int NOT NULL REFERENCES shop.customer,
    PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
  CREATE TABLE shop.sale_1 PARTITION OF shop.sale FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
  CREATE TABLE shop.sale_2 PARTITION OF shop.sale FOR VALUES FROM ('2024-07-01') TO ('2025-01-01');
  CREATE TABLE shop.note (n int, words text); ALTER TABLE shop.note REPLICA IDENTITY FULL;
  CREATE TABLE shop.secret (id int PRIMARY KEY, owner text);
  ALTER TABLE shop.secret ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
  CREATE POLICY own ON shop.secret USING (owner = current_user);
  ALTER TABLE shop.customer OWNER TO shop_owner; ALTER TABLE shop.sale OWNER TO shop_owner;
  ALTER TABLE shop.sale_1 OWNER TO shop_owner; ALTER TABLE shop.sale_2 OWNER TO shop_owner;
  ALTER TABLE shop.note OWNER TO shop_owner; ALTER TABLE shop.secret OWNER TO shop_owner;
  GRANT ALL ON ALL TABLES IN SCHEMA shop TO shop_app; GRANT ALL ON ALL SEQUENCES IN SCHEMA shop TO shop_app;`;
const ROWS = `
  INSERT INTO shop.customer (name) SELECT 'customer ' || i FROM generate_series(1, 200) i;
  INSERT INTO shop.sale (day, customer) SELECT date '2024-01-01' + i, 1 + i % 200 FROM generate_series(0, 300) i;
  INSERT INTO shop.note SELECT i % 3, 'same' FROM generate_series(1, 20) i;
  INSERT INTO shop.secret VALUES (1, 'somebody'), (2, 'somebody else');`;
const WRITES = `
  INSERT INTO shop.customer (name) SELECT 'new ' || currval || ' ' || i
    FROM generate_series(1, 5) i, (SELECT count(*) AS currval FROM shop.customer) c;
  UPDATE shop.sale SET day = day + 200 WHERE id = (SELECT min(id) FROM shop.sale WHERE day < '2024-06-01');
  DELETE FROM shop.sale WHERE id = (SELECT max(id) FROM shop.sale);
  INSERT INTO shop.note VALUES (7, 'same'); UPDATE shop.note SET n = 9 WHERE ctid = (SELECT min(ctid) FROM shop.note);
  SELECT nextval('shop.ticket');`;

const MORE = 'switch: { window: 20s, max_lag: 10s, blockers: { wait: 200ms, then: terminate } }';

const setUp = async (): Promise<Scenario> => {
  const { source, target } = servers();
  const urls = { source: await createDatabase(source, 'shop'), target: await createDatabase(target, 'shop') };
  for (const [url, tags] of [
    [urls.source, ['', '13']],
    [urls.target, ['', '15', 'target']],
  ] as const) {
    await runSql(url, ROLES);
    await runSql(url, DATABASE);
    for (const tag of tags) await runSql(url, statements(tag));
  }
  await runSql(urls.source, ROWS);
  return scenarioOn(
    { source: source.urlFor('shop', 'mover'), target: target.urlFor('shop', 'mover') },
    { phases: [{ name: 'all', tables: ['shop.*'] }], more: MORE },
  );
};

/** A statement that takes a grant away, the side, and what `check` must say: each finding's id and a part of its remedy. */
interface Missing {
  readonly what: string;
  readonly side: 'source' | 'target';
  readonly revoke: string;
  readonly restore: string;
  readonly id: string;
  readonly remedy: string;
}

const onBoth = (missing: Omit<Missing, 'side'>): readonly Missing[] => [
  { ...missing, side: 'source' },
  { ...missing, side: 'target' },
];

const MISSING: readonly Missing[] = [
  ...onBoth({
    what: 'REPLICATION',
    revoke: 'ALTER ROLE mover NOREPLICATION',
    restore: 'ALTER ROLE mover REPLICATION',
    id: 'privilege/missing',
    remedy: 'ALTER ROLE "mover" REPLICATION',
  }),
  ...onBoth({
    what: 'BYPASSRLS',
    revoke: 'ALTER ROLE mover NOBYPASSRLS',
    restore: 'ALTER ROLE mover BYPASSRLS',
    id: 'table/row-security',
    remedy: 'BYPASSRLS',
  }),
  ...onBoth({
    what: 'CREATE on the database',
    revoke: 'REVOKE CREATE ON DATABASE shop FROM mover',
    restore: 'GRANT CREATE ON DATABASE shop TO mover',
    id: 'privilege/missing',
    remedy: 'GRANT CREATE ON DATABASE "shop" TO "mover"',
  }),
  ...onBoth({
    what: 'TEMPORARY on the database',
    revoke: 'REVOKE TEMPORARY ON DATABASE shop FROM mover',
    restore: 'GRANT TEMPORARY ON DATABASE shop TO mover',
    id: 'privilege/missing',
    remedy: 'GRANT TEMPORARY ON DATABASE "shop" TO "mover"',
  }),
  ...onBoth({
    what: 'pg_signal_backend',
    revoke: 'REVOKE pg_signal_backend FROM mover',
    restore: 'GRANT pg_signal_backend TO mover',
    id: 'privilege/missing',
    remedy: 'GRANT pg_signal_backend TO "mover"',
  }),
  ...onBoth({
    what: 'pg_read_all_stats',
    revoke: 'REVOKE pg_read_all_stats FROM mover',
    restore: 'GRANT pg_read_all_stats TO mover',
    id: 'privilege/missing',
    remedy: 'GRANT pg_read_all_stats TO "mover"',
  }),
  {
    what: 'the function of the applier',
    side: 'source',
    revoke: 'REVOKE EXECUTE ON FUNCTION switchback_admin.become_applier() FROM mover',
    restore: 'GRANT EXECUTE ON FUNCTION switchback_admin.become_applier() TO mover',
    id: 'privilege/missing',
    remedy: 'become_applier',
  },
  {
    what: 'SET of session_replication_role',
    side: 'target',
    revoke: 'REVOKE SET ON PARAMETER session_replication_role FROM mover',
    restore: 'GRANT SET ON PARAMETER session_replication_role TO mover',
    id: 'privilege/missing',
    remedy: 'GRANT SET ON PARAMETER session_replication_role TO "mover"',
  },
  {
    what: 'CREATE on the schema',
    side: 'target',
    revoke: 'REVOKE CREATE ON SCHEMA shop FROM mover',
    restore: 'GRANT CREATE ON SCHEMA shop TO mover',
    id: 'privilege/schema',
    remedy: 'GRANT CREATE ON SCHEMA "shop" TO "mover"',
  },
  {
    what: 'ownership of one table',
    side: 'source',
    revoke: 'ALTER TABLE shop.note OWNER TO postgres; GRANT SELECT, INSERT, UPDATE, DELETE ON shop.note TO mover',
    restore: 'ALTER TABLE shop.note OWNER TO shop_owner; REVOKE ALL ON shop.note FROM mover',
    id: 'privilege/not-owner',
    remedy: 'GRANT "postgres" TO "mover"',
  },
  {
    what: 'the state of a sequence',
    side: 'target',
    revoke: 'ALTER SEQUENCE shop.ticket OWNER TO postgres',
    restore: 'ALTER SEQUENCE shop.ticket OWNER TO shop_owner',
    id: 'privilege/sequence',
    remedy: 'GRANT SELECT, UPDATE ON SEQUENCE "shop"."ticket" TO "mover"',
  },
];

describe('roles without superuser', () => {
  let scenario: Scenario;
  const admin = (side: 'source' | 'target', sql: string) => runSql(servers()[side].urlFor('shop'), sql);
  beforeAll(async () => {
    scenario = await setUp();
  });
  afterAll(async () => {
    await scenario?.close();
  });

  const findings = async (): Promise<readonly Finding[]> => {
    const { json } = await scenario.run.command('check', scenario.run.plan);
    if (json.findings === undefined) throw new Error(JSON.stringify(json));
    return json.findings as readonly Finding[];
  };

  it('check finds nothing missing with the statements of docs/grants.md', async () => {
    const found = await findings();
    expect(found.filter((f) => f.severity === 'blocks' || /^(privilege|role|table\/row)/.test(f.id))).toEqual([]);
  });

  it.each(MISSING)('check names $what on the $side, and nothing else', async (missing) => {
    const before = new Set((await findings()).map((f) => JSON.stringify(f)));
    await admin(missing.side, missing.revoke);
    try {
      const found = (await findings()).filter((f) => !before.has(JSON.stringify(f)) && !f.id.startsWith('role/'));
      expect(found.map((f) => f.id)).toEqual([missing.id]);
      expect(`${found[0]?.subject} ${found[0]?.fact}`).toContain(missing.side);
      expect(found[0]?.remedy).toContain(missing.remedy);
    } finally {
      await admin(missing.side, missing.restore);
    }
  });

  it.each(['source', 'target'] as const)(
    'check names every table when the %s lacks membership in their owner',
    async (side) => {
      await admin(side, 'REVOKE shop_owner FROM mover');
      try {
        const found = (await findings()).filter((f) => f.id === 'privilege/not-owner');
        const tables = ['customer', 'note', 'sale', 'sale_1', 'sale_2', 'secret'];
        expect(found.map((f) => f.subject).sort()).toEqual(tables.map((table) => `shop.${table} on the ${side}`));
        expect(new Set(found.map((f) => f.remedy))).toEqual(new Set(['GRANT "shop_owner" TO "mover";']));
      } finally {
        await admin(side, 'GRANT shop_owner TO mover');
      }
    },
  );

  it('go the whole way: run, cutover past a blocking session, failback, cutover, finalise', async () => {
    const { run } = scenario;
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    await admin('source', WRITES);

    const blocker = new pg.Client({ connectionString: servers().source.urlFor('shop', 'shop_app') });
    const ended = new Promise((resolve) => blocker.on('error', resolve));
    await blocker.connect();
    await blocker.query(`BEGIN; UPDATE shop.note SET words = 'in the way'`);
    await scenario.change('cutover', 'all');
    expect(String(await ended)).toMatch(/terminat/);

    await admin('target', WRITES);
    await expect(admin('source', WRITES)).rejects.toMatchObject({ code: '25006' });
    await scenario.expectEqual();
    await scenario.change('failback', 'all');
    await admin('source', WRITES);
    await scenario.untilState(worker, 'ready', 'all');
    await scenario.change('cutover', 'all');
    await scenario.expectEqual();
    expectExit(await run.command('finalise', run.plan, 'all', '--early', '--unfence', '--confirm', 'all'));
    await worker.stop();
    for (const side of ['source', 'target'] as const) {
      const left = `SELECT count(*)::int AS n FROM pg_namespace WHERE nspname = 'switchback'`;
      expect(await admin(side, left)).toEqual([{ n: 0 }]);
      await admin(side, statements('after'));
    }
  });
});
