import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RunningProxy } from '../../src/demo/proxies.ts';
import type { Side } from '../../src/domain/position.ts';
import { sleep } from '../../src/platform/clock.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { type HaproxyOptions, HaproxyRouter } from '../../src/routers/haproxy/router.ts';
import { RuntimeSocket } from '../../src/routers/haproxy/socket.ts';
import { openClient } from '../support/clients.ts';
import { describeWithProxies } from '../support/haproxy.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';
import { type RouterUnderTest, routerContract } from './router.ts';

/**
 * The router on real HAProxies, two of them at once as an application has them behind a load balancer, and both versions: the
 * older one cannot hold.
 */
const servers = useServerPair();
const PHASES = ['orders', 'catalog', 'a', 'b', 'c', 'd'];
const NOWHERE = '127.0.0.1:1';
const BUDGET_MS = 10_000;
const HELD_FOR_MS = 300;
const SLEEPER = fileURLToPath(new URL('../support/proxy-sleeper.ts', import.meta.url));

const urls: Record<Side, string> = { source: '', target: '' };
let sql: HaproxyOptions['servers'];

const addressOf = (side: Side): string => `127.0.0.1:${servers()[side].port}`;

const routerOn = (proxies: readonly RunningProxy[], other: Partial<HaproxyOptions> = {}): HaproxyRouter =>
  new HaproxyRouter({
    instances: proxies.map(({ socket, config }) => ({ socket, config })),
    leads: new Map(
      PHASES.map((phase) => [
        phase,
        { frontend: `in.${phase}`, server: { backend: `db.${phase}`, server: 'primary' } },
      ]),
    ),
    sides: { source: { url: urls.source }, target: { url: urls.target } },
    servers: sql,
    sessions: 'end',
    ...other,
  });

const FRONTENDS = PHASES.map((phase) => `in.${phase}`);
/** Limits of all kinds: an own one, that of defaults, and that of the process. */
const LIMITS: Readonly<Record<string, string>> = { orders: '    maxconn 40 # enough\n' };
const sectionsOf = (address: string, portOf: (frontend: string) => number): string =>
  PHASES.map(
    (phase) =>
      `frontend in.${phase}\n    bind 127.0.0.1:${portOf(`in.${phase}`)}\n${LIMITS[phase] ?? ''}    default_backend db.${phase}\n` +
      `backend db.${phase}\n    # of the shop\n    server primary ${address} check inter 300ms\n`,
  ).join('');

/** Leads everything somewhere by hand, in the file and in the process. */
const leadByHand = async (proxy: RunningProxy, phases: readonly string[], address: string): Promise<void> => {
  let text = proxy.text();
  for (const phase of phases) {
    const line = new RegExp(`(backend db\\.${phase}\\n(?:    #.*\\n)*    server primary )\\S+`);
    text = text.replace(line, `$1${address}`);
    const [host, port] = address.split(':');
    await proxy.ask(`set server db.${phase}/primary addr ${host} port ${port}`);
    await proxy.ask(`set server db.${phase}/primary health up`);
  }
  proxy.write(text);
};

const limitOf = async (proxy: RunningProxy, phase: string): Promise<number> =>
  Number((await proxy.ask(`show stat in.${phase} 1 -1`)).split('\n')[1]?.split(',')[6]);

