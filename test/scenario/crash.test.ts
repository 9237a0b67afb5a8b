import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sleep } from '../../src/platform/clock.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import type { TestWorker } from '../support/run.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { useServerPair } from '../support/servers.ts';
import { type RunningWriter, startWriter } from '../support/writer.ts';

/**
 * The worker is killed as `kill -9` does it. Whatever it was doing, another one goes on from what is durable in the two
 * databases: during the copy and while following at random moments. Every point of a switch is in `crash-points.test.ts`.
 */

const KILLS = 10;
/** Many processes start here, one after the other. */
const SLOW_MS = 400_000;
const seed = testSeed();
const random = randomFrom(seed);
const servers = useServerPair();

/**
 * Small tables, of which up to twenty are copied in one transaction, and one of some 60 MB, which is cut by its key: enough
 * transactions for every kill to have some before it. 160,000 rows in all.
 */
const TOGETHER = 20;
const ROWS_EACH = 250;
const TABLES = Array.from({ length: 240 }, (_, i) => `small_${i}`);
const SCHEMA = [
  'CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL, filler text NOT NULL);',
  'CREATE INDEX big_n ON big (n);',
  ...TABLES.map((table) => `CREATE TABLE ${table} (id int PRIMARY KEY, n int NOT NULL UNIQUE);`),
].join('\n');
const ROWS = [
  `INSERT INTO big SELECT i, i, repeat(md5(i::text), 18) FROM generate_series(1, 100000) i;`,
  ...TABLES.map((table) => `INSERT INTO ${table} SELECT i, i FROM generate_series(1, ${ROWS_EACH}) i;`),
].join('\n');

/** An insert, an update, a change of a key and a delete, all over the tables. Keys above the seeded ones are the writer's. */
const writes = (i: number): string => {
  const table = i % 3 === 0 ? 'big' : (TABLES[i % TABLES.length] ?? 'big');
  const more = table === 'big' ? `, 'written'` : '';
  const old = 1 + Math.floor(random() * ROWS_EACH);
  return [
    `INSERT INTO ${table} VALUES (${1_000_000 + i}, ${1_000_000 + i}${more}) ON CONFLICT DO NOTHING`,
    `UPDATE ${table} SET n = -n WHERE id = ${old}`,
    `UPDATE ${table} SET id = -id WHERE id = ${old + 1}`,
    `DELETE FROM ${table} WHERE id = ${old + 2}`,
  ].join('; ');
};

/** Looks at what the worker has made durable, without a process or a session of its own for each look. */
class Looker {
  readonly #source: pg.Client;
  readonly #target: pg.Client;

  static async open(scenario: Scenario): Promise<Looker> {
    const [source, target] = [scenario.source, scenario.target].map((url) => new pg.Client({ connectionString: url }));
    const looker = new Looker(source as pg.Client, target as pg.Client);
    await Promise.all([source?.connect(), target?.connect()]);
    return looker;
  }

  private constructor(source: pg.Client, target: pg.Client) {
    this.#source = source;
    this.#target = target;
  }

  /** The chunk journal in order, each entry with the transaction that wrote it: one that was written again would differ. */
  async journal(): Promise<readonly string[]> {
    const { rows } = await this.#target.query(`SELECT to_regclass('switchback.chunk') IS NOT NULL AS there`);
    if (rows[0]?.there !== true) return [];
    const journal = `SELECT k.xmin || ' ' || k::text AS entry FROM switchback.chunk k ORDER BY k.id`;
    return (await this.#target.query<{ entry: string }>(journal)).rows.map(({ entry }) => entry);
  }

  async position(): Promise<string> {
    const { rows } = await this.#target.query<{ position: string }>('SELECT position FROM switchback.progress');
    return String(rows[0]?.position);
  }

  async state(): Promise<string> {
    const { rows } = await this.#source.query<{ state: string }>(
      `SELECT doc::json ->> 'name' AS state FROM switchback.phase`,
    );
    return String(rows[0]?.state);
  }

