import { afterAll, beforeAll, expect } from 'vitest';
import type { Pooler } from '../../../src/demo/poolers.ts';
import { openClient } from '../../support/clients.ts';
import { describeWithPoolers } from '../../support/pgbouncer.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { confirmed, type EntryTest, ITEM, type Servers, untilReady, WIDE } from './begin.ts';

/** Clients that come through a PgBouncer. */
export const poolers = (servers: Servers, entry: EntryTest): void => {
  describeWithPoolers('poolers', (makePooler) => {
    let scene: Scene;
    let pooler: Pooler;

    beforeAll(async () => {
      const entries = `shop = host=127.0.0.1 port=${servers().source.port} dbname=pooled_items\n`;
      pooler = await makePooler({ mode: 'transaction', entries });
      process.env.TEST_POOLER = pooler.admin;
      scene = await makeScene(servers(), {
        ...ITEM,
        name: 'pooled_items',
        more: WIDE,
        router: `{ kind: pgbouncer, admin: "\${TEST_POOLER}", config: ${JSON.stringify(pooler.config)}, database: shop }`,
      });
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    entry('pooler-in-use', async (play) => {
      const client = await openClient(pooler.urlFor('shop'), 'till 7');
      await client.query('BEGIN; SELECT FROM item');
      const undone = await confirmed(scene, 'cutover');
      expect(undone, undone.text).toMatchObject({ exitCode: 5 });
      play.sees(undone.text);
      await client.query('COMMIT');
      await play.does(scene);
      expect((await client.query('SELECT inet_server_port() AS port')).rows).toEqual([{ port: servers().target.port }]);
      await client.end();
    });
  });
};
