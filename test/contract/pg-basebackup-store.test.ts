import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findBinaries, giveTo, unprivileged } from '../../src/demo/binaries.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import type { Destination } from '../../src/snapshots/store.ts';
import { runSql, useServer } from '../support/servers.ts';
import { type SnapshotOrder, storeOf } from '../support/snapshot-program.ts';
import { freshId, specOf, waiting } from '../support/snapshots.ts';
import { failureOf } from './objects.ts';
import { type StoreUnderTest, snapshotStoreContract } from './snapshot-store.ts';

// Small segments of the log, and no crash of the source: what is copied and written is most of the time that this takes.
const server = useServer({ version: 13, settings: { fsync: 'off', shared_buffers: '16MB', max_wal_size: '64MB' } });
const KEY = 'a1'.repeat(32);
const CONTENT = `SELECT string_agg(i::text, ';' ORDER BY id) AS content FROM item i`;

let bin = '';
beforeAll(async () => {
  bin = mkdtempSync(join(tmpdir(), 'switchback-bin-'));
  chmodSync(bin, 0o755);
  // The server's own programs come without pg_basebackup, which may be of any later version.
  symlinkSync(execFileSync('which', ['pg_basebackup'], { encoding: 'utf8' }).trim(), join(bin, 'pg_basebackup'));
  symlinkSync(join(dirname(findBinaries(13).postgres), 'pg_ctl'), join(bin, 'pg_ctl'));
  await runSql(
    server().url,
    `CREATE TABLE item (id serial PRIMARY KEY, name text);
    INSERT INTO item (name) SELECT 'item ' || n FROM generate_series(1, 500) n`,
  );
});
afterAll(() => rmSync(bin, { recursive: true, force: true }));

interface BackupWorld extends StoreUnderTest {
  readonly folder: string;
  readonly order: Omit<SnapshotOrder, 'act' | 'id'>;
}

