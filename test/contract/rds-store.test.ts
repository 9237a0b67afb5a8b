import * as rds from '@aws-sdk/client-rds';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { RdsStoreOptions } from '../../src/snapshots/rds/store.ts';
import { describeWithMoto, useEndpoint } from '../support/moto.ts';
import { RdsProxy } from '../support/rds-proxy.ts';
import { freshId, freshName, RdsWorld, rdsStore, specOf, waiting } from '../support/rds-world.ts';

const KINDS = ['instance', 'cluster'] as const;

describeWithMoto('snapshots by RDS', () => {
  let world: RdsWorld;
  let proxy: RdsProxy;
  beforeAll(async () => {
    const moto = process.env.AWS_ENDPOINT_URL ?? '';
    world = new RdsWorld(moto);
    proxy = new RdsProxy(moto);
    useEndpoint(await proxy.listen());
    await world.groups();
    await world.instance('shop-old');
    await world.cluster('shop-cluster');
  });
  afterEach(() => proxy.reset());
  afterAll(() => proxy.close());

  const ofKind = (kind: (typeof KINDS)[number]): RdsStoreOptions['of'] => ({
    kind,
    id: kind === 'instance' ? 'shop-old' : 'shop-cluster',
  });

  it.each(KINDS)('of an %s: made, listed, restored, removed', async (kind) => {
    const store = rdsStore(ofKind(kind));
    const id = freshId();
    const made = await store.create(specOf(id), waiting());
    expect(made).toMatchObject({ id, state: 'available', detail: null });
    const manifest = made.manifest;
    expect(manifest).toMatchObject({
      id,
      plan: { name: 'shop' },
      phases: { orders: ['public.product', 'public.order'] },
    });
    expect(Number(`0x${manifest?.position.atMost.slice(2)}`)).toBeGreaterThan(
      Number(`0x${manifest?.position.atLeast.slice(2)}`),
    );
    expect(manifest?.lanes['orders-reverse']?.position).toBe(manifest?.position.atLeast);
    expect(JSON.stringify(manifest)).not.toContain('canary');
    expect((await store.list()).find((one) => one.id === id)).toEqual(made);

    const name = freshName();
    const place = await store.restore(id, { name, purpose: 'drill', at: null }, waiting());
    expect(place.url).toMatch(
      new RegExp(
        `^postgresql://app:pa%23ss@${name}\\.[a-z0-9.-]+\\.rds\\.amazonaws\\.com:5433/shop\\?sslmode=require$`,
      ),
    );
    expect(place.differences).toEqual([]);
    await place.remove(waiting());
    await expect(
      world.client.send(new rds.DescribeDBInstancesCommand({ DBInstanceIdentifier: name })),
    ).rejects.toThrow();
    const { DBInstances = [] } = await world.client.send(new rds.DescribeDBInstancesCommand({}));
    expect(DBInstances.filter(({ DBInstanceIdentifier = '' }) => DBInstanceIdentifier.startsWith(name))).toEqual([]);
    await store.remove(id, waiting());
    expect((await store.list()).map((one) => one.id)).not.toContain(id);
    await store.remove(id, waiting());
  });
});
