import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as s3 from '@aws-sdk/client-s3';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { insideTree, serviceProblem, servicesDirectory } from '../../scripts/services/tree.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import type { Destination, SnapshotStore } from '../../src/snapshots/store.ts';
import { describeWithMoto } from '../support/moto.ts';
import { runSql, useServer } from '../support/servers.ts';
import { describeUnless } from '../support/services.ts';
import { type SnapshotOrder, storeOf } from '../support/snapshot-program.ts';
import { freshId, specOf, waiting } from '../support/snapshots.ts';
import { failureOf } from './objects.ts';
import { type StoreUnderTest, snapshotStoreContract } from './snapshot-store.ts';

// No crash of the server is tested here, and databases come and go with every test.
const server = useServer({ version: 13, settings: { fsync: 'off' } });
const KEY = 'a1'.repeat(32);
const OTHER_KEY = 'b2'.repeat(32);

const SCHEMA = `
  CREATE SCHEMA switchback;
  CREATE TABLE switchback.progress (lane text PRIMARY KEY, position text);
  INSERT INTO switchback.progress VALUES ('all/reverse', '0/1234');
  CREATE TABLE item (id serial PRIMARY KEY, name text UNIQUE, at timestamptz DEFAULT '2026-11-27 10:00:00.123456+00');
  INSERT INTO item (name) SELECT 'item ' || n FROM generate_series(1, 500) n;
  CREATE TABLE "Odd ""name'" (a int REFERENCES item, b bytea);
  INSERT INTO "Odd ""name'" SELECT n, decode(md5(n::text), 'hex') FROM generate_series(1, 50) n;
  CREATE VIEW named AS SELECT name FROM item;
  CREATE PUBLICATION switchback_all FOR TABLE item;
  SELECT lo_from_bytea(4711, 'large');`;
const CONTENT = `
  SELECT (SELECT md5(string_agg(i::text, ';' ORDER BY id)) FROM item i)
      || (SELECT md5(string_agg(o::text, ';' ORDER BY a)) FROM "Odd ""name'" o)
      || (SELECT string_agg(p::text, ';') FROM switchback.progress p) || (SELECT count(*) FROM named)
      || (SELECT string_agg(pubname, ';') FROM pg_publication) || encode(lo_get(4711), 'escape')
      || (SELECT string_agg(conname || pg_get_constraintdef(oid), ';' ORDER BY conname) FROM pg_constraint
           WHERE connamespace = 'public'::regnamespace AND contype <> 'n') || current_setting('search_path') AS content`;

let worlds = 0;

interface DumpWorld extends StoreUnderTest {
  readonly folder: string;
  readonly order: Omit<SnapshotOrder, 'act' | 'id'>;
  /** The store, otherwise made. */
  with(changes: Partial<SnapshotOrder>): SnapshotStore;
  sql(text: string): Promise<Record<string, unknown>[]>;
}

const databaseOf = (url: string): string => decodeURIComponent(new URL(url).pathname.slice(1));
const databases = async (): Promise<readonly string[]> =>
  (await runSql(server().url, 'SELECT datname FROM pg_database')).map(({ datname }) => String(datname));