describeWithProxies('the router', ({ makeProxy, holds }) => {
  let made: Promise<readonly RunningProxy[]> | undefined;
  let both: readonly RunningProxy[] = [];
  let one: RunningProxy;
  let clients: pg.Client[] = [];

  const proxies = (): Promise<readonly RunningProxy[]> => {
    const make = () => makeProxy({ frontends: FRONTENDS, sections: (portOf) => sectionsOf(NOWHERE, portOf) });
    made ??= Promise.all([make(), make()]);
    return made;
  };
  /** As they were made, but that they lead to `address`. */
  const reset = async (address: string): Promise<void> => {
    both = await proxies();
    const [first] = both;
    if (first === undefined) throw new Error('no proxy');
    one = first;
    await routerOn(both).release(PHASES);
    for (const proxy of both) {
      proxy.write(proxy.text().replace(/^ *# switchback.*\n/gm, ''));
      await leadByHand(proxy, PHASES, address);
    }
  };

  beforeAll(async () => {
    for (const side of ['source', 'target'] as const) {
      if (urls[side] !== '') continue;
      urls[side] = await createDatabase(servers()[side], 'proxied');
      await runSql(urls[side], `CREATE TABLE side AS SELECT '${side}' AS name`);
    }
    const serverOf = (side: Side) => new PostgresServer({ url: urls[side], label: side, application: 'test' });
    sql ??= { source: serverOf('source'), target: serverOf('target') };
  });
  afterEach(async () => {
    await Promise.allSettled(clients.map((client) => client.end()));
    clients = [];
  });

  routerContract(
    'haproxy',
    async (): Promise<RouterUnderTest> => {
      await reset(NOWHERE);
      return {
        open: () => routerOn(both),
        edit: async (phase, primary) => {
          for (const proxy of both) await leadByHand(proxy, [phase], addressOf(primary));
        },
        remove: async () => undefined,
      };
    },
    { holds },
  );

  const client = async (proxy = one): Promise<pg.Client> => {
    const opened = await openClient(proxy.urlThrough('in.orders', urls.source), 'shop');
    clients.push(opened);
    return opened;
  };
  const sideOf = async (session: pg.Client): Promise<string> =>
    await session.query<{ name: string }>('SELECT name FROM side').then(
      ({ rows }) => rows[0]?.name ?? 'none',
      () => 'ended',
    );
  const toTarget = async (router: HaproxyRouter, version?: string): Promise<void> => {
    const expected = version ?? (await router.observe('orders')).version;
    await router.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: { orders: expected } });
  };

  describe('with sessions', () => {
    beforeEach(() => reset(addressOf('source')));

    it('lets who connects wait, and in at the target, where it holds; who is connected goes on until the repoint', async () => {
      const router = routerOn(both);
      const connected = await client();
      const other = await client(both[1]);
      await router.hold(['orders'], BUDGET_MS);
      const late = client().then(sideOf);
      const waits = await Promise.race([late, sleep(HELD_FOR_MS).then(() => 'waits')]);
      expect([waits, await sideOf(connected)]).toEqual([holds ? 'waits' : 'source', 'source']);
      await toTarget(router);
      expect([await sideOf(connected), await sideOf(other)]).toEqual(['ended', 'ended']);
      if (holds) expect(await Promise.race([late, sleep(HELD_FOR_MS).then(() => 'waits')])).toBe('waits');
      await router.release(['orders']);
      expect([await late, await sideOf(await client())]).toEqual([holds ? 'target' : 'source', 'target']);
      expect(await Promise.all(both.map((proxy) => limitOf(proxy, 'orders')))).toEqual([40, 40]);
      expect(await limitOf(one, 'catalog')).toBe(500);
    });

    it('repeated after the release ends nobody who is on the target', async () => {
      const router = routerOn(both);
      const { version } = await router.observe('orders');
      await toTarget(router, version);
      const connected = await client();
      await toTarget(router, version);
      expect(await sideOf(connected)).toBe('target');
    });

    it('does not mind a session that has ended before it is told to', async () => {
      const socket = new RuntimeSocket(one.socket);
      await client();
      const sessions = await socket.sessions({ backend: 'db.orders', server: 'primary' });
      expect(sessions).toMatchObject([{ to: addressOf('source') }]);
      await socket.endSessions(sessions);
      await expect.poll(() => socket.sessions({ backend: 'db.orders', server: 'primary' })).toEqual([]);
      await socket.endSessions(sessions);
    });

    it('leaves who is on the old side where the plan says so', async () => {
      const connected = await client();
      await toTarget(routerOn(both, { sessions: 'keep' }));
      expect([await sideOf(connected), await sideOf(await client())]).toEqual(['source', 'target']);
    });

    it('takes a server for up whose old side was down, without waiting for its check', async () => {
      for (const proxy of both) await leadByHand(proxy, ['orders'], NOWHERE);
      await expect.poll(async () => await one.ask('show servers state db.orders')).toMatch(/127\.0\.0\.1 0 /);
      await toTarget(routerOn(both));
      expect(await sideOf(await client())).toBe('target');
    });

    it('changes of the file nothing but the address and its own comment', async () => {
      const before = one.text();
      await toTarget(routerOn(both));
      expect(one.text()).toBe(
        before.replace(
          `    # of the shop\n    server primary ${addressOf('source')} check`,
          `    # of the shop\n    # switchback: epoch 1 of db.orders/primary\n    server primary ${addressOf('target')} check`,
        ),
      );
    });
  });

  describe('one of two processes', () => {
    beforeEach(() => reset(addressOf('source')));

    it('that has fallen silent fails the hold in time, and the other lets clients in', async () => {
      one.signal('SIGSTOP');
      const failed = await routerOn(both)
        .hold(['orders'], 700)
        .catch((error: unknown) => error);
      one.signal('SIGCONT');
      expect(failed).toMatchObject({ kind: 'unreachable' });
      expect(await sideOf(await client(both[1]))).toBe('source');
      // It was sent nothing that it would do now.
      expect(await sideOf(await client(one))).toBe('source');
    });

    it('that is gone when it should follow keeps nobody waiting at the other; it reads the file when it is back', async () => {
      const router = routerOn(both);
      await router.hold(['orders'], BUDGET_MS);
      const { version } = await router.observe('orders');
      await one.stop();
      await expect(toTarget(router, version)).rejects.toMatchObject({ kind: 'unreachable' });
      expect(await sideOf(await client(both[1]))).toBe('target');
      await one.start();
      expect(await sideOf(await client(one))).toBe('target');
      await toTarget(router, version);
      expect(await router.observe('orders')).toMatchObject({ primary: 'target', held: false });
    });

    it('whose file was edited by hand is not led, nor is any other, and nothing is written', async () => {
      const router = routerOn(both);
      const { version } = await router.observe('orders');
      const texts = both.map((proxy) => proxy.text());
      const edited = texts[1]?.replace(/(backend db\.orders\n.*\n +server primary )\S+/, '$1third.example:5432') ?? '';
      both[1]?.write(edited);
      await expect(toTarget(router, version)).rejects.toMatchObject({
        kind: 'refused',
        remedy: expect.stringContaining('db.orders/primary leads to third.example:5432'),
      });
      expect(both.map((proxy) => proxy.text())).toEqual([texts[0], edited]);
      expect(await sideOf(await client())).toBe('source');
    });

    it('that was led elsewhere over its socket is left there, and nothing is written', async () => {
      const router = routerOn(both);
      const { version } = await router.observe('orders');
      const texts = both.map((proxy) => proxy.text());
      await both[1]?.ask('set server db.orders/primary addr 127.0.0.1 port 9');
      expect(await router.observe('orders')).toMatchObject({ primary: null });
      await expect(toTarget(router, version)).rejects.toMatchObject({
        kind: 'refused',
        remedy: expect.stringContaining('leads db.orders/primary to 127.0.0.1:9'),
      });
      expect(both.map((proxy) => proxy.text())).toEqual(texts);
      expect(await both[1]?.ask('show servers state db.orders')).toContain(' 9 ');
      expect(await sideOf(await client())).toBe('source');
    });

    it('is not led by a worker that slept behind its edit, when a newer one has led it back', async () => {
      const router = routerOn([one]);
      const { version } = await router.observe('orders');
      const repoint = { phases: ['orders'], to: 'target', expect: { orders: version } } as const;
      const { socket, config } = one;
      const words = [urls.source, urls.target, JSON.stringify({ ...repoint, instances: [{ socket, config }] })];
      const sleeper = spawn(process.execPath, [SLEEPER, ...words], {
        env: { ...process.env, SWITCHBACK_FAILPOINT: 'haproxy:edited:stop' },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      try {
        await expect.poll(() => one.text(), { timeout: BUDGET_MS }).toContain('epoch 1 of');
        await router.repoint({ ...repoint, epoch: 1n });
        const back = (await router.observe('orders')).version;
        await router.repoint({ phases: ['orders'], to: 'source', epoch: 2n, expect: { orders: back } });
        const said = once(sleeper.stdout, 'data');
        sleeper.kill('SIGCONT');
        expect(String(await said)).toBe('refused\n');
      } finally {
        sleeper.kill('SIGKILL');
      }
      expect(await router.observe('orders')).toMatchObject({ primary: 'source' });
    });

    it.each(['maint', 'drain'])('in state %s is no repoint that was done', async (state) => {
      await one.ask(`set server db.orders/primary state ${state}`);
      const failed = await toTarget(routerOn(both)).catch((error: unknown) => error);
      await one.ask('set server db.orders/primary state ready');
      expect(failed).toMatchObject({ kind: 'refused', message: expect.stringContaining('in maintenance or drained') });
    });

    it('whose socket does not let us lead, or is not there, says so', async () => {
      const weak = await makeProxy({
        frontends: FRONTENDS,
        sections: (portOf) => sectionsOf(addressOf('source'), portOf),
        level: 'operator',
      });
      await expect(toTarget(routerOn([weak]))).rejects.toMatchObject({
        kind: 'refused',
        message: expect.stringContaining('Permission denied'),
      });
      const gone = routerOn([], { instances: [{ socket: `${one.socket}.none`, config: one.config }] });
      await expect(gone.observe('orders')).rejects.toMatchObject({ kind: 'unreachable' });
      const file = `${one.config}.short`;
      writeFileSync(file, 'global\n');
      const other = routerOn([], { instances: [{ socket: one.socket, config: file }] });
      await expect(other.observe('orders')).rejects.toMatchObject({
        kind: 'refused',
        message: expect.stringContaining('it has no backend db.orders'),
      });
    });
  });
});
