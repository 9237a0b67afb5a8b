import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Side } from '../../src/domain/position.ts';
import { type Route53Options, Route53Router } from '../../src/routers/aws/route53.ts';
import { useEndpoint } from '../support/moto.ts';
import { FakeRoute53 } from '../support/route53-fake.ts';
import { type RouterUnderTest, routerContract } from './router.ts';

/**
 * The conditions of Route 53 on a fake of our own, which says what it was made after and that it is none of AWS's. What moto
 * knows of the wire is looked at in aws-routers.test.ts.
 */
const fake = new FakeRoute53();
const PHASES = ['orders', 'catalog', 'a', 'b', 'c', 'd'];
const HOSTS: Readonly<Record<Side, string>> = { source: 'old.example.com', target: 'new.example.com' };

const routerOn = (other: Partial<Route53Options> = {}): Route53Router =>
  new Route53Router({
    zone: fake.zone,
    region: undefined,
    type: 'CNAME',
    records: new Map(PHASES.map((phase) => [phase, `${phase}.shop.internal`])),
    values: { source: [HOSTS.source], target: [HOSTS.target] },
    ...other,
  });

const setTo = (phase: string, value: string): void =>
  fake.set({ name: `${phase}.shop.internal`, type: 'CNAME', ttl: 5, values: [value] });

beforeAll(async () => useEndpoint(await fake.listen()));
afterAll(async () => {
  vi.unstubAllEnvs();
  await fake.close();
});

routerContract(
  'route53',
  async (): Promise<RouterUnderTest> => {
    fake.reset();
    for (const phase of PHASES) setTo(phase, 'nowhere.example.com');
    return {
      open: () => routerOn(),
      edit: async (phase, primary) => setTo(phase, HOSTS[primary]),
      remove: async () => undefined,
    };
  },
  { holds: false },
);

