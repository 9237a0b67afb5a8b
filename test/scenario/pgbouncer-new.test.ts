import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startClients } from '../../src/demo/clients.ts';
import { Ledger } from '../../src/demo/ledger.ts';
import { checkLedger } from '../../src/demo/ledger-check.ts';
import type { Pooler } from '../../src/demo/poolers.ts';
import { readPrimaryRows } from '../../src/demo/primary-rows.ts';
import { createShop, type ShopSize } from '../../src/demo/shop.ts';
import { shopSchemaSql } from '../../src/demo/shop-schema.ts';
import type { Side } from '../../src/domain/position.ts';
import { sleep } from '../../src/platform/clock.ts';
import { describeWithNewPoolers } from '../support/pgbouncer.ts';
import { type Scenario, scenarioOn } from '../support/scenario.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';

/**
 * An application behind a new PgBouncer. Both servers are of one version: docs/repointing.md says what 1.26 does to new clients
 * after a failback to an older server.
 */
const servers = { source: useServer({ version: 18 }), target: useServer({ version: 18 }) };
const OF_THEIR_OWN = ['40P01', '40001'];
const SLOW_MS = 300_000;

describeWithNewPoolers('an application behind a new PgBouncer', (makePooler) => {
  let pooler: Pooler;
  let scenario: Scenario;
  let size: ShopSize;
  const entryOf = (side: Side): string =>
    `shop = host=127.0.0.1 port=${servers[side]().port} dbname=pooled pool_size=20\n`;

  beforeAll(async () => {
    const source = await createDatabase(servers.source(), 'pooled');
    const target = await createDatabase(servers.target(), 'pooled');
    size = await createShop(source, { rows: 2_000 });
    await runSql(target, shopSchemaSql);
    pooler = await makePooler({ mode: 'transaction', entries: entryOf('source') });
    process.env.TEST_NEW_POOLER = pooler.admin;
    scenario = scenarioOn(
      { source, target },
      {
        phases: [{ name: 'all', tables: ['shop.*'] }],
        router: `{ kind: pgbouncer, admin: "\${TEST_NEW_POOLER}", config: ${JSON.stringify(pooler.config)}, database: shop }`,
        more: 'switch: { window: 30s, max_lag: 20s, blockers: { wait: 10s, then: abort } }',
      },
    );
  }, SLOW_MS);
  afterAll(async () => await scenario?.close());

  it(
    'is moved over and back at full speed without an error, and nothing is lost',
    async () => {
      const worker = scenario.worker();
      await scenario.untilState(worker, 'ready', 'all');
      const routeFile = join(scenario.run.directory, 'clients.json');
      const led = { primary: 'source', held: false };
      writeFileSync(routeFile, JSON.stringify({ catalog: led, orders: led }));
      const url = pooler.urlFor('shop');
      const ledger = new Ledger();
      const clients = startClients({ urls: { source: url, target: url }, routeFile, size, ledger, clients: 16 });
      const portNow = async (): Promise<unknown> => (await runSql(url, 'SELECT inet_server_port() AS port'))[0]?.port;
      for (const [command, side] of [
        ['cutover', 'target'],
        ['failback', 'source'],
      ] as const) {
        await sleep(500);
        await scenario.change(command, 'all');
        const before = clients.stats().acknowledged;
        await sleep(500);
        expect(clients.stats().acknowledged).toBeGreaterThan(before);
        // A client that is new gets through as well.
        expect(await portNow()).toBe(servers[side]().port);
      }
      await clients.stop();
      await worker.stop();
      const { refusals, failed, unknown } = clients.stats();
      const errors = Object.keys(refusals).filter((code) => !OF_THEIR_OWN.includes(code));
      expect({ errors, failed, unknown }).toEqual({ errors: [], failed: 0, unknown: 0 });
      const { source } = scenario;
      const verdict = checkLedger(ledger, await readPrimaryRows({ catalog: source, orders: source }));
      expect(verdict).toMatchObject({ lost: 0, duplicated: 0, reordered: 0, phantom: 0 });
    },
    SLOW_MS,
  );
});
