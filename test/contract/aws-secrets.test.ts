import { beforeAll, expect, it } from 'vitest';
import { SecretStore } from '../../src/routers/aws/secrets-manager.ts';
import { ValueRouter } from '../../src/routers/aws/value-router.ts';
import type { ValueStore } from '../../src/routers/aws/value-store.ts';
import { freshIds, LED, NOWHERE, toTarget } from '../support/led-values.ts';
import { describeWithMoto } from '../support/moto.ts';
import { Secrets } from '../support/secrets.ts';
import { type RouterUnderTest, routerContract } from './router.ts';

/** What is passed on as it is, but for what a test does in between. */
const around = <T extends object>(whole: T, instead: Partial<T>): T =>
  new Proxy(whole, {
    get: (target, key) => {
      const other: unknown = Reflect.get(instead, key);
      if (other !== undefined) return other;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });

describeWithMoto('Secrets Manager', () => {
  let secrets: Secrets;
  beforeAll(() => {
    secrets = new Secrets();
  });
  const routerOn = (ids: ReadonlyMap<string, string>, store: ValueStore = new SecretStore('eu-central-1')) =>
    new ValueRouter(store, { ids, led: LED });
  const secretOf = async (text: string): Promise<{ readonly id: string; readonly router: ValueRouter }> => {
    const ids = freshIds();
    const id = ids.get('orders') ?? '';
    await secrets.create(id, text);
    return { id, router: routerOn(ids) };
  };

  routerContract(
    'secrets-manager',
    async (): Promise<RouterUnderTest> => {
      const ids = freshIds();
      for (const id of ids.values()) await secrets.create(id, JSON.stringify(NOWHERE));
      const idOf = (phase: string): string => ids.get(phase) ?? '';
      return {
        open: () => routerOn(ids),
        edit: (phase, primary) => secrets.write(idOf(phase), JSON.stringify(LED[primary])),
        remove: async () => undefined,
      };
    },
    { holds: false },
  );

  it('replaces what says where the database is, in the form that it has, and nothing else', async () => {
    const text =
      '{"username":"app","port":"5432","password":"p\\"w","host":"old.internal","dbname":"shop","id":123456789012345678901234567890,"more":{"a":[1.50]}}';
    const { id, router } = await secretOf(text);
    const before = (await secrets.current(id)).version;
    await toTarget(router);
    const moved = text.replace('5432', '5433').replace('old.', 'new.').replace('"shop"', '"shop_new"');
    const { text: now, version } = await secrets.current(id);
    expect(now).toBe(moved);
    const stages = await secrets.stages(id);
    expect(stages[before]).toEqual(['AWSPREVIOUS']);
    expect(stages[version]?.toSorted()).toEqual(['AWSCURRENT', 'switchback']);
  });

  it('keeps a password that was rotated since when it goes back', async () => {
    const { id, router } = await secretOf(JSON.stringify({ ...LED.source, password: 'first' }));
    await toTarget(router);
    await secrets.write(id, JSON.stringify({ ...LED.target, password: 'second' }));
    const { version } = await router.observe('orders');
    await router.repoint({ phases: ['orders'], to: 'source', epoch: 2n, expect: { orders: version } });
    expect((await secrets.current(id)).text).toBe(JSON.stringify({ ...LED.source, password: 'second' }));
  });

  it('is not overwritten when somebody writes between the look and the move', async () => {
    const ids = freshIds();
    const id = ids.get('orders') ?? '';
    const third = JSON.stringify(NOWHERE);
    await secrets.create(id, JSON.stringify(LED.source));
    const store = new SecretStore('eu-central-1');
    const late = around(store, {
      replace: async (replacement) => {
        await secrets.write(id, third);
        return await store.replace(replacement);
      },
    });
    await expect(toTarget(routerOn(ids, late))).rejects.toMatchObject({
      kind: 'refused',
      message: `secret ${id} was changed by somebody in the middle of a repoint`,
    });
    expect((await secrets.current(id)).text).toBe(third);
  });

  it('is moved by whoever repeats what a worker began before it died', async () => {
    const { id, router } = await secretOf(JSON.stringify(LED.source));
    const { version } = await router.observe('orders');
    const text = JSON.stringify(LED.target);
    const replacement = {
      id,
      was: { text: JSON.stringify(LED.source), version },
      text,
      to: 'target',
      epoch: 1n,
    } as const;
    const store = new SecretStore('eu-central-1');
    // The version of the one that died is found again; one of a later epoch takes its place.
    const takeBack = await store.replace(replacement);
    await takeBack();
    expect((await secrets.current(id)).version).toBe(version);
    for (const epoch of [1n, 2n]) {
      await (await store.replace({ ...replacement, epoch }))();
    }
    await router.repoint({ phases: ['orders'], to: 'target', epoch: 3n, expect: { orders: version } });
    expect(await router.observe('orders')).toMatchObject({ primary: 'target' });
    const labelled = Object.values(await secrets.stages(id)).filter((stages) => stages.includes('switchback'));
    expect(labelled).toHaveLength(1);
  });

  it('of one phase is taken back when that of another is refused', async () => {
    const ids = freshIds();
    const [orders = '', catalog = ''] = ids.values();
    for (const id of [orders, catalog]) await secrets.create(id, JSON.stringify(LED.source));
    const store = new SecretStore('eu-central-1');
    const late = around(store, {
      replace: async (replacement) => {
        if (replacement.id === catalog) await secrets.write(catalog, JSON.stringify(NOWHERE));
        return await store.replace(replacement);
      },
    });
    const router = routerOn(ids, late);
    const expected = {
      orders: (await router.observe('orders')).version,
      catalog: (await router.observe('catalog')).version,
    };
    const both = router.repoint({ phases: ['orders', 'catalog'], to: 'target', epoch: 1n, expect: expected });
    await expect(both).rejects.toMatchObject({ kind: 'refused' });
    expect(await router.observe('orders')).toEqual({ primary: 'source', held: false, version: expected.orders });
    expect(await router.observe('catalog')).toMatchObject({ primary: null });
  });

  it('is looked at before a switch, and none of it is told', async () => {
    const found = async (text: string): Promise<readonly string[]> => {
      const findings = await (await secretOf(text)).router.findings(['orders']);
      expect(JSON.stringify(findings)).not.toMatch(/s3cret/);
      return findings.map(({ id, severity, fact }) => `${id} ${severity}: ${fact}`);
    };
    expect(await found(JSON.stringify(LED.source))).toEqual([
      expect.stringMatching(/^router\/not-held warns: .* once an hour/),
    ]);
    expect(await found('{"host":"s3cret","port":5432}')).toEqual([
      expect.stringContaining(
        'router/leads-elsewhere blocks: it leads to no side: host, dbname in it are as for neither',
      ),
      expect.stringContaining('router/not-held'),
    ]);
    expect(await found(JSON.stringify({ ...LED.source, host: 'new.internal' }))).toEqual([
      expect.stringContaining('it leads to no side: some of its keys are as for one side, some as for the other'),
      expect.stringContaining('router/not-held'),
    ]);
    expect(await found('s3cret')).toEqual([expect.stringMatching(/^router\/refused blocks: .*it is not JSON/)]);
    const absent = await routerOn(freshIds()).findings(['orders']);
    expect(absent).toMatchObject([
      { id: 'router/refused', fact: expect.stringContaining('ResourceNotFoundException') },
    ]);
  });
});
