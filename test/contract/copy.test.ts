import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { readInventory } from '../../src/databases/postgres/inventory.ts';
import type { Position } from '../../src/domain/position.ts';
import { displayName, type Table } from '../../src/domain/table.ts';
import type { Chunk, LaneObserver, LaneStore } from '../../src/engines/engine.ts';
import type { LaneContext } from '../../src/engines/stream/context.ts';
import { copyTables } from '../../src/engines/stream/copy.ts';
import { ByteRate } from '../../src/engines/stream/pace.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { installSidecar } from '../../src/sidecar/install.ts';
import { forgetLane, laneStore } from '../../src/sidecar/lanes.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

const LANE = 'all/forward';
const pair = useServerPair();
let databases = 0;
const opened: PostgresServer[] = [];

afterEach(async () => {
  await Promise.all(opened.splice(0).map((server) => server.close()));
});

interface Fixture {
  readonly sourceUrl: string;
  readonly targetUrl: string;
  readonly from: PostgresServer;
  readonly to: PostgresServer;
  readonly store: LaneStore;
  context(overrides?: Partial<LaneContext>): Promise<LaneContext>;
}

/** Two databases with the same schema; rows are put into the source only. */
const fixture = async (schema: string, rows: string): Promise<Fixture> => {
  databases += 1;
  const name = `copy_${databases}`;
  const sourceUrl = await createDatabase(pair().source, name);
  const targetUrl = await createDatabase(pair().target, name);
  await runSql(sourceUrl, `${schema};${rows}`);
  await runSql(targetUrl, schema);
  const from = new PostgresServer({ url: sourceUrl, label: 'source', application: 'switchback' });
  const to = new PostgresServer({ url: targetUrl, label: 'target', application: 'switchback' });
  opened.push(from, to);
  await to.transaction(installSidecar);
  const store = laneStore(LANE, () => 1n);
  await to.transaction((sql) => store.begin(sql, { position: '0/1' as Position, strictFrom: null, marker: 0n }));
  const context = async (overrides: Partial<LaneContext> = {}): Promise<LaneContext> => {
    const { tables } = await readInventory(from);
    const spec = { lane: LANE, direction: 'forward', tables, roots: [], publication: 'p', slot: 's', store } as const;
    return { spec, from, to, ...overrides };
  };
  return { sourceUrl, targetUrl, from, to, store, context };
};

type Copied = Parameters<LaneObserver['copied']>[0];

const recorder = (): LaneObserver & { readonly seen: Copied[] } => {
  const seen: Copied[] = [];
  return { seen, copied: (progress) => void seen.push(progress), applied: () => undefined, lag: () => undefined };
};

const noSignal = (): AbortSignal => new AbortController().signal;

/** Every row of every table as one text per table, by the server; equal iff the rows are. */
const contents = async (server: PostgresServer, tables: readonly Table[]): Promise<Record<string, string | null>> => {
  const result: Record<string, string | null> = {};
  for (const table of tables) {
    const name = `"${table.schema.replaceAll('"', '""')}"."${table.name.replaceAll('"', '""')}"`;
    const { rows } = await server.query(
      `SELECT count(*) || ':' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE "C")), '') AS all FROM ONLY ${name} t`,
    );
    result[displayName(table)] = rows[0]?.all ?? null;
  }
  return result;
};

/** The chunks of one table must follow one another without a gap or an overlap. */
const expectChain = (chunks: readonly Chunk[], table: string): void => {
  const starts = new Map(chunks.filter((c) => c.table === table).map((c) => [JSON.stringify(c.after), c]));
  let reached = 'null';
  for (let left = starts.size; left > 0; left--) {
    const chunk = starts.get(reached);
    expect(chunk, `a chunk after ${reached}`).toBeDefined();
    reached = JSON.stringify(chunk?.upTo);
  }
  expect(reached).toBe('null');
};

