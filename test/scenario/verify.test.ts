import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterEach, expect, test } from 'vitest';
import type { KeyText } from '../../src/databases/digests.ts';
import { postgresDigests } from '../../src/databases/postgres/digests.ts';
import { displayName } from '../../src/domain/table.ts';
import type { Lane } from '../../src/engines/engine.ts';
import { streamEngine } from '../../src/engines/stream/engine.ts';
import { repairRows } from '../../src/engines/stream/repair.ts';
import { type VerifyResult, verifyKeys, verifyTables } from '../../src/stages/verify.ts';
import { LaneWorld, quiet } from '../support/lanes.ts';
import { runSql, useServerPair } from '../support/servers.ts';

const pair = useServerPair();
const worlds: LaneWorld[] = [];
const loads: Load[] = [];

/** The driver warns once in a process, when a session is given a statement while it carries out another. */
const warnings: string[] = [];
process.on('warning', ({ name, message }) => void warnings.push(`${name}: ${message}`));

afterEach(async () => {
  for (const load of loads.splice(0)) await load.stop();
  for (const world of worlds.splice(0)) await world.close();
});

const SCHEMA = `
  CREATE TABLE item (id int PRIMARY KEY, v text, n numeric); CREATE TABLE hot (id int PRIMARY KEY, n int);
  CREATE TABLE pairs (a text COLLATE "C", b int, v text, PRIMARY KEY (a, b));
  CREATE TABLE keyless (a int, v text); ALTER TABLE keyless REPLICA IDENTITY FULL`;

const ROWS = `
  INSERT INTO item SELECT i, 'v' || i, i FROM generate_series(1, 20000) i; INSERT INTO hot SELECT i, 0 FROM generate_series(1, 5) i;
  INSERT INTO pairs SELECT md5(i::text), i, 'v' FROM generate_series(1, 5000) i; INSERT INTO keyless SELECT i, 'v' FROM generate_series(1, 50) i`;

/** Rows up to 1000 of `item` stay as they are, so that a test can plant differences there. */
const WRITES = [
  'UPDATE hot SET n = n + 1 WHERE id = 1',
  'UPDATE hot SET n = n + 1; UPDATE item SET n = n + 1 WHERE id = 1001 + floor(random() * 19000)::int',
  `WITH i AS (SELECT 20000 + floor(random() * 1000000)::int AS id) INSERT INTO item SELECT id, 'new', 1 FROM i ON CONFLICT DO NOTHING`,
  'DELETE FROM item WHERE id > 20000 AND id IN (SELECT id FROM item WHERE id > 20000 LIMIT 1)',
  `UPDATE pairs SET v = v || 'x' WHERE b = 1 + floor(random() * 5000)::int`,
  'UPDATE pairs SET b = b + 100000 WHERE b = 1 + floor(random() * 5000)::int',
];

/** Writers that never pause. */
class Load {
  writes = 0;
  readonly #url: string;
  readonly #ended: Promise<unknown>;
  #stopping = false;

  constructor(url: string, writers: number) {
    this.#url = url;
    this.#ended = Promise.all(Array.from({ length: writers }, () => this.#write()));
    loads.push(this);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#ended;
  }

