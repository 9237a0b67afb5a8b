import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../../src/demo/servers.ts';
import type { SwitchbackError } from '../../src/domain/errors.ts';
import { type EtcdOptions, EtcdRouter } from '../../src/routers/etcd/router.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { base64, describeWithEtcd, type EtcdMember } from '../support/etcd.ts';
import { EtcdProxy } from '../support/etcd-proxy.ts';

const BUDGET_MS = 20_000;
let prefixes = 0;

const routerOf = (endpoints: readonly string[], options: Partial<EtcdOptions> = {}): EtcdRouter =>
  new EtcdRouter({ endpoints, prefix: `/faults/${prefixes}/`, user: null, tls: {}, timeoutMs: 5_000, ...options });

const failureOf = async (work: Promise<unknown>): Promise<SwitchbackError> =>
  (await work.then(
    () => new Error('it did not fail'),
    (failure: unknown) => failure,
  )) as SwitchbackError;

const lead = async (router: EtcdRouter, phases: readonly string[], to: 'source' | 'target', epoch: bigint) => {
  const expect: Record<string, string> = {};
  for (const phase of phases) expect[phase] = (await router.observe(phase)).version;
  await router.repoint({ phases, to, epoch, expect });
};

describeWithEtcd('keys of etcd', (start) => {
  let member: EtcdMember;
  beforeAll(async () => {
    [member] = await start();
  });
  beforeEach(() => {
    prefixes += 1;
  });
  const keyOf = (phase: string): string => `/faults/${prefixes}/${phase}`;

  it("say where a phase leads, and keep what is somebody else's", async () => {
    const router = routerOf([member.url]);
    await member.put(keyOf('orders'), '{"pool": 12345678901234567890, "primary": "source"}');
    await lead(router, ['orders'], 'target', 7n);
    await router.hold(['orders'], BUDGET_MS);
    const value = '{"primary":"target","held":true,"epoch":"7","holds":"1","pool":12345678901234567890}';
    expect(await member.get(keyOf('orders'))).toBe(value);
  });

  it('that were edited and edited back meanwhile are noticed, for all phases of the repoint', async () => {
    const router = routerOf([member.url]);
    await lead(router, ['catalog', 'orders'], 'source', 1n);
    const expected = Object.fromEntries(
      await Promise.all(['catalog', 'orders'].map(async (name) => [name, (await router.observe(name)).version])),
    );
    const value = (await member.get(keyOf('orders'))) ?? '';
    await router.hold(['catalog', 'orders'], BUDGET_MS);
    const held = (await member.get(keyOf('orders'))) ?? '';
    await member.put(keyOf('orders'), value.replace('source', 'target'));
    await member.put(keyOf('orders'), held);
    const late = router.repoint({ phases: ['catalog', 'orders'], to: 'target', epoch: 2n, expect: expected });
    expect(await failureOf(late)).toMatchObject({ kind: 'refused', message: expect.stringContaining('phase orders') });
    expect(await router.observe('catalog')).toMatchObject({ primary: 'source', version: expected.catalog });
  });

  it('that are gone lead nowhere, and that is noticed', async () => {
    const router = routerOf([member.url]);
    await lead(router, ['orders'], 'source', 1n);
    const { version } = await router.observe('orders');
    await member.ask('/v3/kv/deleterange', { key: base64(keyOf('orders')) });
    expect(await router.observe('orders')).toEqual({ primary: null, held: false, version: '0' });
    const late = router.repoint({ phases: ['orders'], to: 'target', epoch: 2n, expect: { orders: version } });
    expect(await failureOf(late)).toMatchObject({ kind: 'refused' });
    expect(await member.get(keyOf('orders'))).toBeNull();
  });

  it.each([
    ['target', 'is no JSON'],
    ['["target"]', 'is no JSON object'],
    ['7', 'is no JSON object'],
    ['{"held":true}', 'has a primary that is'],
    ['{"primary":"left"}', 'has a primary that is'],
    ['{"primary":"source","held":1}', 'has a held that is'],
    ['{"primary":"source","epoch":7}', 'has an epoch that is'],
    ['{"primary":"source","holds":"-1"}', 'has a holds that is'],
  ])('with %s are refused, and nothing is written over it', async (value, what) => {
    const router = routerOf([member.url]);
    await member.put(keyOf('orders'), value);
    const refused = { kind: 'refused', message: expect.stringContaining(`etcd's key ${keyOf('orders')} ${what}`) };
    expect(await failureOf(router.observe('orders'))).toMatchObject(refused);
    expect(await failureOf(router.hold(['orders'], BUDGET_MS))).toMatchObject(refused);
    expect(await router.findings(['orders'])).toMatchObject([{ id: 'router/refused', severity: 'blocks' }]);
    expect(await member.get(keyOf('orders'))).toBe(value);
  });

  it('of other phases are released when one is not understood, and that one is told of', async () => {
    const router = routerOf([member.url]);
    const phases = ['catalog', 'orders', 'stock'];
    await router.hold(phases, BUDGET_MS);
    await member.put(keyOf('orders'), 'mine');
    expect(await failureOf(router.release(phases))).toMatchObject({
      kind: 'refused',
      message: expect.stringContaining(`${keyOf('orders')} is no JSON`),
    });
    for (const phase of ['catalog', 'stock']) expect(await router.observe(phase)).toMatchObject({ held: false });
  });

  describe('behind a network that loses answers', () => {
    let proxy: EtcdProxy;
    let router: EtcdRouter;
    beforeEach(async () => {
      proxy = new EtcdProxy(member.url);
      router = routerOf([await proxy.start()]);
    });
    afterEach(() => proxy.close());

    it('are read again, and not written twice', async () => {
      const { version } = await router.observe('orders');
      proxy.breaks('acts and drops');
      await router.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: { orders: version } });
      expect(proxy.writes).toBe(1);
      proxy.breaks('acts and drops');
      await router.hold(['orders'], BUDGET_MS);
      expect(proxy.writes).toBe(2);
      expect(await router.observe('orders')).toMatchObject({ primary: 'target', held: true });
    });

    it('are written once, although the first try arrives behind the second', async () => {
      proxy.breaks('drops and keeps', 'times out');
      await lead(router, ['catalog', 'orders'], 'target', 1n);
      const before = await router.observe('orders');
      expect(await proxy.letThrough()).toEqual([expect.not.stringContaining('"succeeded":true')]);
      expect(await router.observe('orders')).toEqual(before);
    });

    it('are not held by a hold that arrives behind its release, also for a phase that was never told', async () => {
      await lead(router, ['catalog'], 'source', 1n);
      for (const phase of ['catalog', 'orders']) {
        proxy.breaks('drops and keeps', 'drops and keeps', 'drops and keeps');
        expect(await failureOf(router.hold([phase], BUDGET_MS))).toMatchObject({ kind: 'unknown' });
        await router.release([phase]);
        await proxy.letThrough();
        expect(await router.observe(phase)).toMatchObject({ held: false });
      }
    });

    it('are in doubt while nobody answers', async () => {
      const { version } = await router.observe('orders');
      proxy.breaks('times out', 'times out', 'times out');
      const late = router.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: { orders: version } });
      const error = await failureOf(late);
      expect(error).toMatchObject({ kind: 'unknown', message: expect.stringContaining('request timed out') });
      await router.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: { orders: version } });
      expect(await router.observe('orders')).toMatchObject({ primary: 'target' });
    });
  });

  it('are asked of another member when one is dead or stands still, and of none when there is no majority', async () => {
    const members = await start(3);
    const urls = members.map(({ url }) => url);
    const router = routerOf(urls, { timeoutMs: 2_000 });
    await lead(router, ['orders'], 'source', 1n);
    members[0].signal('SIGKILL');
    await lead(router, ['orders'], 'target', 2n);
    // Another process of ours begins with the one that is dead.
    await routerOf(urls).hold(['orders'], BUDGET_MS);
    members[1]?.signal('SIGSTOP');
    const impatient = routerOf(urls, { timeoutMs: 300 });
    expect(await failureOf(impatient.observe('orders'))).toMatchObject({
      kind: 'unreachable',
      message: expect.stringMatching(/^no member of etcd answers: .*; .*; /),
    });
    members[1]?.signal('SIGCONT');
    await routerOf(urls, { timeoutMs: 5_000 }).release(['orders']);
    expect(await router.observe('orders')).toMatchObject({ primary: 'target', held: false });
  });

  it("are the user's to read and write, and no other's; his password is told to nobody", async () => {
    const [own] = await start();
    const PASSWORD = 'c4nary-of-etcd';
    const administrator = { name: 'root', password: 'root-secret' };
    for (const [path, body] of [
      ['/v3/auth/user/add', administrator],
      ['/v3/auth/role/add', { name: 'root' }],
      ['/v3/auth/user/grant', { user: 'root', role: 'root' }],
      ['/v3/auth/user/add', { name: 'mover', password: PASSWORD }],
      ['/v3/auth/role/add', { name: 'routes' }],
      [
        '/v3/auth/role/grant',
        { name: 'routes', perm: { permType: 'READWRITE', key: base64('/faults/'), range_end: base64('/faults0') } },
      ],
      ['/v3/auth/user/grant', { user: 'mover', role: 'routes' }],
      ['/v3/auth/enable', {}],
    ] as const) {
      await own.ask(path, body);
    }
    const user = { name: 'mover', password: PASSWORD };
    const router = routerOf([own.url], { user });
    await lead(router, ['orders'], 'target', 1n);
    // A token is asked for within the question, and the first member is dead for both.
    const dead = `http://127.0.0.1:${await freePort()}`;
    expect(await routerOf([dead, own.url], { user }).observe('orders')).toMatchObject({ primary: 'target' });
    // A user's tokens of before are not valid once anybody has set his password, to whatever it is; so with a token's age.
    const { token } = JSON.parse(await own.ask('/v3/auth/authenticate', administrator)) as { token: string };
    await own.ask('/v3/auth/user/changepw', { name: 'mover', password: PASSWORD }, { token });
    await router.hold(['orders'], BUDGET_MS);
    expect(await router.observe('orders')).toMatchObject({ primary: 'target', held: true });
    const echo = createServer((request, response) => {
      response.writeHead(400);
      request.pipe(response);
    });
    await once(echo.listen(0, '127.0.0.1'), 'listening');
    const echoUrl = `http://127.0.0.1:${(echo.address() as AddressInfo).port}`;
    const errors = await Promise.all(
      [
        routerOf([own.url], { user: { name: 'mover', password: `${PASSWORD}!` } }),
        routerOf([own.url]),
        routerOf([own.url], { user, prefix: '/elsewhere/' }),
        routerOf([member.url], { user }),
        routerOf([echoUrl], { user }),
      ].map((other) => failureOf(other.observe('orders'))),
    );
    echo.close();
    expect(new Set(errors.map(({ kind }) => kind))).toEqual(new Set(['refused']));
    expect(errors.map(({ message }) => message)).toEqual([
      expect.stringContaining('invalid user ID or password'),
      expect.stringContaining('user name is empty'),
      expect.stringContaining('permission denied'),
      expect.stringContaining('authentication is not enabled'),
      expect.stringContaining('"password":"***"'),
    ]);
    for (const { message, remedy, stack } of errors) expect(`${message} ${remedy} ${stack}`).not.toContain('c4nary');
  });

  describe('with TLS', () => {
    const folder = mkdtempSync(join(tmpdir(), 'switchback-etcd-tls-'));
    let certificates: Certificates | null;
    beforeAll(() => {
      certificates = makeCertificates();
      certificates?.issue(folder, { names: 'IP:127.0.0.1', days: 2 });
    });
    afterAll(() => {
      certificates?.remove();
      rmSync(folder, { recursive: true });
    });

    it('are written by whom they trust, at whom we trust', async (test) => {
      if (certificates === null) return test.skip('no openssl');
      const ca = certificates.authority('ours');
      const own = { cert: join(folder, 'server.crt'), key: join(folder, 'server.key') };
      const [secure] = await start(1, { folder, ca });
      const router = routerOf([secure.url], { tls: { ca, ...own } });
      await lead(router, ['orders'], 'target', 1n);
      expect(await router.observe('orders')).toMatchObject({ primary: 'target' });
      for (const tls of [{ ca }, own, { ca: certificates.authority('other'), ...own }]) {
        const other = routerOf([secure.url], { tls });
        expect(await failureOf(other.observe('orders'))).toMatchObject({ kind: 'unreachable' });
      }
    });
  });
});
