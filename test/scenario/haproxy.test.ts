import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startClients } from '../../src/demo/clients.ts';
import { Ledger } from '../../src/demo/ledger.ts';
import { checkLedger } from '../../src/demo/ledger-check.ts';
import { readPrimaryRows } from '../../src/demo/primary-rows.ts';
import type { RunningProxy } from '../../src/demo/proxies.ts';
import { createShop, type ShopSize } from '../../src/demo/shop.ts';
import { shopSchemaSql } from '../../src/demo/shop-schema.ts';
import type { Side } from '../../src/domain/position.ts';
import { sleep } from '../../src/platform/clock.ts';
import { openClient } from '../support/clients.ts';
import { askHere, startDoomed } from '../support/crash-points.ts';
import { describeWithMixedProxies } from '../support/haproxy.ts';
import { type Scenario, scenarioOn } from '../support/scenario.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/**
 * An application behind two HAProxies, of which one can hold and the other cannot. Its clients know the proxies alone, and
 * connect again when they are told that their side takes no writes, or when they are cut off.
 */
const servers = useServerPair();
const CLIENTS = 16;
const PER_SECOND = 500;
const SLOW_MS = 300_000;
/** Clients lock each other, or move one row to another partition, also where nothing switches. */
const OF_THEIR_OWN = ['40P01', '40001'];
/** What a client may be told in a switch: this side takes no writes, or its session is gone. */
const OF_A_SWITCH = ['25006', 'lost', '57P01', 'ECONNRESET'];
/** Both sections, the server's address, and the rest, which stays. */
const partsOf = (port: number): readonly [string, string] => [
  `frontend shop_in\n  bind 127.0.0.1:${port}\n  maxconn 100\n  default_backend shop\nbackend shop\n  option tcplog # see the wiki\n`,
  ' check inter 1s # all of the shop\nbackend stock\n  server db stock.example:5432 disabled init-addr none\n',
];

let proxies: readonly RunningProxy[] = [];
let holds: readonly boolean[] = [];
let scenario: Scenario;
let size: ShopSize;

const addressOf = (side: Side): string => `127.0.0.1:${servers()[side].port}`;
const sectionsOf = (port: number, address: string): string => partsOf(port).join(`  server db ${address}`);

