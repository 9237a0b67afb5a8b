import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { postgresDatabase } from '../../src/databases/postgres/database.ts';
import { becomeApplier } from '../../src/platform/postgres/applier.ts';
import { checkAll, type Sides, unexpected, useCleanPair, withServers } from '../support/checks.ts';
import { runSql } from '../support/servers.ts';

describe('roles without superuser', () => {
  const { copies } = useCleanPair();
  const asMover = (urls: Sides<string>): Sides<string> => {
    const as = (url: string) => {
      const mine = new URL(url);
      mine.username = 'mover';
      return mine.toString();
    };
    return { source: as(urls.source), target: as(urls.target) };
  };

  /** The blocks of docs/grants.md by the word after ```sql, with this test's names. */
  const documented = async (database: string): Promise<(word: string) => string> => {
    const text = await readFile(new URL('../../docs/grants.md', import.meta.url), 'utf8');
    const blocks = [...text.matchAll(/```sql ?(\w*)\n([\s\S]*?)```/g)];
    return (word) => {
      const block = blocks.find((match) => match[1] === word)?.[2];
      if (block === undefined) throw new Error(`no block "${word}" in docs/grants.md`);
      return block.replaceAll('DATABASE shop ', `DATABASE ${database} `);
    };
  };

  const prepared = async () => {
    const urls = await copies();
    for (const url of [urls.source, urls.target]) {
      await runSql(
        url,
        `DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shop_owner') THEN CREATE ROLE shop_owner; END IF; END $$;
        DO $$ DECLARE t record; BEGIN
          EXECUTE 'ALTER SCHEMA shop OWNER TO shop_owner';
          FOR t IN SELECT c.oid::regclass AS name FROM pg_class c WHERE relnamespace = 'shop'::regnamespace AND relkind IN ('r', 'p') LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO shop_owner', t.name);
          END LOOP; END $$;
        ALTER SEQUENCE shop.invoice OWNER TO shop_owner; ALTER TABLE shop.log ENABLE ROW LEVEL SECURITY`,
      );
    }
    return { urls, sql: await documented(new URL(urls.source).pathname.slice(1)) };
  };

  test('a role with nothing is told everything, each with its statement', async () => {
    const { urls } = await prepared();
    const name = new URL(urls.source).pathname.slice(1);
    for (const url of [urls.source, urls.target]) {
      await runSql(
        url,
        `CREATE ROLE mover LOGIN; GRANT USAGE ON SCHEMA shop TO mover; REVOKE TEMPORARY ON DATABASE ${name} FROM PUBLIC`,
      );
    }
    // Whether a table that has a page holds a row is for those to see who may read it.
    await runSql(urls.target, 'ALTER TABLE shop.log DISABLE ROW LEVEL SECURITY; INSERT INTO shop.log DEFAULT VALUES');
    const findings = await checkAll(asMover(urls));
    const remedies = findings.map((finding) => finding.remedy).join('\n');
    for (const statement of [
      'ALTER ROLE "mover" REPLICATION;',
      `GRANT CREATE ON DATABASE "${name}" TO "mover";`,
      `GRANT TEMPORARY ON DATABASE "${name}" TO "mover";`,
      'GRANT pg_signal_backend TO "mover";',
      'GRANT pg_read_all_stats TO "mover";',
      'GRANT SET ON PARAMETER session_replication_role TO "mover";',
      'CREATE OR REPLACE FUNCTION switchback_admin.become_applier()',
      'GRANT "shop_owner" TO "mover";',
      'ALTER ROLE "mover" BYPASSRLS;',
      'GRANT SELECT, UPDATE ON SEQUENCE "shop"."invoice" TO "mover";',
      'GRANT CREATE ON SCHEMA "shop" TO "mover";',
    ]) {
      expect(remedies).toContain(statement);
    }
    expect(findings.some((finding) => finding.id === 'privilege/cannot-look')).toBe(true);
    for (const url of [urls.source, urls.target]) await runSql(url, 'DROP OWNED BY mover; DROP ROLE mover');
  });

  test('with the documented grants nothing is found, and fence, lane and sequences work', async () => {
    const { urls, sql } = await prepared();
    await runSql(urls.source, sql('') + sql('13'));
    await runSql(urls.target, sql('') + sql('15') + sql('target'));
    expect(unexpected(await checkAll(asMover(urls)))).toEqual([]);
    await withServers(asMover(urls), async (sides) => {
      for (const server of [sides.source, sides.target]) {
        const database = postgresDatabase(server);
        await server.query('CREATE SCHEMA switchback');
        const { tables, sequences } = await database.inventory();
        const act = {
          tables,
          reason: 'moved',
          guard: async () => undefined,
          blockers: { waitMs: 0, action: 'abort' as const },
          budgetMs: 5000,
          onBlocked: () => undefined,
          signal: new AbortController().signal,
        };
        await database.fence(act);
        const client = await server.connect('apply');
        await becomeApplier(client);
        await client.query(`INSERT INTO shop.log VALUES (now(), 'applied')`);
        await client.end();
        await database.lift({ ...act, remove: true });
        await database.sequences.advance(await database.sequences.read(sequences), async () => undefined);
        await server.query('CREATE PUBLICATION mine FOR TABLE shop.event, shop.customer');
        const slot = `grants_${new URL(urls.source).pathname.slice(1)}`;
        await server.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [slot]);
        await server.query('SELECT pg_drop_replication_slot($1)', [slot]);
      }
    });
    for (const url of [urls.source, urls.target]) await runSql(url, sql('after'));
  });
});
