import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { postgresPath } from '../../src/databases/postgres/client-path.ts';
import { postgresClients } from '../../src/databases/postgres/clients.ts';
import { applicationName, PostgresSessions } from '../../src/databases/postgres/sessions.ts';
import { SwitchbackError } from '../../src/domain/errors.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';

/**
 * Other people's sessions in a database and the path by which they come, asked by roles of which nobody has granted anything
 * but to connect.
 */
describe.each([13, 18] as const)('clients of PostgreSQL %i', (version) => {
  const server = useServer({ version });
  const open: pg.Client[] = [];
  const servers: PostgresServer[] = [];
  let url = '';

  const as = (user: string, database = 'clients'): string => {
    const named = new URL(server().urlFor(database));
    named.username = user;
    named.password = '';
    return named.toString();
  };
  const session = async (of: string, application: string): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: of, application_name: application });
    client.on('error', () => undefined);
    await client.connect();
    open.push(client);
    return client;
  };
  const serverOf = (of: string): PostgresServer => {
    const made = new PostgresServer({ url: of, label: 'source', application: applicationName('w1') });
    servers.push(made);
    return made;
  };
  const isAlive = async (client: pg.Client): Promise<boolean> =>
    await client.query('SELECT 1').then(
      () => true,
      () => false,
    );

  beforeAll(async () => {
    url = await createDatabase(server(), 'clients');
    await createDatabase(server(), 'elsewhere');
    await runSql(
      url,
      `CREATE ROLE shop LOGIN; CREATE ROLE plain LOGIN; CREATE ROLE ender LOGIN; GRANT pg_signal_backend TO ender;
       ALTER ROLE shop SET timezone = 'Asia/Kathmandu'; ALTER ROLE shop SET datestyle = 'SQL, DMY';
       CREATE FUNCTION public.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()';
       ALTER ROLE shop SET search_path = public, pg_catalog`,
    );
  });
  afterAll(async () => {
    await Promise.allSettled(open.map((client) => client.end()));
    await Promise.allSettled(servers.map((one) => one.close()));
  });

  it('tells by a path which server and database is reached, whatever the role has set', async () => {
    const described = await new PostgresSessions(serverOf(url)).describe();
    const path = postgresPath(as('shop'), 'probe');
    expect(await path.ask()).toEqual({
      identity: described.identity,
      instance: described.instance,
      isStandby: false,
    });
    expect(path.name).toBe(`127.0.0.1:${server().port}/clients`);
    const other = await postgresPath(as('shop', 'elsewhere'), 'probe').ask();
    expect(other.instance).not.toBe(described.instance);
    await expect(postgresPath(as('nobody'), 'probe').ask()).rejects.toThrow(/role "nobody" does not exist/);
  });

  it('lists whoever is there, and nobody else', async () => {
    const shop = await session(as('shop'), 'web');
    await session(as('shop'), 'web');
    await shop.query('BEGIN');
    await session(as('plain'), 'report');
    await session(as('shop', 'elsewhere'), 'web');
    await session(url, `${applicationName('w2')}:pool`);
    const replication = new pg.Client({
      connectionString: url,
      application_name: 'subscriber',
      replication: 'database',
    } as pg.ClientConfig);
    await replication.connect();
    open.push(replication);
    for (const role of [url, as('plain')]) {
      const found = await postgresClients(serverOf(role)).list();
      const kinds = found.map(({ user, application, count }) => ({ user, application, count }));
      // Who may not see their address is told that there is none.
      expect(found.map(({ address }) => address).filter((address) => !['127.0.0.1', ''].includes(address))).toEqual([]);
      expect(kinds).toEqual([
        { user: 'shop', application: 'web', count: 2 },
        { user: 'plain', application: 'report', count: 1 },
      ]);
    }
    await Promise.all(open.splice(0).map((client) => client.end()));
  });

  it('ends all that it may, says why it may not end the others, and none without its guard', async () => {
    const [idle, busy, elsewhere] = await Promise.all([
      session(as('shop'), 'idle'),
      session(as('shop'), 'busy'),
      session(as('shop', 'elsewhere'), 'elsewhere'),
    ]);
    const superuser = await session(url, 'dba');
    await busy?.query('BEGIN; CREATE TEMP TABLE t (n int)');
    const clients = postgresClients(serverOf(as('ender')));
    const refusing = async (): Promise<void> => {
      throw new SwitchbackError('refused', 'another worker has taken over');
    };
    await expect(clients.end(refusing)).rejects.toThrow('another worker has taken over');
    const there = [idle, busy, elsewhere, superuser] as readonly pg.Client[];
    expect(await Promise.all(there.map(isAlive))).toEqual([true, true, true, true]);
    const ended = await clients.end(async () => undefined);
    expect(ended.count).toBe(2);
    expect(ended.refusals.join()).toMatch(/superuser|permission denied/i);
    expect(await Promise.all(there.map(isAlive))).toEqual([false, false, true, true]);
  });
});