/** The files' sections without the epochs, which rise from test to test. */
const filesNow = (): readonly string[] =>
  proxies.map((proxy) => {
    const text = proxy.text().replace(/^ {2}# switchback: epoch \d+ of shop\/db\n/m, '');
    return text.slice(text.indexOf('frontend'));
  });
const filesOf = (side: Side): readonly string[] =>
  proxies.map((proxy) => sectionsOf(proxy.portOf('shop_in'), addressOf(side)));

const urlOf = (proxy: RunningProxy | undefined): string => proxy?.urlThrough('shop_in', scenario.source) ?? '';

/** Where clients of each proxy are, and whether somebody who asks has to wait. */
const clientsNow = async (): Promise<unknown> => {
  const ports = proxies.map(async (proxy) => {
    const [row] = await runSql(urlOf(proxy), 'SELECT inet_server_port() AS port');
    return row?.port;
  });
  return await Promise.race([Promise.all(ports), sleep(10_000).then(() => 'held')]);
};

const limitsNow = async (): Promise<readonly string[]> =>
  await Promise.all(
    proxies.map(async (proxy) => (await proxy.ask('show stat shop_in 1 -1')).split('\n')[1]?.split(',')[6] ?? ''),
  );

const expectOn = async (side: Side): Promise<void> => {
  const { port } = servers()[side];
  expect({ files: filesNow(), clients: await clientsNow(), limits: await limitsNow() }).toEqual({
    files: filesOf(side),
    clients: [port, port],
    limits: ['100', '100'],
  });
};

describeWithMixedProxies('an application behind HAProxy', (under) => {
  beforeAll(async () => {
    const source = await createDatabase(servers().source, 'proxied');
    const target = await createDatabase(servers().target, 'proxied');
    size = await createShop(source, { rows: 2_000 });
    await runSql(target, shopSchemaSql);
    holds = under.map((one) => one.holds);
    proxies = await Promise.all(
      under.map(({ makeProxy }) =>
        makeProxy({
          frontends: ['shop_in'],
          sections: (portOf) => sectionsOf(portOf('shop_in'), addressOf('source')),
        }),
      ),
    );
    const listOf = (key: 'socket' | 'config'): string => JSON.stringify(proxies.map((proxy) => proxy[key]));
    scenario = scenarioOn(
      { source, target },
      {
        phases: [{ name: 'all', tables: ['shop.*'] }],
        router: `{ kind: haproxy, socket: ${listOf('socket')}, config: ${listOf('config')}, server: shop/db, frontend: shop_in }`,
        more: 'switch: { window: 30s, max_lag: 20s, blockers: { wait: 10s, then: abort } }',
      },
    );
  }, SLOW_MS);
  afterAll(async () => await scenario?.close());

  it(
    'is moved over and back while its clients write, and nothing is lost',
    async () => {
      const worker = scenario.worker();
      await scenario.untilState(worker, 'ready', 'all');
      // The clients' own file never changes: one kind of work goes through each proxy.
      const routeFile = join(scenario.run.directory, 'clients.json');
      const led = (primary: Side) => ({ primary, held: false });
      writeFileSync(routeFile, JSON.stringify({ catalog: led('source'), orders: led('target') }));
      const [first, second] = proxies;
      const ledger = new Ledger();
      const urls = { source: urlOf(first), target: urlOf(second) };
      const clients = startClients({ urls, routeFile, size, ledger, clients: CLIENTS, ratePerSecond: PER_SECOND });
      await sleep(500);
      await scenario.change('cutover', 'all');
      const before = clients.stats().acknowledged;
      await sleep(500);
      expect(clients.stats().acknowledged).toBeGreaterThan(before);
      expect(filesNow()).toEqual(filesOf('target'));
      await scenario.change('failback', 'all');
      await sleep(300);
      await clients.stop();
      await worker.stop();
      const { refusals, failed } = clients.stats();
      const errors = Object.keys(refusals).filter((code) => ![...OF_THEIR_OWN, ...OF_A_SWITCH].includes(code));
      expect({ errors, failed }).toEqual({ errors: [], failed: 0 });
      const { source } = scenario;
      expect(checkLedger(ledger, await readPrimaryRows({ catalog: source, orders: source }))).toMatchObject({
        lost: 0,
        duplicated: 0,
        reordered: 0,
        phantom: 0,
      });
      await expectOn('source');
    },
    SLOW_MS,
  );

  const POINTS: readonly (readonly [point: string, held: boolean, side: Side])[] = [
    ['acted cutover/hold', true, 'source'],
    ['haproxy:edited', true, 'target'],
    ['haproxy:led', true, 'target'],
    ['haproxy:all led', true, 'target'],
    ['acted cutover/repoint', true, 'target'],
    ['acted cutover/release', false, 'target'],
  ];

  it.each(POINTS)(
    'is let in by whoever comes after a worker that died at "%s"',
    async (point, held, side) => {
      const { run } = scenario;
      const doomed = startDoomed(run, ['cutover', run.plan, 'all', '--confirm', 'all'], `${point}:kill`);
      expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
      expect(await limitsNow()).toEqual(holds.map((can) => (can && held ? '0' : '100')));
      const [, holding] = proxies;
      const waiting = runSql(urlOf(holding), 'SELECT inet_server_port() AS port');
      expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 0 });
      expect(await waiting).toEqual([{ port: servers()[side].port }]);
      await expectOn(side);
      if (side === 'target') expect(await askHere(run, 'failback')).toMatchObject({ exitCode: 0 });
      await expectOn('source');
    },
    SLOW_MS,
  );

  it(
    'is not taken for led while old sessions stay, or a server lets nobody in',
    async () => {
      const { run } = scenario;
      const [first, second] = proxies;
      if (first === undefined || second === undefined) throw new Error('no proxies');
      const connected = await Promise.all(proxies.map((proxy) => openClient(urlOf(proxy), 'shop')));
      try {
        const args = ['cutover', run.plan, 'all', '--confirm', 'all'];
        expect(await startDoomed(run, args, 'haproxy:all led:kill').ended).toMatchObject({ signal: 'SIGKILL' });
        expect(filesNow()).toEqual(filesOf('target'));
        const portsOf = () =>
          Promise.all(
            connected.map((client) =>
              client.query('SELECT inet_server_port() AS port').then(
                ({ rows }) => rows[0]?.port,
                () => 'ended',
              ),
            ),
          );
        const { port } = servers().source;
        expect(await portsOf()).toEqual([port, port]);
        await second.ask('set server shop/db state drain');
        const parked = await askHere(run, 'resume');
        expect(parked).toMatchObject({ exitCode: 6 });
        expect(parked.message).toContain('in maintenance or drained');
        await second.ask('set server shop/db state ready');
        expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 0 });
        expect(await portsOf()).toEqual(['ended', 'ended']);
      } finally {
        await Promise.allSettled(connected.map((client) => client.end()));
      }
      await expectOn('target');
      expect(await askHere(run, 'failback')).toMatchObject({ exitCode: 0 });
      await expectOn('source');
    },
    SLOW_MS,
  );

  it(
    'is led nowhere against the will of a person who edits the file, or leads a proxy, in the middle',
    async () => {
      const { run } = scenario;
      const [first, second] = proxies;
      if (first === undefined || second === undefined) throw new Error('no proxies');
      const args = ['cutover', run.plan, 'all', '--confirm', 'all'];
      expect(await startDoomed(run, args, 'acted cutover/commit:kill').ended).toMatchObject({ signal: 'SIGKILL' });
      const third = first.text().replace(`server db ${addressOf('source')}`, 'server db third.example:5432');
      first.write(third);
      const parked = await askHere(run, 'resume');
      expect(parked).toMatchObject({ exitCode: 6 });
      expect(parked.message).toContain('was changed by somebody since it was looked at');
      expect([first.text(), filesNow()[1]]).toEqual([third, filesOf('source')[1]]);
      first.write(third.replace('third.example:5432', addressOf('source')));
      await second.ask('set server shop/db addr 127.0.0.1 port 9');
      const parkedAgain = await askHere(run, 'resume');
      expect(parkedAgain).toMatchObject({ exitCode: 6 });
      expect(parkedAgain.message).toContain('was changed by somebody since it was looked at');
      expect(filesNow()).toEqual(filesOf('source'));
      await second.ask(`set server shop/db addr 127.0.0.1 port ${servers().target.port}`);
      expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 0 });
      await expectOn('target');
      expect(await askHere(run, 'failback')).toMatchObject({ exitCode: 0 });
      await expectOn('source');
    },
    SLOW_MS,
  );
});