const MANY = `
  CREATE EXTENSION citext; CREATE EXTENSION hstore;
  CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE DOMAIN zip AS text CHECK (value ~ '^[0-9]+$');
  CREATE TYPE pair AS (a int, b text);
  CREATE SCHEMA "we.ird ""s";
  CREATE TABLE empty (id int PRIMARY KEY);
  CREATE TABLE no_columns ();
  CREATE TABLE wide (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m mood, z zip, p pair, h hstore, c citext,
    a int[], r int4range, j jsonb, b bytea, n numeric, f float8, ts timestamptz, twice int GENERATED ALWAYS AS (1 + 1) STORED);
  CREATE TABLE "we.ird ""s"."ta'b\\le $1" ("co""l' 1" text COLLATE "C", "select" uuid, v text, PRIMARY KEY ("co""l' 1", "select"));
  CREATE TABLE by_citext (k citext PRIMARY KEY, v text);
  CREATE TABLE by_desc (k int NOT NULL, v text); CREATE UNIQUE INDEX by_desc_k ON by_desc (k DESC);
  ALTER TABLE by_desc REPLICA IDENTITY USING INDEX by_desc_k;
  CREATE TABLE by_enum (k mood, n "char", c char(5), b bit(3), PRIMARY KEY (k, n, c, b));
  CREATE TABLE padded (id int PRIMARY KEY, "c 1" char(84), d char(20) NOT NULL, e char(3));
  CREATE TABLE parted (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
  CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (500);
  CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (500) TO (1000)`;

const MANY_ROWS = `
  INSERT INTO no_columns SELECT FROM generate_series(1, 3);
  INSERT INTO wide (m, z, p, h, c, a, r, j, b, n, f, ts)
    SELECT 'ok', i::text, (i, E'x\\ty\\n\\\\"')::pair, hstore('k', i::text), 'Ab' || i, ARRAY[i, NULL], int4range(i, i + 2),
           '{"a": 1.10, "b": null}', decode('00ff5c', 'hex'), 'NaN', '-0', '294276-01-01 00:00:00.000001+00'
    FROM generate_series(1, 500) i;
  INSERT INTO wide (b) VALUES (decode(repeat('5c00', 600000), 'hex'));
  INSERT INTO "we.ird ""s"."ta'b\\le $1"
    SELECT chr(65 + i % 60) || E'\\\\''' || i, md5(i::text)::uuid, repeat('ä', i % 20) FROM generate_series(1, 3000) i;
  INSERT INTO padded SELECT i, CASE i % 5 WHEN 0 THEN '' WHEN 1 THEN NULL WHEN 2 THEN repeat('ä', i % 85) WHEN 3 THEN '  é 𝄞' ELSE 'x y  z' END,
    CASE WHEN i > 2000 THEN repeat('é', 20) ELSE E'\\t' END, 'b' FROM generate_series(1, 3000) i;
  INSERT INTO by_citext SELECT CASE WHEN i % 2 = 0 THEN 'KEY' ELSE 'key' END || i, i FROM generate_series(1, 3000) i;
  INSERT INTO by_desc SELECT i, i FROM generate_series(1, 3000) i;
  INSERT INTO by_enum SELECT m, chr(65 + i)::"char", 'a' || i, b'101' FROM unnest(enum_range(NULL::mood)) m, generate_series(0, 20) i;
  INSERT INTO parted SELECT i, i FROM generate_series(0, 999) i`;