describe('a record in Route 53', () => {
  const router = routerOn();
  const toTarget = async (expected?: string, epoch = 1n): Promise<void> => {
    const version = expected ?? (await router.observe('orders')).version;
    await router.repoint({ phases: ['orders'], to: 'target', epoch, expect: { orders: version } });
  };

  beforeEach(() => {
    fake.reset();
    setTo('orders', HOSTS.source);
  });
  afterEach(() => fake.reset());

  it('keeps its TTL, and is changed as a whole with the record that remembers', async () => {
    fake.set({ name: 'orders.shop.internal', type: 'CNAME', ttl: 30, values: ['OLD.example.com.'] });
    await toTarget();
    expect(fake.show('orders.shop.internal')).toEqual(['CNAME 30 new.example.com']);
    expect(fake.show('_switchback.orders.shop.internal')).toEqual(['TXT 60 "switchback epoch=1 state=insync"']);
    expect(fake.made[0]).toEqual([
      'DELETE orders.shop.internal. OLD.example.com.',
      'CREATE orders.shop.internal. new.example.com',
      'CREATE _switchback.orders.shop.internal. "switchback epoch=1 state=spreading"',
    ]);
  });

  for (const refusal of ['own', 'common'] as const) {
    it(`that is led elsewhere after it was read is not overwritten (error in the ${refusal} form)`, async () => {
      fake.refusal = refusal;
      fake.beforeNext = () => setTo('orders', 'third.example.com');
      await expect(toTarget()).rejects.toMatchObject({
        kind: 'refused',
        message: expect.stringContaining('was changed by somebody'),
        remedy: expect.stringContaining('third.example.com'),
      });
      expect(fake.show('orders.shop.internal')).toEqual(['CNAME 5 third.example.com']);
      expect(fake.made).toEqual([]);
    });
  }

  it('whose TTL alone was changed after it was read is led all the same, with the new TTL', async () => {
    fake.beforeNext = () => fake.set({ name: 'orders.shop.internal', type: 'CNAME', ttl: 7, values: [HOSTS.source] });
    await toTarget();
    expect(fake.show('orders.shop.internal')).toEqual(['CNAME 7 new.example.com']);
  });

  it('leads to no side until all name servers have it', async () => {
    fake.pendingLooks = 2;
    const { version } = await router.observe('orders');
    const moving = toTarget(version);
    await expect.poll(() => fake.made.length).toBe(1);
    expect(await router.observe('orders')).toMatchObject({ primary: null });
    await moving;
    expect(await router.observe('orders')).toMatchObject({ primary: 'target' });
  });

  it('that a worker changed before it died is changed again, to know when it is everywhere', async () => {
    const { version } = await router.observe('orders');
    fake.set({ name: 'orders.shop.internal', type: 'CNAME', ttl: 5, values: [HOSTS.target] });
    fake.set({
      name: '_switchback.orders.shop.internal',
      type: 'TXT',
      ttl: 60,
      values: ['"switchback epoch=1 state=spreading"'],
    });
    expect(await router.observe('orders')).toMatchObject({ primary: null });
    await toTarget(version, 2n);
    expect(fake.made).toHaveLength(2);
    expect(await router.observe('orders')).toMatchObject({ primary: 'target' });
  });

  it('that was changed while the answer was lost is not taken for an edit by somebody', async () => {
    fake.loseAnswers = 1;
    await toTarget();
    expect(await router.observe('orders')).toMatchObject({ primary: 'target' });
    expect(fake.show('_switchback.orders.shop.internal')).toEqual(['TXT 60 "switchback epoch=1 state=insync"']);
  });

  it('of several phases is changed with the others or not at all', async () => {
    setTo('catalog', HOSTS.source);
    const expected = {
      orders: (await router.observe('orders')).version,
      catalog: (await router.observe('catalog')).version,
    };
    fake.beforeNext = () => setTo('catalog', 'third.example.com');
    const both = router.repoint({ phases: ['orders', 'catalog'], to: 'target', epoch: 1n, expect: expected });
    await expect(both).rejects.toMatchObject({ kind: 'refused' });
    expect(fake.show('orders.shop.internal')).toEqual(['CNAME 5 old.example.com']);
  });

  it('of several phases is everywhere although somebody has changed the note of one of them', async () => {
    setTo('catalog', HOSTS.source);
    const expected = {
      orders: (await router.observe('orders')).version,
      catalog: (await router.observe('catalog')).version,
    };
    fake.mostAtOnce = 0;
    fake.pendingLooks = 1;
    const both = router.repoint({ phases: ['orders', 'catalog'], to: 'target', epoch: 1n, expect: expected });
    await expect.poll(() => fake.made.length).toBe(1);
    const values = ['"switchback epoch=2 state=spreading"'];
    fake.set({ name: '_switchback.orders.shop.internal', type: 'TXT', ttl: 60, values });
    await both;
    expect(await router.observe('orders')).toMatchObject({ primary: null });
    expect(await router.observe('catalog')).toMatchObject({ primary: 'target' });
    expect(fake.mostAtOnce).toBe(1);
  });

  it('may be addresses, in any order and spelling', async () => {
    const addresses = routerOn({
      type: 'AAAA',
      values: { source: ['2001:db8::1', '2001:DB8:0::2'], target: ['2001:db8::9'] },
    });
    fake.set({ name: 'orders.shop.internal', type: 'AAAA', ttl: 5, values: ['2001:db8:0:0::2', '2001:db8::1'] });
    const { primary, version } = await addresses.observe('orders');
    expect(primary).toBe('source');
    await addresses.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: { orders: version } });
    expect(fake.show('orders.shop.internal')).toContain('AAAA 5 2001:db8::9');
  });

  it('is refused where no router can lead by it', async () => {
    const refusalOf = async (phase: string): Promise<string> =>
      await router.observe(phase).then(
        () => 'none',
        ({ kind, message, remedy }) => `${kind}: ${message}; ${remedy}`,
      );
    const more = '<SetIdentifier>one</SetIdentifier><Weight>10</Weight>';
    fake.set({ name: 'a.shop.internal', type: 'CNAME', ttl: 5, values: [HOSTS.source], more });
    const alias =
      '<AliasTarget><HostedZoneId>Z1</HostedZoneId><DNSName>x.</DNSName><EvaluateTargetHealth>false</EvaluateTargetHealth></AliasTarget>';
    fake.set({ name: 'b.shop.internal', type: 'CNAME', more: alias });
    fake.set({ name: 'c.shop.internal', type: 'A', ttl: 5, values: ['10.0.0.1'] });
    setTo('catalog', HOSTS.source);
    fake.set({ name: '_switchback.catalog.shop.internal', type: 'TXT', ttl: 5, values: ['"of somebody"'] });
    expect(await refusalOf('a')).toMatch(/^refused: .* is one of several with weights.*; let it be a CNAME to/);
    expect(await refusalOf('b')).toMatch(/^refused: .* is an alias/);
    expect(await refusalOf('c')).toMatch(
      /^refused: .* has no CNAME record of the name c\.shop\.internal, only A; create it/,
    );
    expect(await refusalOf('d')).toMatch(/^refused: .* has no CNAME record of the name d\.shop\.internal; create it/);
    expect(await refusalOf('catalog')).toMatch(/^refused: _switchback\.catalog\.shop\.internal .* is not ours/);
  });

  it('is asked for again while Route 53 is busy, and told of as what it is when it stays so or says no', async () => {
    fake.refuse = { code: 'Throttling', status: 400, times: 1 };
    expect(await router.observe('orders')).toMatchObject({ primary: 'source' });
    const kindOf = (error: { kind: string }): string => error.kind;
    fake.refuse = { code: 'PriorRequestNotComplete', status: 400, times: 9 };
    expect(await toTarget('any').then(() => 'none', kindOf)).toBe('unreachable');
    fake.refuse = { code: 'AccessDenied', status: 403, times: 9 };
    expect(await router.observe('orders').then(() => 'none', kindOf)).toBe('refused');
    fake.refuse = { code: 'ServiceUnavailable', status: 503, times: 9 };
    expect(await router.observe('orders').then(() => 'none', kindOf)).toBe('unreachable');
    fake.refuse = undefined;
    const elsewhere = routerOn({ zone: 'ZELSEWHERE' });
    await expect(elsewhere.observe('orders')).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('NoSuchHostedZone'),
    });
    // A change whose answer never came may have been made.
    const { version } = await router.observe('orders');
    fake.loseAnswers = 9;
    expect(await toTarget(version).then(() => 'none', kindOf)).toBe('unknown');
    fake.loseAnswers = 0;
    await toTarget(version);
    expect(await router.observe('orders')).toMatchObject({ primary: 'target' });
  });

  it('is looked at before a switch', async () => {
    const found = async (): Promise<readonly string[]> =>
      (await router.findings(['orders'], 10_000)).map(({ id, severity }) => `${id} ${severity}`);
    expect(await found()).toEqual(['router/not-held warns']);
    fake.set({ name: 'orders.shop.internal', type: 'CNAME', ttl: 300, values: ['third.example.com'] });
    fake.isPrivate = true;
    expect(await found()).toEqual(['router/private-zone warns', 'router/leads-elsewhere blocks', 'router/ttl warns']);
    fake.refuse = { code: 'AccessDenied', status: 403, times: 99 };
    expect(await found()).toEqual(['router/refused blocks']);
  });
});