const makeWorld = async (key: string | null = null): Promise<BackupWorld> => {
  const folder = mkdtempSync(join(tmpdir(), 'switchback-copies-'));
  chmodSync(folder, 0o755);
  const places = join(folder, 'places');
  mkdirSync(places);
  giveTo(places, unprivileged());
  const url = server().url;
  const source = new PostgresServer({ url, label: 'source', application: 'switchback:test' });
  const order = { kind: 'pg_basebackup', sourceUrl: url, to: join(folder, 'to'), key, bin } as const;
  const open = () => storeOf(order, source);
  return {
    folder,
    order,
    open,
    write: async () => void (await runSql(url, `INSERT INTO item (name) VALUES ('later')`)),
    contentOf: async (at) => String((await runSql(at ?? url, CONTENT))[0]?.content),
    destination: (name, purpose) => ({ name, purpose, at: join(places, name) }),
    occupy: async ({ at }) => void mkdirSync(at ?? ''),
    exists: async () => readdirSync(places).length > 0,
    makeForeign: async () => {
      const id = freshId().replace('shop', 'other');
      await open().create(specOf(id, 'pg_basebackup'), waiting().options);
      const path = join(order.to, id, 'manifest.json');
      writeFileSync(path, readFileSync(path, 'utf8').replace('"name":"shop"', '"name":"other"'));
      return id;
    },
    close: async () => {
      await source.close();
      for (const name of readdirSync(places)) {
        const pid = join(places, name, 'postmaster.pid');
        if (existsSync(pid)) process.kill(Number(readFileSync(pid, 'utf8').split('\n')[0]), 'SIGQUIT');
      }
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
};

snapshotStoreContract('pg_basebackup', () => makeWorld(KEY), { exact: false });

describe('a snapshot by pg_basebackup', () => {
  let world: BackupWorld;
  let into: Destination;
  beforeEach(async () => {
    world = await makeWorld();
    into = world.destination('place', 'restore');
  });
  afterEach(() => world.close());
  const create = async (): Promise<string> => {
    const id = freshId();
    await world.open().create(specOf(id, 'pg_basebackup'), waiting().options);
    return id;
  };
  const restore = (id: string) => world.open().restore(id, into, waiting().options);

  it('holds what was committed before its position, and is a server of its own that nobody else reaches', async () => {
    await runSql(server().url, `INSERT INTO item (name) VALUES ('just before')`);
    await runSql(server().url, `SELECT pg_create_logical_replication_slot('its_own', 'pgoutput')`);
    const id = freshId();
    const { manifest } = await world.open().create(
      specOf(id, 'pg_basebackup', () => world.write?.() ?? Promise.resolve()),
      waiting().options,
    );
    await runSql(server().url, `SELECT pg_drop_replication_slot('its_own')`);
    expect(manifest?.digests).toBeNull();
    const before = await world.contentOf?.(null);
    await world.write?.();
    process.env.TEST_SECRET = 'a key';
    const place = await restore(id).finally(() => delete process.env.TEST_SECRET);
    expect(await world.contentOf?.(place.url)).toBe(before);
    expect(
      await failureOf(world.open().restore(id, { ...into, time: '2026-11-27T10:00:00Z' }, waiting().options)),
    ).toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/nothing is kept here of the time 2026/),
    });
    const [facts] = await runSql(
      place.url,
      `SELECT pg_is_in_recovery() AS recovering, (SELECT timeline_id FROM pg_control_checkpoint()) > 1 AS parted,
              (SELECT count(*) FROM pg_replication_slots) AS slots, current_setting('listen_addresses') AS addresses,
              current_setting('archive_mode') AS archives, current_setting('max_logical_replication_workers') AS workers,
              (SELECT pg_current_wal_lsn() >= '${manifest?.position.atLeast}') AS reached`,
    );
    expect(facts).toEqual({
      recovering: false,
      parted: true,
      slots: '0',
      addresses: '',
      archives: 'off',
      workers: '0',
      reached: true,
    });
    await runSql(place.url, `INSERT INTO item (name) VALUES ('there alone')`);
    expect(await world.contentOf?.(null)).not.toContain('there alone');
    const postmaster = readFileSync(join(into.at ?? '', 'postmaster.pid'), 'utf8').split('\n')[0];
    const environment = readFileSync(`/proc/${postmaster}/environ`, 'utf8');
    expect(environment).toContain('PATH=');
    expect(environment, 'a server that is restored keeps our secrets').not.toContain('TEST_SECRET');
    await place.remove(waiting().options);
  });

  it('is refused, and goes on running, once its server has been taken into use', async () => {
    const id = await create();
    await restore(id);
    const directory = into.at ?? '';
    const control = (...args: readonly string[]) =>
      execFileSync(join(bin, 'pg_ctl'), [...args, '--wait', `--pgdata=${directory}`], {
        ...unprivileged(),
        cwd: '/',
        stdio: 'ignore',
      });
    control('stop', '--mode=fast');
    const config = join(directory, 'postgresql.auto.conf');
    writeFileSync(config, readFileSync(config, 'utf8').replace(/# By Switchback[\s\S]*/, ''));
    const socket = dirname(directory);
    control('start', '-o', `-c port=5433 -c listen_addresses='' -c unix_socket_directories='${socket}'`);
    const url = `postgresql:///postgres?host=${encodeURIComponent(socket)}&port=5433&user=postgres`;
    await runSql(url, `INSERT INTO item (name) VALUES ('in use')`);
    expect(await failureOf(restore(id))).toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/runs with settings of its own .* it is in use/),
    });
    expect(await world.contentOf?.(url)).toContain('in use');
  });

  it('runs none of the hooks that the source has, and ends at no point that an earlier recovery of it was to end at', async () => {
    const hooks = [
      `ALTER SYSTEM SET recovery_end_command = 'touch switchback-was-run'`,
      `ALTER SYSTEM SET archive_cleanup_command = 'touch switchback-was-run'`,
      `ALTER SYSTEM SET recovery_target_lsn = '0/10'`,
    ];
    for (const hook of hooks) await runSql(server().url, hook);
    const id = await create().finally(() => runSql(server().url, 'ALTER SYSTEM RESET ALL'));
    const place = await restore(id);
    expect(await world.contentOf?.(place.url)).toBe(await world.contentOf?.(null));
    expect(existsSync(join(into.at ?? '', 'switchback-was-run'))).toBe(false);
    const [row] = await runSql(place.url, `SELECT current_setting('cron.launch_active_jobs') AS jobs`);
    expect(row).toEqual({ jobs: 'off' });
  });

  it('is restored to a folder, and tells nothing of a URL that is given instead', async () => {
    const id = await create();
    const error = await failureOf(
      world.open().restore(id, { ...into, at: 'postgresql://me:secret@host/shop' }, waiting().options),
    );
    expect(error).toMatchObject({ kind: 'usage', message: expect.stringMatching(/to a folder, and a URL was given/) });
    expect(String(error)).not.toContain('secret');
  });

  it('is refused where it is damaged, before anything is touched', async () => {
    const id = await create();
    const path = join(world.order.to, id, 'data', 'base.tar.gz');
    writeFileSync(path, readFileSync(path).fill(7, 1000, 1001));
    expect(await failureOf(restore(id))).toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/is damaged/),
    });
    expect(await world.exists(into)).toBe(false);
  });

  it('is refused where its server cannot be run, which is found before', async () => {
    const id = await create();
    const other = join(world.folder, 'bin');
    mkdirSync(other);
    symlinkSync(join(bin, 'pg_basebackup'), join(other, 'pg_basebackup'));
    const source = new PostgresServer({ url: server().url, label: 'source', application: 'switchback:test' });
    const store = storeOf({ ...world.order, bin: other }, source);
    expect(await store.findings()).toMatchObject([{ id: 'snapshot/server', severity: 'warns' }]);
    writeFileSync(join(other, 'pg_ctl'), '#!/bin/sh\necho "pg_ctl (PostgreSQL) 18.4"');
    chmodSync(join(other, 'pg_ctl'), 0o755);
    expect(await store.findings()).toMatchObject([{ fact: expect.stringMatching(/of version 18/) }]);
    await source.close();
    expect(await failureOf(store.restore(id, into, waiting().options))).toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/is of version 18, and snapshot .* is of a server 13/),
    });
    expect(await world.exists(into)).toBe(false);
  });

  it.each([
    ['snapshot:dumped', 'create'],
    ['restore:begun', 'restore'],
    ['restore:filled', 'restore'],
    ['restore:named', 'restore'],
  ] as const)('survives that we are killed at %s', async (failpoint, act) => {
    const id = act === 'create' ? freshId() : await create();
    const program = new URL('../support/snapshot-program.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [program, JSON.stringify({ ...world.order, act, id, into })], {
      env: { ...process.env, SWITCHBACK_FAILPOINT: `${failpoint}:kill` },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
    await world.open().create(specOf(id, 'pg_basebackup'), waiting().options);
    expect(await world.open().list()).toMatchObject([{ id, state: 'available' }]);
    const place = await restore(id);
    expect(await world.contentOf?.(place.url)).toBe(await world.contentOf?.(null));
    expect(readdirSync(join(world.order.to, '.spool'))).toEqual([]);
    await place.remove(waiting().options);
    expect(await world.exists(into)).toBe(false);
  });
});