const makeWorld = async (key: string | null = null): Promise<DumpWorld> => {
  const name = `shop_${++worlds}`;
  const url = server().urlFor(name);
  await runSql(server().url, `CREATE DATABASE ${name}`);
  await runSql(server().url, `ALTER DATABASE ${name} SET search_path TO public, "$user"`);
  await runSql(url, SCHEMA);
  const folder = mkdtempSync(join(tmpdir(), 'switchback-dumps-'));
  const source = new PostgresServer({ url, label: 'source', application: 'switchback:test' });
  const order = { kind: 'pg_dump', sourceUrl: url, to: join(folder, 'to'), key, bin: null } as const;
  const made: string[] = [name];
  let written = 0;
  const open = () => storeOf(order, source);
  return {
    folder,
    order,
    open,
    with: (changes) => storeOf({ ...order, ...changes }, source),
    sql: (text) => runSql(url, text),
    write: async () => void (await runSql(url, `INSERT INTO item (name) VALUES ('later ${++written}')`)),
    contentOf: async (at) => String((await runSql(at ?? url, CONTENT))[0]?.content),
    destination: (place, purpose) => {
      const into = `${name}_${place}`;
      made.push(into);
      return { name: place, purpose, at: server().urlFor(into) };
    },
    occupy: async ({ at }) => void (await runSql(server().url, `CREATE DATABASE "${databaseOf(at ?? '')}"`)),
    exists: async ({ at }) => {
      const all = await databases();
      return all.includes(databaseOf(at ?? '')) || all.some((found) => found.startsWith('switchback_restoring_'));
    },
    makeForeign: async () => {
      const id = freshId().replace('shop', 'other');
      const foreign = storeOf(order, source);
      await foreign.create(specOf(id, 'pg_dump'), waiting().options);
      // As another plan would have made it, whose manifests say so.
      const path = join(order.to, id, 'manifest.json');
      writeFileSync(path, readFileSync(path, 'utf8').replace('"name":"shop"', '"name":"other"'));
      return id;
    },
    close: async () => {
      await source.close();
      for (const database of [...made, ...(await databases()).filter((found) => found.startsWith('switchback_'))]) {
        await runSql(server().url, `DROP DATABASE IF EXISTS "${database}" WITH (FORCE)`);
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
};

snapshotStoreContract('pg_dump', () => makeWorld(KEY), { exact: true });

describe('a snapshot by pg_dump', () => {
  let world: DumpWorld;
  let into: Destination;
  beforeEach(async () => {
    world = await makeWorld();
    into = world.destination('place', 'restore');
  });
  afterEach(() => world.close());
  const create = async (store = world.open()): Promise<string> => {
    const id = freshId();
    await store.create(specOf(id, 'pg_dump'), waiting().options);
    return id;
  };
  const restore = (id: string, store = world.open()) => store.restore(id, into, waiting().options);
  const refusal = async (work: Promise<unknown>, message: string | RegExp): Promise<void> => {
    const failure = await failureOf(work);
    expect(failure).toMatchObject({ kind: 'refused', message: expect.stringMatching(message) });
    expect(failure.remedy).toMatch(/./);
    expect(await world.exists(into)).toBe(false);
  };
  const objectsOf = (id: string): readonly string[] =>
    readdirSync(join(world.order.to, id, 'data')).map((name) => join(world.order.to, id, 'data', name));

  it('is in exactly one state, at a position, and what is committed later is not in it', async () => {
    const writer = new pg.Client({ connectionString: world.order.sourceUrl });
    await writer.connect();
    await writer.query(`BEGIN; UPDATE item SET name = 'before' WHERE id = 1; COMMIT`);
    await writer.query(`CREATE TABLE position AS SELECT pg_current_wal_insert_lsn() AS lsn`);
    const id = freshId();
    const { manifest } = await world.open().create(
      specOf(id, 'pg_dump', async (exported) => {
        await writer.query(`BEGIN; UPDATE item SET name = 'after' WHERE id = 2; COMMIT`);
        await writer.query(`BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '${exported}'`);
        const { rows } = await writer.query(`SELECT string_agg(name, ',' ORDER BY id) AS names FROM item WHERE id < 3`);
        expect(rows).toEqual([{ names: 'before,item 2' }]);
        await writer.query('COMMIT');
      }),
      waiting().options,
    );
    const { atLeast, atMost } = manifest?.position ?? {};
    expect(atLeast).toBe(atMost);
    const [order] = (await writer.query(`SELECT lsn <= '${atLeast}'::pg_lsn AS behind FROM position`)).rows;
    expect(order).toEqual({ behind: true });
    await writer.end();
    expect(await world.sql('SELECT slot_name FROM pg_replication_slots')).toEqual([]);
    const place = await restore(id);
    expect(await runSql(place.url, `SELECT name FROM item WHERE id < 3 ORDER BY id`)).toEqual([
      { name: 'before' },
      { name: 'item 2' },
    ]);
    expect(await runSql(place.url, 'SELECT count(*) > 0 AS known FROM pg_stats')).toEqual([{ known: true }]);
  });

  it('can be restored by pg_restore alone where it is not encrypted', async () => {
    const id = await create();
    expect(objectsOf(id).some((path) => path.endsWith('toc.dat'))).toBe(true);
    expect(
      readFileSync(join(world.order.to, id, 'data', 'toc.dat'))
        .subarray(0, 5)
        .toString(),
    ).toBe('PGDMP');
  });

  describe('is refused, before anything is touched,', () => {
    it('where a byte of it is another, or a part of it is missing', async () => {
      for (const change of [
        (path: string) => writeFileSync(path, readFileSync(path).fill(7, 5, 6)),
        (path: string) => writeFileSync(path, readFileSync(path).subarray(0, -1)),
        (path: string) => rmSync(path),
      ]) {
        const id = await create();
        change(objectsOf(id)[0] ?? '');
        await refusal(restore(id), /is damaged|no such file/);
      }
    });

    it('where its objects were swapped, or are those of another snapshot', async () => {
      const [one, two] = [await create(), await create()];
      const [a = '', b = ''] = objectsOf(one);
      renameSync(a, `${a}.was`);
      renameSync(b, a);
      renameSync(`${a}.was`, b);
      await refusal(restore(one), /is damaged/);
      const path = (id: string) => join(world.order.to, id, 'manifest.json');
      writeFileSync(path(two), readFileSync(path(one)));
      await refusal(restore(two), /manifest of snapshot .* is damaged/);
    });

    it.each([
      ['changed', (text: string) => text.replace('"by":"test@here"', '"by":"them@there"'), /checksum is another/],
      ['cut off', (text: string) => text.slice(0, text.length / 2), /is damaged: it cannot be read/],
      ['of a newer one', (text: string) => text.replace('{"format":1,', '{"format":2,'), /newer Switchback/],
      ['with a newer content', (text: string) => text.replace('\n{"format":1,', '\n{"format":3,'), /newer Switchback/],
    ])('where its manifest was %s, which the list shows', async (_how, change, message) => {
      const id = await create();
      const path = join(world.order.to, id, 'manifest.json');
      const text = readFileSync(path, 'utf8');
      expect(change(text)).not.toBe(text);
      writeFileSync(path, change(text));
      await refusal(restore(id), message);
      expect(await world.open().list()).toMatchObject([
        { id, state: 'failed', manifest: null, detail: expect.stringMatching(message) },
      ]);
    });

    it('with another key, or with none', async () => {
      const id = await create(world.with({ key: KEY }));
      await refusal(restore(id, world.with({ key: OTHER_KEY })), /was made with key [0-9a-f]{16}, and the plan's is/);
      await refusal(restore(id), /was made with key [0-9a-f]{16}, and the plan names none/);
      for (const path of objectsOf(id)) expect(readFileSync(path).includes('item')).toBe(false);
    });

    it('where the server lacks a role that only a policy names, which a rehearsal leaves out', async () => {
      await world.sql(`CREATE ROLE porter; CREATE POLICY of_porter ON item TO porter USING (id > 0)`);
      const id = await create();
      await world.sql('DROP POLICY of_porter ON item; DROP ROLE porter');
      await refusal(restore(id), /has no role porter/);
      const place = await world.open().restore(id, { ...into, purpose: 'drill' }, waiting().options);
      expect(place.differences).toMatchObject([{ id: 'restore/roles', fact: expect.stringContaining('is left out') }]);
      expect((await runSql(place.url, 'SELECT count(*) AS n FROM item'))[0]).toEqual({ n: '500' });
    });

    it('where the server lacks a role, which a rehearsal only tells of', async () => {
      await world.sql('CREATE ROLE clerk; GRANT SELECT ON item TO clerk');
      const id = await create();
      await world.sql('DROP OWNED BY clerk; DROP ROLE clerk');
      await refusal(restore(id), /has no role clerk/);
      const drill = { ...world.destination('drill', 'drill'), at: null };
      const place = await world.open().restore(id, drill, waiting().options);
      expect(place.differences).toMatchObject([{ id: 'restore/roles', severity: 'warns' }]);
      expect((await runSql(place.url, 'SELECT count(*) AS n FROM item'))[0]).toEqual({ n: '500' });
      await place.remove(waiting().options);
    });
  });

  it('that cannot be made is told at once, and what looks at it is ended', async () => {
    const bin = join(world.folder, 'bin');
    mkdirSync(bin);
    writeFileSync(
      join(bin, 'pg_dump'),
      '#!/bin/sh\n[ "$1" = --version ] && exec pg_dump --version\necho "pg_dump: error: permission denied for table item" >&2; exit 1',
    );
    chmodSync(join(bin, 'pg_dump'), 0o755);
    const look = (_exported: string | null, _position: unknown, signal: AbortSignal) =>
      new Promise<void>((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const made = world.with({ bin }).create(specOf(freshId(), 'pg_dump', look), waiting().options);
    expect(await failureOf(made)).toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('permission denied for table item'),
    });
  });

  it('is restored whatever its tables are called', async () => {
    await world.sql('CREATE TABLE "pg_restore: error: 1" (a int); INSERT INTO "pg_restore: error: 1" VALUES (1)');
    const place = await restore(await create());
    expect(await runSql(place.url, 'SELECT a FROM "pg_restore: error: 1"')).toEqual([{ a: 1 }]);
  });

  it('shows nobody without the key what the settings of its database are', async () => {
    const name = new URL(world.order.sourceUrl).pathname.slice(1);
    await world.sql(`ALTER DATABASE ${name} SET app.secret TO 'very-secret-word'`);
    const store = world.with({ key: KEY });
    const id = await create(store);
    expect(JSON.stringify(await store.list())).not.toContain('very-secret-word');
    const folder = join(world.order.to, id);
    for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8', withFileTypes: true })) {
      if (path.isFile())
        expect(readFileSync(join(path.parentPath, path.name)).includes('very-secret-word'), path.name).toBe(false);
    }
    const place = await restore(id, store);
    expect(await runSql(place.url, 'SHOW app.secret')).toEqual([{ 'app.secret': 'very-secret-word' }]);
  });

  it('is owned, may be connected to, and is set for roles as its source; what cannot be done is told', async () => {
    const name = databaseOf(world.order.sourceUrl);
    await world.sql(`CREATE ROLE landlord; CREATE ROLE tenant; CREATE ROLE guest;
      ALTER DATABASE ${name} OWNER TO landlord; REVOKE ALL ON DATABASE ${name} FROM PUBLIC;
      GRANT CONNECT ON DATABASE ${name} TO tenant WITH GRANT OPTION; GRANT TEMPORARY ON DATABASE ${name} TO guest;
      ALTER ROLE tenant IN DATABASE ${name} SET search_path TO sales, public;
      ALTER ROLE guest IN DATABASE ${name} SET app.secret TO 'very-secret-word'`);
    const own = `SELECT pg_get_userbyid(datdba) AS owner,
        (SELECT string_agg(a, ',' ORDER BY a) FROM unnest(datacl::text[]) a) AS rights,
        (SELECT string_agg(setrole::regrole || array_to_string(setconfig, ';'), ',' ORDER BY setrole)
           FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole <> 0) AS settings
      FROM pg_database d WHERE datname = current_database()`;
    const id = await create();
    try {
      const place = await restore(id);
      expect(place.differences).toEqual([]);
      expect(await runSql(place.url, own)).toEqual(await world.sql(own));
      await place.remove(waiting().options);
      await world.sql(`REVOKE ALL ON DATABASE ${name} FROM guest; ALTER ROLE guest IN DATABASE ${name} RESET ALL`);
      await world.sql('DROP ROLE guest');
      const again = await restore(id);
      expect(again.differences).toMatchObject([{ id: 'restore/database', severity: 'warns' }]);
      const { fact } = again.differences[0] ?? {};
      expect(fact).toMatch(/the setting app\.secret of role guest; TEMPORARY for guest \(.*"guest" does not exist/);
      expect(fact).not.toContain('very-secret-word');
    } finally {
      await world.sql(`ALTER DATABASE ${name} OWNER TO CURRENT_USER; DROP OWNED BY tenant`);
      await runSql(server().url, `DROP DATABASE IF EXISTS "${databaseOf(into.at ?? '')}" WITH (FORCE)`);
      await world.sql('DROP ROLE IF EXISTS landlord, tenant, guest');
    }
  });

  it('is not there without its manifest, and its creation then goes on', async () => {
    const id = await create();
    rmSync(join(world.order.to, id, 'manifest.json'));
    expect(await world.open().list()).toMatchObject([{ id, state: 'creating', manifest: null }]);
    await refusal(restore(id), /is creating/);
    await world.open().create(specOf(id, 'pg_dump'), waiting().options);
    expect(await world.open().list()).toMatchObject([{ id, state: 'available' }]);
  });

  it('tells bounds, and the same state, where no logical slot can be had', async () => {
    await world.sql(
      'CREATE ROLE reader LOGIN IN ROLE pg_read_all_settings; ALTER DATABASE postgres CONNECTION LIMIT -1',
    );
    await world.sql('GRANT SELECT ON ALL TABLES IN SCHEMA public, switchback TO reader; SELECT lo_unlink(4711)');
    await world.sql(
      'GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader; GRANT USAGE ON SCHEMA switchback TO reader',
    );
    const url = new URL(world.order.sourceUrl);
    url.username = 'reader';
    const source = new PostgresServer({ url: url.toString(), label: 'source', application: 'switchback:test' });
    const id = freshId();
    const store = storeOf({ ...world.order, sourceUrl: url.toString() }, source);
    const { manifest } = await store.create(
      specOf(id, 'pg_dump', () => world.write?.() ?? Promise.resolve()),
      waiting().options,
    );
    await source.close();
    expect(manifest?.position.atLeast).not.toBe('');
    expect(manifest?.digests).not.toBeNull();
    await world.sql('DROP OWNED BY reader; DROP ROLE reader');
    const place = await world.open().restore(id, { ...into, purpose: 'drill' }, waiting().options);
    expect((await runSql(place.url, 'SELECT count(*) AS n FROM item'))[0]).toEqual({ n: '500' });
  });

  it('cannot be made without its programs, or with older ones, and that is found', async () => {
    const bin = join(world.folder, 'bin');
    mkdirSync(bin);
    const blocked = (fact: RegExp) => [
      { id: 'snapshot/program', severity: 'blocks', fact: expect.stringMatching(fact) },
      { id: 'snapshot/program', severity: 'blocks' },
    ];
    const store = world.with({ bin });
    expect(await store.findings()).toMatchObject(blocked(/cannot be run/));
    expect(await failureOf(create(store))).toMatchObject({
      kind: 'usage',
      message: expect.stringMatching(/cannot be run/),
    });
    for (const name of ['pg_dump', 'pg_restore']) {
      writeFileSync(join(bin, name), `#!/bin/sh\n[ "$1" = --version ] && echo "${name} (PostgreSQL) 12.9"`);
      chmodSync(join(bin, name), 0o755);
    }
    expect(await store.findings()).toMatchObject(blocked(/it is of version 12, and the source is 13/));
    const id = await create();
    await refusal(restore(id, store), /is of version 12, and the dump was written by version \d+/);
  });

  it('says what pg_dump says, without a password, and leaves nothing running or lying about', async () => {
    const url = new URL(world.order.sourceUrl);
    url.password = 'very-secret-word';
    await world.sql('CREATE ROLE nobody_reads LOGIN REPLICATION');
    url.username = 'nobody_reads';
    const source = new PostgresServer({ url: url.toString(), label: 'source', application: 'switchback:test' });
    const store = storeOf({ ...world.order, sourceUrl: url.toString() }, source);
    const failure = await failureOf(create(store));
    await source.close();
    await world.sql('DROP ROLE nobody_reads');
    expect(failure).toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/pg_dump failed: .*permission denied/),
    });
    expect(failure.message).not.toContain('very-secret-word');
    expect(readdirSync(join(world.order.to, '.spool'))).toEqual([]);
  });

  it('says what to do where a disk is full, and keeps nothing of it', async () => {
    const bin = join(world.folder, 'bin');
    mkdirSync(bin);
    writeFileSync(
      join(bin, 'pg_dump'),
      '#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 15.1" && exit\necho "pg_dump: error: could not write: No space left on device" >&2; exit 1',
    );
    chmodSync(join(bin, 'pg_dump'), 0o755);
    expect(await failureOf(create(world.with({ bin })))).toMatchObject({
      kind: 'unreachable',
      message: expect.stringMatching(/pg_dump failed: .*No space left on device/),
      remedy: expect.stringMatching(/make room/),
    });
    expect(readdirSync(join(world.order.to, '.spool'))).toEqual([]);
    expect(
      await world.sql(
        'SELECT 1 FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database()',
      ),
    ).toEqual([]);
  });

  it('ends what runs when it is interrupted, and when we are killed', async () => {
    const bin = join(world.folder, 'bin');
    mkdirSync(bin);
    const pids = join(world.folder, 'pids');
    writeFileSync(
      join(bin, 'pg_dump'),
      `#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 15.1" && exit\nsleep 600 & echo $$ $! > ${pids}.new; mv ${pids}.new ${pids}; wait`,
    );
    chmodSync(join(bin, 'pg_dump'), 0o755);
    // One that has ended may not have been waited for yet.
    const isThere = (pid: string): boolean =>
      existsSync(`/proc/${pid}`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    const running = (): readonly string[] => readFileSync(pids, 'utf8').trim().split(' ').filter(isThere);
    const stop = new AbortController();
    const created = failureOf(world.with({ bin }).create(specOf(freshId(), 'pg_dump'), waiting(stop.signal).options));
    await expect.poll(() => existsSync(pids)).toBe(true);
    expect(running()).toHaveLength(2);
    stop.abort();
    expect((await created).name).toBe('AbortError');
    expect(running()).toEqual([]);
    rmSync(pids);
    const program = new URL('../support/snapshot-program.ts', import.meta.url).pathname;
    const order: SnapshotOrder = { ...world.order, bin, act: 'create', id: freshId() };
    const child = spawn(process.execPath, [program, JSON.stringify(order)], { stdio: 'ignore' });
    await expect.poll(() => existsSync(pids)).toBe(true);
    child.kill('SIGKILL');
    await expect.poll(running).toEqual([]);
  });

  describe('survives that we are killed', () => {
    const doomed = async (order: Partial<SnapshotOrder>, failpoint: string): Promise<void> => {
      const program = new URL('../support/snapshot-program.ts', import.meta.url).pathname;
      const child = spawn(process.execPath, [program, JSON.stringify({ ...world.order, ...order })], {
        env: { ...process.env, SWITCHBACK_FAILPOINT: `${failpoint}:kill` },
        stdio: ['ignore', 'inherit', 'inherit'],
      });
      expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
    };

    it.each(['begun', 'dumped', 'kept', 'finished'])(
      'at %s of its creation: one snapshot, and nothing else',
      async (at) => {
        const id = freshId();
        await doomed({ act: 'create', id }, `snapshot:${at}`);
        expect(await world.open().list()).toMatchObject([{ id, state: at === 'finished' ? 'available' : 'creating' }]);
        const made = await world.open().create(specOf(id, 'pg_dump'), waiting().options);
        expect(await world.open().list()).toEqual([made]);
        const place = await restore(id);
        expect(await world.contentOf?.(place.url)).toBe(await world.contentOf?.(null));
        const spool = join(world.order.to, '.spool');
        if (at !== 'finished') expect(existsSync(spool) ? readdirSync(spool) : []).toEqual([]);
      },
    );

    it.each(['proven', 'begun', 'filled', 'named'])('at %s of its restore: one place, and nothing else', async (at) => {
      const id = await create();
      await doomed({ act: 'restore', id, into }, `restore:${at}`);
      const place = await restore(id);
      expect(await world.contentOf?.(place.url)).toBe(await world.contentOf?.(null));
      const ours = (await databases()).filter((name) => name.startsWith('switchback_restoring_'));
      expect(ours).toEqual([]);
      await place.remove(waiting().options);
      expect(await world.exists(into)).toBe(false);
    });

    it('in the middle of its removal, which goes on', async () => {
      const id = await create();
      await doomed({ act: 'remove', id }, 'snapshot:removing');
      expect(await world.open().list()).toMatchObject([{ id, state: 'deleting', manifest: null }]);
      await refusal(restore(id), /is deleting/);
      expect(await failureOf(world.open().create(specOf(id, 'pg_dump'), waiting().options))).toMatchObject({
        kind: 'refused',
      });
      await world.open().remove(id, waiting().options);
      expect(await world.open().list()).toEqual([]);
      expect(readdirSync(world.order.to).filter((name) => name !== '.spool')).toEqual([]);
    });
  });
});

describeWithMoto('a snapshot by pg_dump in S3', () => {
  it('is made, restored and removed as in a directory', async () => {
    const client = new s3.S3Client({ forcePathStyle: true });
    const location = { LocationConstraint: 'eu-central-1' } as const;
    await client.send(new s3.CreateBucketCommand({ Bucket: 'dumps', CreateBucketConfiguration: location }));
    const world = await makeWorld(KEY);
    const store = world.with({ to: 's3://dumps/of/shop' });
    const id = freshId();
    const made = await store.create(specOf(id, 'pg_dump'), waiting().options);
    expect(await store.list()).toEqual([made]);
    const place = await store.restore(id, world.destination('place', 'restore'), waiting().options);
    expect(await world.contentOf?.(place.url)).toBe(await world.contentOf?.(null));
    await store.remove(id, waiting().options);
    const { Contents = [] } = await client.send(new s3.ListObjectsV2Command({ Bucket: 'dumps' }));
    expect(Contents).toEqual([]);
    await world.close();
  });
});

const newer = useServer({ version: 18, settings: { fsync: 'off' } });

describeUnless(serviceProblem('pgcopydb'), 'a snapshot by the programs of 18', () => {
  it('is restored on the version that it is of, and on a later one', async () => {
    const world = await makeWorld();
    const bin = join(world.folder, 'bin');
    mkdirSync(bin);
    for (const name of ['pg_dump', 'pg_restore']) {
      const words = [...insideTree(servicesDirectory()), `/usr/lib/postgresql/18/bin/${name}`];
      const quoted = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
      writeFileSync(join(bin, name), `#!/bin/sh\nexec ${quoted} "$@"\n`);
      chmodSync(join(bin, name), 0o755);
    }
    const id = freshId();
    await world.with({ bin }).create(specOf(id, 'pg_dump'), waiting().options);
    const at = [world.destination('place', 'restore').at, newer().urlFor('shop_restored')];
    for (const [index, url] of at.entries()) {
      const into: Destination = { name: `place-${index}`, purpose: 'restore', at: url };
      const place = await world.with({ bin }).restore(id, into, waiting().options);
      expect(place.differences).toEqual([]);
      expect(await world.contentOf?.(place.url)).toBe(await world.contentOf?.(null));
    }
    const ofNewer = new PostgresServer({
      url: newer().urlFor('shop_restored'),
      label: 'source',
      application: 'switchback:test',
    });
    const second = storeOf({ ...world.order, sourceUrl: newer().urlFor('shop_restored'), bin }, ofNewer);
    expect((await second.findings()).map(({ severity }) => severity)).toEqual([]);
    const newId = freshId();
    const spec = specOf(newId, 'pg_dump');
    await second.create({ ...spec, basis: { ...spec.basis, server: newer().version } }, waiting().options);
    const back: Destination = { name: 'back', purpose: 'restore', at: newer().urlFor('shop_back') };
    const place = await second.restore(newId, back, waiting().options);
    expect(await world.contentOf?.(place.url)).toBe(await world.contentOf?.(null));
    expect(
      await failureOf(second.restore(newId, world.destination('older', 'restore'), waiting().options)),
    ).toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/is 13\.\d+, older than/),
    });
    await ofNewer.close();
    await world.close();
  });
});
