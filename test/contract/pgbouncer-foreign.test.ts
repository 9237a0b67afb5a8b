import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Pooler } from '../../src/demo/poolers.ts';
import type { Side } from '../../src/domain/position.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { PgbouncerRouter } from '../../src/routers/pgbouncer/router.ts';
import { openClient } from '../support/clients.ts';
import { describeWithNewPoolers, describeWithPoolers, type MakePooler } from '../support/pgbouncer.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/**
 * From an old server to a new one and back, behind poolers that remember what servers report and such that do not: what
 * becomes of clients is what `check` says of it.
 */
const servers = useServerPair();

let sql: Record<Side, PostgresServer>;

beforeAll(async () => {
  const serverOf = async (side: Side) =>
    new PostgresServer({ url: await createDatabase(servers()[side], 'foreign'), label: side, application: 'test' });
  sql = { source: await serverOf('source'), target: await serverOf('target') };
});
afterAll(async () => {
  await Promise.all(Object.values(sql ?? {}).map((server) => server.close()));
});

const testsOf = (makePooler: MakePooler): void => {
  let pooler: Pooler;
  let remembers: boolean;
  const portOf = (side: Side): number => servers()[side].port;
  const entriesAt = (side: Side): string =>
    ['one', 'two', 'other']
      .map((name) => `${name} = host=127.0.0.1 port=${portOf(side)} dbname=foreign pool_size=5\n`)
      .join('');
  const routerOf = (foreignSettings: 'refuse' | 'end'): PgbouncerRouter =>
    new PgbouncerRouter({
      instances: [{ admin: pooler.admin, config: pooler.config }],
      databases: new Map([
        ['one', 'one'],
        ['two', 'two'],
      ]),
      sides: {
        source: { url: servers().source.urlFor('foreign') },
        target: { url: servers().target.urlFor('foreign') },
      },
      servers: sql,
      blockers: { waitMs: 500, action: 'abort' },
      foreignSettings,
    });
  const findingsOf = async (router: PgbouncerRouter): Promise<readonly string[]> =>
    (await router.findings(['one'], 1_000)).map(({ id, severity }) => `${id} ${severity}`);
  const lead = async (router: PgbouncerRouter, to: Side, epoch: bigint): Promise<void> => {
    const { version } = await router.observe('one');
    await router.hold(['one'], 5_000);
    await router.repoint({ phases: ['one'], to, expect: { one: version }, epoch });
    await router.release(['one']);
  };
  /** Where somebody new gets, or what he is told. */
  const newcomer = async (database = 'one'): Promise<unknown> =>
    await runSql(pooler.urlFor(database), 'SELECT inet_server_port() AS port').then(
      ([row]) => row?.port,
      (error: unknown) => String(error),
    );

  beforeAll(async () => {
    pooler = await makePooler({ mode: 'transaction', entries: entriesAt('source') });
    remembers = Number(String(Object.values((await pooler.ask('SHOW VERSION'))[0] ?? {})[0]).split('.')[1]) >= 26;
  });

  it('a failback turns away who comes, where a cutover was refused for that', async () => {
    const router = routerOf('refuse');
    expect(await findingsOf(router)).toEqual(remembers ? ['router/unshared-setting blocks'] : []);
    await lead(router, 'target', 1n);
    expect(await newcomer()).toBe(portOf('target'));
    expect(await findingsOf(router)).toEqual(remembers ? ['router/unshared-setting warns'] : []);
    await lead(router, 'source', 2n);
    expect(await newcomer()).toEqual(remembers ? expect.stringMatching(/invalid server parameter/) : portOf('source'));
    // What the finding says to do then.
    if (remembers) for (const command of ['KILL one', 'RESUME one']) await pooler.ask(command);
    expect(await newcomer()).toBe(portOf('source'));
  });

  it('or ends clients once, those of the phase alone, and lets them in again', async () => {
    const router = routerOf('end');
    expect(await findingsOf(router)).toEqual(remembers ? ['router/ends-clients warns'] : []);
    const [client, other] = await Promise.all(['one', 'other'].map((name) => openClient(pooler.urlFor(name), 'app')));
    const asks = (one: typeof client) =>
      one?.query('SELECT 1').then(
        () => 'answered',
        () => 'ended',
      );
    await lead(router, 'target', 3n);
    expect(await asks(client)).toBe('answered');
    expect(await newcomer()).toBe(portOf('target'));
    await lead(router, 'source', 4n);
    expect(await asks(client)).toBe(remembers ? 'ended' : 'answered');
    expect(await asks(other)).toBe('answered');
    expect(await newcomer()).toBe(portOf('source'));
    expect(await router.observe('one')).toMatchObject({ primary: 'source', held: false });
  });

  it('a worker that died between RELOAD and that is made good by the repeated repoint', async () => {
    const router = routerOf('end');
    await lead(router, 'target', 5n);
    expect(await newcomer()).toBe(portOf('target'));
    const { version } = await router.observe('one');
    await pooler.setEntries(pooler.entries().replace(/^one = .*$/m, entriesAt('source').split('\n')[0] ?? ''));
    await router.repoint({ phases: ['one'], to: 'source', expect: { one: version }, epoch: 6n });
    await router.release(['one']);
    expect(await newcomer()).toBe(portOf('source'));
  });
};

describeWithPoolers('to a new server and back', testsOf);
describeWithNewPoolers('to a new server and back', testsOf);