describe('copy', () => {
  test('tables of every shape arrive byte for byte, cut into many chunks', async () => {
    const f = await fixture(MANY, MANY_ROWS);
    const real = await f.context();
    // Statistics that make every table large, so that all that can be cut are cut into small chunks.
    const tables = real.spec.tables.map((t) => ({ ...t, bytes: 1e12, estimatedRows: 1e12 / (2 ** 20 / 8) }));
    const context = { ...real, spec: { ...real.spec, tables } };
    const observer = recorder();
    const keyless = tables.filter((t) => t.key === null).map((t) => t.name);
    expect(keyless).toEqual(['no_columns']);
    const carried = tables.filter((t) => t.key !== null);
    await copyTables({ ...context, spec: { ...context.spec, tables: carried } }, { signal: noSignal(), observer });

    expect(await contents(f.to, carried)).toEqual(await contents(f.from, carried));
    const chunks = await f.store.chunks(f.to);
    for (const table of carried) expectChain(chunks, displayName(table));
    const counted = Map.groupBy(chunks, (chunk) => chunk.table);
    expect(counted.get('public.by_citext')?.length).toBeGreaterThan(2);
    expect(counted.get(`we.ird "s.ta'b\\le $1`)?.length).toBeGreaterThan(2);
    expect(counted.get('public.by_desc')?.length).toBeGreaterThan(2);
    const last = new Map(observer.seen.map((s) => [s.table, s]));
    expect(last.get('public.wide')).toMatchObject({ rows: 501, finished: true });
    // Blanks that only fill a value up to its length stay behind.
    expect(last.get('public.padded')).toMatchObject({ rows: 3000, finished: true });
    expect(last.get('public.padded')?.bytes).toBeLessThan(3000 * 84);
    // The beginning and the end of the binary format, which tables of such types are carried in.
    expect(last.get('public.empty')).toMatchObject({ rows: 0, bytes: 21, finished: true });
    const progress = await f.store.progress(f.to);
    expect(progress?.position).toBe('0/1');
    expect(progress?.strictFrom).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
  });

  test('values of character(n) keep their padding where the other side would not put it back', async () => {
    const f = await fixture('CREATE TABLE p (id int PRIMARY KEY, a char(40), b char(40), c char(40), d char(40))', '');
    await runSql(f.sourceUrl, "INSERT INTO p SELECT i, 'a', 'b', 'c', repeat('é', 15) FROM generate_series(1, 50) i");
    // As an operator may have it on the other side. There the blanks of `b` are a part of the value, and `c` is cut.
    await runSql(f.targetUrl, 'ALTER TABLE p ALTER b TYPE bpchar, ALTER c TYPE char(30)');
    const real = await f.context();
    // After the catalogue was looked at: cut by the length that it had, half of its characters would stay behind.
    await runSql(f.sourceUrl, 'ALTER TABLE p ALTER d TYPE char(20)');
    const tables = real.spec.tables.map((t) => ({ ...t, bytes: 1e12 }));
    await copyTables({ ...real, spec: { ...real.spec, tables } }, { signal: noSignal(), observer: recorder() });
    const lengths = await runSql(
      f.targetUrl,
      'SELECT DISTINCT octet_length(a) a, octet_length(b) b, octet_length(c) c FROM p',
    );
    expect(lengths).toEqual([{ a: 40, b: 40, c: 30 }]);
    expect(await runSql(f.targetUrl, 'SELECT DISTINCT length(d) n FROM p')).toEqual([{ n: 15 }]);
  });

  /**
   * The worker is killed with -9: right before a chunk's commit, right after it, and at ten random moments. Each time the
   * next run must go on with what is missing. There is no key on the target while it copies, as in real life, so a chunk
   * that were copied twice would show as rows too many.
   */
  test('killed again and again, it copies no chunk twice and misses none', async () => {
    const f = await fixture(
      'CREATE TABLE a (id int, v text); CREATE TABLE b (k text COLLATE "C", n int, v text)',
      `ALTER TABLE a ADD PRIMARY KEY (id); ALTER TABLE b ADD PRIMARY KEY (k, n);
       INSERT INTO a SELECT i, repeat('x', 200) FROM generate_series(1, 30000) i;
       INSERT INTO b SELECT md5((i % 500)::text), i, repeat('y', 200) FROM generate_series(1, 30000) i`,
    );
    await runSql(f.targetUrl, 'ALTER TABLE switchback.chunk ADD made timestamptz DEFAULT clock_timestamp()');
    const ends = [
      await runCopy(f, { failpoint: 'copy:chunk:kill' }),
      await runCopy(f, { failpoint: 'copy:chunk-done:kill' }),
    ];
    for (let i = 0; i < 10; i++) ends.push(await runCopy(f, { killAfterMs: 250 + Math.random() * 300 }));
    expect(ends.filter((end) => end === 'killed').length).toBeGreaterThan(2);
    expect(await runCopy(f, {})).toBe('done');
    const { tables } = (await f.context()).spec;
    expect(await contents(f.to, tables)).toEqual(await contents(f.from, tables));
    for (const table of tables) expectChain(await f.store.chunks(f.to), displayName(table));
    // Chunks that an earlier process had finished are those of the journal still: none has been made again.
    const twice = await runSql(
      f.targetUrl,
      'SELECT tbl, after FROM switchback.chunk GROUP BY 1, 2 HAVING count(*) > 1',
    );
    expect(twice).toEqual([]);
  });

  test('a table without a key is read under the snapshot, the others as they are now', async () => {
    const f = await fixture('CREATE TABLE keyed (id int PRIMARY KEY); CREATE TABLE keyless (id int)', '');
    await runSql(f.sourceUrl, 'INSERT INTO keyed VALUES (1); INSERT INTO keyless VALUES (1)');
    const holder = await f.from.connect('snapshot');
    await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    const { rows } = await holder.query<{ name: string }>('SELECT pg_export_snapshot() AS name');
    await runSql(f.sourceUrl, 'INSERT INTO keyed VALUES (2); INSERT INTO keyless VALUES (2)');
    let released = 0;
    const release = async () => {
      released += 1;
    };
    await expect(copyTables(await f.context(), { signal: noSignal(), observer: recorder() })).rejects.toMatchObject({
      kind: 'internal',
      message: expect.stringContaining('public.keyless'),
    });
    const context = await f.context({ snapshot: { name: rows[0]?.name ?? '', release } });
    await copyTables(context, { signal: noSignal(), observer: recorder() });
    await holder.end();
    expect(await runSql(f.targetUrl, 'SELECT id FROM keyless')).toEqual([{ id: 1 }]);
    expect(await runSql(f.targetUrl, 'SELECT id FROM keyed ORDER BY id')).toEqual([{ id: 1 }, { id: 2 }]);
    expect(released).toBeGreaterThan(0);
  });

  /**
   * The statistics are of an earlier time: rows have come behind the last bound since, and others have gone. The keys' order
   * is the table's own, which is not that of their texts.
   */
  test('chunks end at bounds of the statistics, and behind the last one at rows', async () => {
    const f = await fixture(
      `CREATE EXTENSION citext; CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (k citext PRIMARY KEY);
       CREATE TABLE c (k text COLLATE "C" PRIMARY KEY); CREATE TABLE d (k date, n int, PRIMARY KEY (k, n))`,
      `INSERT INTO a SELECT i FROM generate_series(-20000, 39999) i; INSERT INTO b SELECT CASE WHEN i % 2 = 0 THEN 'K' ELSE 'k' END || i FROM a t (i);
       INSERT INTO c SELECT chr(65 + i % 50) || E'\\\\''' || i FROM a t (i); INSERT INTO d SELECT '2024-01-01'::date + i % 300, i FROM a t (i)`,
    );
    await runSql(
      f.sourceUrl,
      `ANALYZE a; ANALYZE b; ANALYZE c; ANALYZE d; DELETE FROM a WHERE id BETWEEN 500 AND 9000;
       INSERT INTO a SELECT i FROM generate_series(40000, 60000) i`,
    );
    const real = await f.context();
    // Large enough to be cut, with the rows that the statistics know.
    const tables = real.spec.tables.map((t) => ({ ...t, bytes: 1e7 }));
    await copyTables({ ...real, spec: { ...real.spec, tables } }, { signal: noSignal(), observer: recorder() });
    expect(await contents(f.to, tables)).toEqual(await contents(f.from, tables));
    const chunks = await f.store.chunks(f.to);
    for (const table of tables) expectChain(chunks, displayName(table));
    for (const name of ['a', 'b', 'c']) {
      const [row] = await runSql(
        f.sourceUrl,
        `SELECT histogram_bounds::text::text[] AS bounds FROM pg_stats WHERE tablename = '${name}'`,
      );
      const ends = chunks.filter((c) => c.table === `public.${name}` && c.upTo !== null).map((c) => c.upTo?.[0]);
      const atBounds = ends.filter((end) => ((row?.bounds ?? []) as string[]).includes(end ?? ''));
      expect(atBounds.length, name).toBeGreaterThan(2);
    }
    expect(chunks.filter((c) => c.table === 'public.d').length).toBeGreaterThan(2);
  });

  /**
   * Keys that are equal can be different texts, and a copy that goes on may find the end of what is left among the bounds, or
   * on a row, in another spelling. Cut there, it left a piece with no key in it, whose place among the others is anybody's.
   */
  test('nothing is cut at the end of a gap that is spelt otherwise', async () => {
    const f = await fixture(
      'CREATE TABLE a (id numeric PRIMARY KEY); CREATE TABLE b (k text, id numeric, PRIMARY KEY (k, id))',
      `ALTER TABLE a ALTER id SET STATISTICS 1000; INSERT INTO a SELECT generate_series(0, 60000);
       INSERT INTO b SELECT 'x', id FROM a; ANALYZE a; ANALYZE b`,
    );
    // What an earlier copy did begins where this one's first piece of 5,000 rows ends: at a bound (60 apart), and at a row.
    await runSql(
      f.targetUrl,
      `INSERT INTO a SELECT generate_series(4921, 50000); INSERT INTO b SELECT 'x', generate_series(5000, 50000)`,
    );
    const done = [
      { table: 'public.a', after: ['4920.0'], upTo: ['50000'], rows: 45_080, bytes: 1 },
      { table: 'public.b', after: ['x', '4999.0'], upTo: ['x', '50000'], rows: 45_001, bytes: 1 },
    ];
    await f.to.transaction(async (sql) => {
      for (const chunk of done) await f.store.recordChunk(sql, chunk);
    });
    const real = await f.context();
    const tables = real.spec.tables.map((t) => ({ ...t, bytes: 1e7 }));
    await copyTables({ ...real, spec: { ...real.spec, tables } }, { signal: noSignal(), observer: recorder() });
    expect(await contents(f.to, tables)).toEqual(await contents(f.from, tables));
    const chunks = await f.store.chunks(f.to);
    for (const table of tables) expectChain(chunks, displayName(table));
    expect(chunks.filter(({ rows, upTo }) => rows === 0 && upTo !== null)).toEqual([]);
  });

  test('small tables share transactions, large ones and those without a key have their own', async () => {
    const names = Array.from({ length: 45 }, (_, i) => `t_${i}`);
    const each = (sql: (name: string) => string) => names.map(sql).join(';');
    const f = await fixture(
      `${each((name) => `CREATE TABLE ${name} (id int PRIMARY KEY)`)}; CREATE TABLE large (id int PRIMARY KEY)`,
      `${each((name) => `INSERT INTO ${name} SELECT generate_series(1, 5)`)}; INSERT INTO large VALUES (1)`,
    );
    const real = await f.context();
    const tables = real.spec.tables.map((t) => (t.name === 'large' ? { ...t, bytes: 1e9 } : t));
    const observer = recorder();
    await copyTables({ ...real, spec: { ...real.spec, tables } }, { signal: noSignal(), observer });
    expect(await contents(f.to, tables)).toEqual(await contents(f.from, tables));
    expect(observer.seen.filter((s) => s.finished && s.rows === 5).length).toBe(45);
    const [row] = await runSql(
      f.targetUrl,
      'SELECT count(*)::int AS chunks, count(DISTINCT xmin::text)::int AS transactions FROM switchback.chunk',
    );
    expect(row).toEqual({ chunks: 46, transactions: 4 });
  });

  test('it keeps the rate that it is given, by all connections together', async () => {
    const f = await fixture(
      'CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text)',
      '',
    );
    await runSql(
      f.sourceUrl,
      `INSERT INTO a SELECT i, repeat('x', 1000) FROM generate_series(1, 1000) i; INSERT INTO b SELECT * FROM a`,
    );
    const bytesPerSecond = 4_000_000;
    const granted: { readonly bytes: number; readonly nowMs: number }[] = [];
    class Recorded extends ByteRate {
      override take(bytes: number, nowMs: number): number {
        granted.push({ bytes, nowMs });
        return super.take(bytes, nowMs);
      }
    }
    const context = await f.context({ copyRate: new Recorded(bytesPerSecond) });
    await copyTables(context, { signal: noSignal(), observer: recorder() });
    // By our own readings of the clock: a slow machine only makes it slower. What may come at once is a read of a socket
    // per connection, beside the credit of a pause.
    const atOnce = bytesPerSecond * 0.2 + 4 * 64 * 1024;
    let sum = 0;
    for (const { bytes, nowMs } of granted) {
      expect(sum).toBeLessThan((bytesPerSecond * (nowMs - (granted[0]?.nowMs ?? 0))) / 1_000 + atOnce);
      sum += bytes;
    }
    expect(sum).toBeGreaterThan(2_000_000);
    expect(await runSql(f.targetUrl, 'SELECT count(*)::int AS n FROM b')).toEqual([{ n: 1_000 }]);
  });

  test('it waits for transactions that are older than its start, and names them', async () => {
    const f = await fixture('CREATE TABLE a (id int PRIMARY KEY)', '');
    const writer = await f.from.connect('writer');
    await writer.query('BEGIN; INSERT INTO public.a VALUES (1)');
    const named: string[] = [];
    const observer = {
      ...recorder(),
      blocked: (blockers: readonly { query: string }[]) => void named.push(...blockers.map((b) => b.query)),
    };
    const copying = copyTables(await f.context(), { signal: noSignal(), observer });
    await expect.poll(() => named.length, { timeout: 20_000 }).toBeGreaterThan(0);
    await writer.query('COMMIT');
    await writer.end();
    await copying;
    expect(named[0]).toContain('INSERT INTO public.a');
    expect(await runSql(f.targetUrl, 'SELECT id FROM a')).toEqual([{ id: 1 }]);
  });

  test('an abort in the middle of a chunk rolls it back, and leaves no session', async () => {
    const f = await fixture(
      'CREATE TABLE a (id int PRIMARY KEY, v text)',
      "INSERT INTO a SELECT i, repeat('x', 1000) FROM generate_series(1, 60000) i",
    );
    // A trigger makes the written side stand still in the middle of the COPY.
    await runSql(
      f.targetUrl,
      `CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END';
       CREATE TRIGGER stall BEFORE INSERT ON a FOR EACH ROW WHEN (NEW.id = 20000) EXECUTE FUNCTION stall();
       ALTER TABLE a ENABLE ALWAYS TRIGGER stall`,
    );
    const controller = new AbortController();
    const copying = copyTables(await f.context(), { signal: controller.signal, observer: recorder() }).then(
      () => 'resolved',
      (error: unknown) => String(error),
    );
    const stalled = "SELECT 1 AS one FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'PgSleep'";
    await expect.poll(() => runSql(f.targetUrl, stalled), { timeout: 20_000 }).toEqual([{ one: 1 }]);
    controller.abort(new Error('enough'));
    expect(await copying).toBe('Error: enough');
    const sessions = "SELECT query FROM pg_stat_activity WHERE application_name LIKE 'switchback%:copy'";
    await expect.poll(() => runSql(f.targetUrl, sessions), { timeout: 20_000 }).toEqual([]);
    await expect.poll(() => runSql(f.sourceUrl, sessions), { timeout: 20_000 }).toEqual([]);
    const [row] = await runSql(
      f.targetUrl,
      `SELECT count(*)::int AS there, count(*) FILTER (WHERE id = 20000)::int AS stalled,
              (SELECT sum(rows)::int FROM switchback.chunk) AS told FROM a`,
    );
    // Chunks behind the one that stood still may have been copied by another connection.
    expect(row?.there).toBe(row?.told);
    expect(row?.stalled).toBe(0);
    await runSql(f.targetUrl, 'DROP TRIGGER stall ON a');
    await copyTables(await f.context(), { signal: noSignal(), observer: recorder() });
    expect(await runSql(f.targetUrl, 'SELECT count(*)::int AS n FROM a')).toEqual([{ n: 60_000 }]);
  });

  test('a row that the target refuses halts it with the table and the reason; mended, it goes on', async () => {
    const f = await fixture('CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)', '');
    await runSql(f.sourceUrl, 'INSERT INTO a VALUES (1); INSERT INTO b VALUES (1), (-2)');
    await runSql(f.targetUrl, 'ALTER TABLE b ADD CONSTRAINT positive CHECK (id > 0)');
    await expect(copyTables(await f.context(), { signal: noSignal(), observer: recorder() })).rejects.toMatchObject({
      kind: 'halted',
      findings: [{ id: 'copy/refused', subject: 'public.b', fact: expect.stringContaining('positive') }],
    });
    await runSql(f.targetUrl, 'ALTER TABLE b DROP CONSTRAINT positive');
    await copyTables(await f.context(), { signal: noSignal(), observer: recorder() });
    expect(await runSql(f.targetUrl, 'SELECT id FROM b ORDER BY id')).toEqual([{ id: -2 }, { id: 1 }]);
  });

  test('what was cut by another key is not gone on with', async () => {
    const f = await fixture(
      'CREATE TABLE a (x int, y int, PRIMARY KEY (x, y))',
      'INSERT INTO a SELECT x, y FROM generate_series(1, 3) x, generate_series(1, 3) y',
    );
    const chunk = { table: 'public.a', after: null, upTo: ['2', '1'], rows: 4, bytes: 40 };
    await f.to.transaction((sql) => f.store.recordChunk(sql, chunk));
    for (const other of ['DELETE FROM a WHERE y > 1; ALTER TABLE a ADD PRIMARY KEY (x)', '']) {
      await runSql(f.sourceUrl, `ALTER TABLE a DROP CONSTRAINT a_pkey; ${other}`);
      const copying = copyTables(await f.context(), { signal: noSignal(), observer: recorder() });
      await expect(copying).rejects.toMatchObject({
        kind: 'halted',
        message: 'the key of public.a has changed since a part of it was copied',
      });
    }
    expect(await runSql(f.targetUrl, 'SELECT * FROM a')).toEqual([]);
  });

  /** Phases that are prepared one after the other share a look at the catalogue, which is some seconds old for the last one. */
  test('a column that came after the catalogue was looked at is not left out', async () => {
    const f = await fixture('CREATE TABLE a (id int PRIMARY KEY)', 'INSERT INTO a VALUES (1)');
    const looked = await f.context();
    for (const url of [f.sourceUrl, f.targetUrl]) await runSql(url, 'ALTER TABLE a ADD c int DEFAULT 1');
    await runSql(f.sourceUrl, 'UPDATE a SET c = 7');
    const copy = (context: LaneContext) => copyTables(context, { signal: noSignal(), observer: recorder() });
    await expect(copy(looked)).rejects.toMatchObject({
      kind: 'halted',
      message: 'public.a cannot be copied: its columns have changed in the meantime',
    });
    await copy(await f.context());
    expect(await runSql(f.targetUrl, 'SELECT * FROM a')).toEqual([{ id: 1, c: 7 }]);
  });

  test('rows of others on the target and a newer epoch are refused', async () => {
    const f = await fixture(
      'CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)',
      'INSERT INTO b VALUES (1)',
    );
    await runSql(f.targetUrl, 'INSERT INTO a VALUES (7)');
    const copy = async () => copyTables(await f.context(), { signal: noSignal(), observer: recorder() });
    await expect(copy()).rejects.toMatchObject({ kind: 'refused', message: expect.stringContaining('public.a') });
    await runSql(f.targetUrl, 'TRUNCATE a; UPDATE switchback.progress SET epoch = 2');
    await expect(copy()).rejects.toMatchObject({ kind: 'deposed' });
    expect(await runSql(f.targetUrl, 'SELECT * FROM b')).toEqual([]);
  });

  test('a lane that was given up stores nothing any more', async () => {
    const f = await fixture('CREATE TABLE a (id int PRIMARY KEY)', '');
    const progress = { position: '0/2' as Position, strictFrom: null, marker: 0n };
    await f.to.transaction((sql) => f.store.record(sql, progress));
    await f.to.transaction((sql) => forgetLane(sql, LANE));
    const again = f.to.transaction((sql) => f.store.record(sql, progress));
    await expect(again).rejects.toMatchObject({ kind: 'deposed', message: expect.stringContaining('given up') });
    expect(await f.store.progress(f.to)).toBeNull();
  });

  test('a policy that would hide rows from our role is an error, not a filter', async () => {
    const f = await fixture('CREATE TABLE a (id int PRIMARY KEY)', 'INSERT INTO a VALUES (1), (2)');
    await runSql(
      f.sourceUrl,
      `CREATE ROLE reader LOGIN; GRANT SELECT ON a TO reader; ALTER TABLE a ENABLE ROW LEVEL SECURITY;
       CREATE POLICY one ON a USING (id = 1)`,
    );
    const url = f.sourceUrl.replace('//postgres@', '//reader@');
    const from = new PostgresServer({ url, label: 'source', application: 'switchback' });
    opened.push(from);
    const copying = copyTables(await f.context({ from }), { signal: noSignal(), observer: recorder() });
    await expect(copying).rejects.toMatchObject({
      kind: 'halted',
      message: expect.stringContaining('row-level security'),
    });
    expect(await runSql(f.targetUrl, 'SELECT * FROM a')).toEqual([]);
  });

  test('once it is through, it changes nothing', async () => {
    const f = await fixture('CREATE TABLE a (id int PRIMARY KEY)', 'INSERT INTO a VALUES (1)');
    const copy = async () => copyTables(await f.context(), { signal: noSignal(), observer: recorder() });
    await copy();
    const before = await f.store.progress(f.to);
    await runSql(f.sourceUrl, 'INSERT INTO a VALUES (2)');
    await copy();
    expect(await f.store.progress(f.to)).toEqual(before);
    expect(await runSql(f.targetUrl, 'SELECT id FROM a')).toEqual([{ id: 1 }]);
  });
});

const PROGRAM = fileURLToPath(new URL('../support/copy-program.ts', import.meta.url));

/** Runs the copy in a process of its own. */
const runCopy = async (
  f: Fixture,
  options: { readonly failpoint?: string; readonly killAfterMs?: number },
): Promise<'done' | 'killed'> => {
  const env = { ...process.env, SWITCHBACK_FAILPOINT: options.failpoint ?? '' };
  const child = spawn(process.execPath, [PROGRAM, f.sourceUrl, f.targetUrl], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  child.stderr.on('data', (data) => {
    complaint += String(data);
  });
  const timer =
    options.killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), options.killAfterMs);
  const [code, signal] = await once(child, 'close');
  clearTimeout(timer);
  if (signal === 'SIGKILL') return 'killed';
  expect(complaint).toBe('');
  expect(code).toBe(0);
  return 'done';
};