  async #write(): Promise<void> {
    const client = new pg.Client({ connectionString: this.#url });
    await client.connect();
    while (!this.#stopping) {
      await client.query(WRITES[this.writes++ % WRITES.length] ?? '');
    }
    await client.end();
  }
}

/** A world that was copied under load and follows. */
const begin = async (): Promise<{ readonly world: LaneWorld; readonly lane: Lane; readonly load: Load }> => {
  const world = await LaneWorld.create(
    { from: pair().source, to: pair().target },
    (both) => streamEngine(both),
    SCHEMA,
  );
  worlds.push(world);
  await runSql(world.fromUrl, ROWS);
  const load = new Load(world.fromUrl, 3);
  const { lane } = await world.begin();
  await world.drain(lane);
  return { world, lane, load };
};

const comparison = (world: LaneWorld, lane: Lane) => ({
  from: postgresDigests(world.from),
  to: postgresDigests(world.to),
  appliedPast: () => world.drain(lane),
  signal: new AbortController().signal,
});

const verify = async (world: LaneWorld, lane: Lane): Promise<VerifyResult> =>
  await verifyTables({ tables: (await world.spec()).tables, ...comparison(world, lane) });

const found = (result: VerifyResult): Record<string, readonly KeyText[]> =>
  Object.fromEntries(
    result.tables.flatMap((t) => {
      const keys = [...t.divergent, ...t.unsettled].sort((a, b) => Number(a[0]) - Number(b[0]));
      return keys.length === 0 ? [] : [[t.table, keys]];
    }),
  );

/** Past the lane, as a stray superuser would. */
const plant = async (world: LaneWorld, sql: string): Promise<void> => {
  await runSql(world.toUrl, `SET session_replication_role = replica; ${sql}`);
};

/** Ranges that differ are looked at again when the lane has passed the head, several at once. */
test('several that wait for the lane at once do not get into each other’s way', async () => {
  const { world, lane, load } = await begin();
  await load.stop();
  await Promise.all(Array.from({ length: 8 }, () => world.drain(lane)));
  expect(warnings).toEqual([]);
});

/**
 * The copy, the catching up and the verification all run while three writers change hot and cold rows as fast as they can.
 * What is planted on the target has to be found, exactly, and nothing that is only under way; and repaired, it has to be
 * equal again although the lane then brings changes which the repaired rows hold already.
 */
test('under load: clean when equal, exact when not, clean again after a repair', async () => {
  const { world, lane, load } = await begin();
  const before = load.writes;
  const clean = await verify(world, lane);
  expect(found(clean)).toEqual({});
  expect(clean.clean).toBe(true);
  expect(load.writes).toBeGreaterThan(before);

  await plant(
    world,
    `UPDATE item SET v = 'V17' WHERE id = 17; DELETE FROM item WHERE id = 500; INSERT INTO item VALUES (-1, 'stray', 0)`,
  );
  const dirty = await verify(world, lane);
  expect(dirty.clean).toBe(false);
  expect(found(dirty)).toEqual({ 'public.item': [['-1'], ['17'], ['500']] });

  const spec = await world.spec();
  const item = spec.tables.find((t) => t.name === 'item');
  if (item === undefined) throw new Error('no table item');
  const proof = { ...comparison(world, lane), table: item, keys: [['16'], ['17'], ['18'], ['500']], isStatic: false };
  expect((await verifyKeys(proof)).divergent).toEqual([['17'], ['500']]);

  await world.pause();
  // Rows that change all the time are repaired too: the lane is behind what is read now.
  const keys = [['17'], ['500'], ['-1'], ...Array.from({ length: 1200 }, (_, i) => [String(1001 + i)])];
  const hot = spec.tables.find((t) => t.name === 'hot');
  if (hot === undefined) throw new Error('no table hot');
  await delay(200);
  const context = { spec, from: world.from, to: world.to };
  const requests = [
    { table: item, keys },
    { table: hot, keys: [['1'], ['2']] },
  ];
  expect(await repairRows(context, requests, quiet())).toBe(1205);
  world.follow(lane);
  await delay(200);
  await world.drain(lane);
  const after = await verify(world, lane);
  expect(found(after)).toEqual({});
  await load.stop();
  await world.drain(lane);
  const { from, to } = await world.contents();
  expect(to).toEqual(from);
});

test('standing still, the digest of a certificate is the same on both sides', async () => {
  const { world, lane, load } = await begin();
  await load.stop();
  await world.drain(lane);
  const result = await verify(world, lane);
  expect(result.clean).toBe(true);
  for (const digests of [postgresDigests(world.from), postgresDigests(world.to)]) {
    for (const table of (await world.spec()).tables) {
      const whole = await digests.ofRange(table, { after: null, upTo: null });
      expect(result.tables.find((t) => t.table === displayName(table))).toMatchObject({
        rows: whole.rows,
        digest: whole.sum,
      });
    }
  }
  await plant(world, 'DELETE FROM keyless WHERE a = 3');
  expect(found(await verify(world, lane))).toEqual({ 'public.keyless': [[]] });
});
