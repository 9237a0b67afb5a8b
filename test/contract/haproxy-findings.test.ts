import { writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RunningProxy } from '../../src/demo/proxies.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { HaproxyRouter } from '../../src/routers/haproxy/router.ts';
import { describeWithProxies } from '../support/haproxy.ts';
import { createDatabase, useServer } from '../support/servers.ts';

/** What is seen before a switch of that which would stop it behind its commit record, or undo it later. */
const server = useServer({ version: 18 });

describeWithProxies('before a switch', ({ makeProxy, holds }) => {
  let sql: PostgresServer;
  let proxy: RunningProxy;
  /** The older one cannot hold, and says so each time. */
  const always = holds ? [] : ['router/cannot-hold warns'];
  const sectionsOf =
    (line: string, more = '') =>
    (portOf: (frontend: string) => number): string =>
      `listen shop\n  bind 127.0.0.1:${portOf('shop')}\n${more}  server db 127.0.0.1:${server().port}${line}\n`;
  const make = (line: string, more = '', level: 'admin' | 'operator' = 'admin'): Promise<RunningProxy> =>
    makeProxy({ frontends: ['shop'], sections: sectionsOf(line, more), level });

  beforeAll(async () => {
    sql = new PostgresServer({
      url: await createDatabase(server(), holds ? 'newer' : 'older'),
      label: 'source',
      application: 'test',
    });
    proxy = await make(' check');
  });
  afterAll(async () => await sql?.close());

  const findingsOf = async (
    { socket, config }: { readonly socket: string; readonly config: string } = proxy,
    host = '127.0.0.1',
  ): Promise<readonly string[]> => {
    const found = await new HaproxyRouter({
      instances: [{ socket, config }],
      leads: new Map([['orders', { frontend: 'shop', server: { backend: 'shop', server: 'db' } }]]),
      sides: {
        source: { url: 'postgresql://a@b/c', host, port: server().port },
        target: { url: 'postgresql://a@b/c', host: '127.0.0.1', port: 1 },
      },
      servers: { source: sql, target: sql },
      sessions: 'end',
    }).findings(['orders']);
    return found.map(({ id, severity }) => `${id} ${severity}`).filter((one) => !always.includes(one));
  };

  it('nothing is in the way of a server that is led by one line of a file that is read', async () => {
    expect(await findingsOf()).toEqual([]);
  });

  it('a process that leads elsewhere than its file is found, and one that leads to neither side', async () => {
    await proxy.ask('set server shop/db addr 127.0.0.1 port 9');
    expect(await findingsOf()).toEqual(['router/other-file blocks']);
    await proxy.ask(`set server shop/db addr 127.0.0.1 port ${server().port}`);
    expect(await findingsOf(proxy, 'localhost')).toEqual(['router/leads-elsewhere blocks']);
  });

  it('a server in maintenance is found', async () => {
    await proxy.ask('set server shop/db state maint');
    expect(await findingsOf()).toEqual(['router/server-off blocks']);
    await proxy.ask('set server shop/db state ready');
  });

  it('a limit that a release would not restore is found, where something is held', async () => {
    await proxy.ask('set maxconn frontend shop 77');
    expect(await findingsOf()).toEqual(holds ? ['router/limit-differs blocks'] : []);
    await proxy.ask('set maxconn frontend shop 500');
    expect(await findingsOf()).toEqual([]);
  });

  it('a file that it does not read is found, and one whose place no other can take', async () => {
    const other = join(dirname(proxy.config), 'other.cfg');
    writeFileSync(other, proxy.text());
    expect(await findingsOf({ socket: proxy.socket, config: other })).toEqual(['router/file-not-read blocks']);
    // Also root cannot make one beside it with a longer name.
    const long = join(dirname(proxy.config), `${'a'.repeat(250 - basename(proxy.config).length)}haproxy.cfg`);
    writeFileSync(long, proxy.text());
    expect(await findingsOf({ socket: proxy.socket, config: long })).toContain('router/not-replaceable blocks');
  });

  it('a socket that lets us look alone is found', async () => {
    expect(await findingsOf(await make('', '', 'operator'))).toEqual(['router/no-right blocks']);
  });

  /**
   * Where clients get is asked of the process itself, by a session that is there, so that our reading of the file is held
   * against HAProxy's.
   */
  it.each([
    ['listen shop', [], 'shop', []],
    ['frontend shop', ['default_backend shop'], 'shop', []],
    ['frontend shop', ['default_backend other'], 'other', ['router/leads-past blocks']],
    ['listen shop', ['default_backend other'], 'other', ['router/leads-past blocks']],
    ['frontend shop', ['use_backend shop', 'default_backend other'], 'shop', []],
    ['frontend shop', ['use_backend other', 'default_backend shop'], 'other', ['router/leads-past blocks']],
    ['frontend shop', ['use_backend other if FALSE', 'default_backend shop'], 'shop', ['router/leads-partly warns']],
    ['frontend shop', ['use_backend "%[str(other)]"', 'default_backend shop'], 'other', ['router/leads-partly warns']],
  ])('whether a %s with %j leads to the server, as HAProxy does', async (head, rules, reached, found) => {
    const led = await makeProxy({
      frontends: ['shop'],
      sections: (portOf) =>
        [
          ...[head, `  bind 127.0.0.1:${portOf('shop')}`, ...rules.map((rule) => `  ${rule}`)],
          ...[head.startsWith('listen') ? '' : 'backend shop', `  server db 127.0.0.1:${server().port}`],
          ...['backend other', `  server db 127.0.0.1:${server().port}`, ''],
        ].join('\n'),
    });
    const client = createConnection({ host: '127.0.0.1', port: led.portOf('shop') });
    await expect.poll(() => led.ask('show sess all')).toContain(`backend=${reached} `);
    client.destroy();
    expect(await findingsOf(led)).toEqual(found);
  });

  it('a frontend that is not in the file is found', async () => {
    const split = await make('');
    const elsewhere = split
      .text()
      .replace('listen shop', 'backend shop')
      .replace(/ {2}bind.*\n/, '');
    writeFileSync(split.config, elsewhere);
    expect(await findingsOf(split)).toEqual([holds ? 'router/refused blocks' : 'router/frontend-unseen warns']);
  });

  it('what would lead it away again, or judges it by another machine, is found', async () => {
    const more = [
      '  option pgsql-check user nobody_there',
      '  load-server-state-from-file global',
      '  server old 127.0.0.1:2',
    ];
    const bad = await make(' check port 8008', `${more.join('\n')}\n`);
    expect(await findingsOf(bad)).toEqual([
      'router/other-servers blocks',
      'router/check-elsewhere warns',
      'router/state-file warns',
      'router/check-role warns',
      'router/check-role warns',
    ]);
    const resolvers = 'resolvers dns\n  nameserver one 127.0.0.1:1\n';
    const resolved = await makeProxy({
      frontends: ['shop'],
      sections: (portOf) => resolvers + sectionsOf(' resolvers dns')(portOf),
    });
    expect(await findingsOf(resolved)).toEqual(['router/resolved blocks']);
  });
});