  async end(): Promise<void> {
    await Promise.all([this.#source.end(), this.#target.end()]);
  }
}

/** Resolves when the worker process has ended by itself. */
const gone = async (worker: TestWorker): Promise<void> => {
  await worker.process.ended().catch(() => undefined);
};

const until = async (condition: () => Promise<boolean>): Promise<void> => {
  await expect.poll(condition, { timeout: 60_000, interval: 5 }).toBe(true);
};

/** Kills at a random moment after a few more chunks; a finished one must be what it was, whoever comes next. */
const killInCopy = async (scenario: Scenario, looker: Looker): Promise<void> => {
  const states: string[] = [];
  for (let i = 0; i < KILLS; i++) {
    const before = await looker.journal();
    const worker = scenario.worker();
    const enough = before.length + 1 + Math.floor(random() * 2);
    await until(async () => (await looker.journal()).length >= enough);
    await sleep(random() * 30);
    await worker.process.kill();
    expect((await looker.journal()).slice(0, before.length)).toEqual(before);
    states.push(await looker.state());
  }
  expect(states).toEqual(states.map(() => 'copying'));
};

/** Before its COMMIT a chunk is not there; right after it, it is, although its worker never knew. */
const killAroundAChunk = async (scenario: Scenario, looker: Looker): Promise<void> => {
  for (const [point, chunks] of [
    ['copy:chunk', 0],
    ['copy:chunk-done', 1],
  ] as const) {
    const before = await looker.journal();
    await gone(scenario.worker(undefined, { SWITCHBACK_FAILPOINT: `${point}:kill` }));
    const after = await looker.journal();
    expect(after.slice(0, before.length)).toEqual(before);
    // Two sessions copy at once, and the other one's transaction may have committed as well.
    expect(after.length - before.length).toBeGreaterThanOrEqual(chunks);
    expect(after.length - before.length).toBeLessThanOrEqual((chunks + 1) * TOGETHER);
  }
};

const killWhileFollowing = async (scenario: Scenario, looker: Looker): Promise<void> => {
  for (let i = 0; i < KILLS; i++) {
    const worker = scenario.worker();
    const before = await looker.position();
    await until(async () => (await looker.position()) !== before);
    await sleep(random() * 300);
    await worker.process.kill();
  }
  for (const point of ['apply:commit', 'apply:committed']) {
    await gone(scenario.worker(undefined, { SWITCHBACK_FAILPOINT: `${point}:kill` }));
  }
};

describe(`a worker that is killed (SWITCHBACK_TEST_SEED=${seed})`, () => {
  let scenario: Scenario;
  let looker: Looker;
  let writer: RunningWriter;
  beforeAll(async () => {
    scenario = await makeScenario(servers(), { name: 'crash', schema: SCHEMA, rows: ROWS });
    looker = await Looker.open(scenario);
    writer = startWriter(scenario.source, writes, { everyMs: 10 });
  });
  afterAll(async () => {
    await writer?.stop();
    await looker?.end();
    await scenario?.close();
  });

  it(`goes on with the copy, ${KILLS} times`, { timeout: SLOW_MS }, async () => {
    await killInCopy(scenario, looker);
    await killAroundAChunk(scenario, looker);
    const worker = scenario.worker();
    await scenario.untilState(worker, 'following', 'all');
    await worker.process.kill();
    const [row] = await scenario.onTarget(`
      SELECT count(*)::int AS chunks, count(DISTINCT (tbl, after))::int AS starts, count(DISTINCT tbl)::int AS tables
        FROM switchback.chunk`);
    expect(row).toEqual({ chunks: row?.starts, starts: row?.chunks, tables: TABLES.length + 1 });
  });

  it(`goes on with following, ${KILLS} times, and what it brought verifies`, { timeout: SLOW_MS }, async () => {
    await killWhileFollowing(scenario, looker);
    await scenario.untilState(scenario.worker(), 'ready', 'all');
    await writer.stop();
    expect(writer.acknowledged).toBeGreaterThan(200);
    await scenario.expectEqual();
  });
});
