import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allRows } from '../support/rows.ts';
import { copyOutcome, makeScene, outcomeOf, type Scene } from '../support/scene.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * A stray write is one that the side which is not the primary must refuse: from an early application on the target, or a
 * forgotten one on the source. Sessions are opened before any fence, because those are the ones that a setting or a
 * revoked login would miss.
 */
const servers = useServerPair();
const REFUSED = '25006';

const SCHEMA = `
  CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL);
  CREATE TABLE reading (id bigint, day date, value int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
  CREATE TABLE reading_1 PARTITION OF reading FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
  CREATE TABLE reading_2 PARTITION OF reading FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
  CREATE TABLE parent (id bigint PRIMARY KEY);
  CREATE TABLE child (more text, PRIMARY KEY (id)) INHERITS (parent);
  CREATE FUNCTION add_item(bigint) RETURNS void LANGUAGE sql AS 'INSERT INTO item VALUES ($1, ''by function'')';
  GRANT USAGE ON SCHEMA public TO stray_clerk;
  GRANT ALL ON ALL TABLES IN SCHEMA public TO stray_clerk;
  ALTER TABLE item OWNER TO stray_owner;`;

const ROWS = `
  INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 200) n;
  INSERT INTO reading SELECT n, date '2024-01-01' + (n % 59), n FROM generate_series(1, 200) n;
  INSERT INTO parent SELECT generate_series(1, 20);
  INSERT INTO child SELECT n, 'x' FROM generate_series(101, 120) n;`;

/** Every way to write that a statement can take; none of these rows is there. */
const WRITES: readonly string[] = [
  `INSERT INTO item VALUES (9001, 'stray')`,
  `UPDATE item SET name = 'stray' WHERE id = 1`,
  'UPDATE item SET name = name WHERE false',
  'DELETE FROM item WHERE id = 2',
  'TRUNCATE item',
  `INSERT INTO item VALUES (1, 'stray') ON CONFLICT (id) DO UPDATE SET name = 'stray'`,
  `INSERT INTO item VALUES (1, 'stray') ON CONFLICT DO NOTHING`,
  `WITH gone AS (DELETE FROM item RETURNING id) SELECT count(*) FROM gone`,
  'SELECT add_item(9002)',
  `DO $$ BEGIN INSERT INTO item VALUES (9003, 'stray'); END $$`,
  `INSERT INTO reading VALUES (9001, '2024-01-05', 1)`,
  `INSERT INTO reading_2 VALUES (9001, '2024-02-05', 1)`,
  `UPDATE reading SET value = 0`,
  `UPDATE reading SET day = '2024-02-10' WHERE day = '2024-01-10'`,
  'UPDATE reading_1 SET value = 0',
  'DELETE FROM reading',
  'TRUNCATE reading',
  'TRUNCATE reading_2',
  'INSERT INTO parent VALUES (9001)',
  'UPDATE parent SET id = id + 100000',
  'DELETE FROM child',
  'TRUNCATE parent',
  // The statement names only the root, and a setting of the session's own must not help.
  `SET default_transaction_read_only = off; INSERT INTO reading VALUES (9002, '2024-01-06', 1)`,
];

/** A session that was there before the fence, in three states. */
interface EarlySessions {
  readonly idle: pg.Client;
  readonly prepared: pg.Client;
  readonly inTransaction: pg.Client;
}

const openEarly = async (scene: Scene, url: string): Promise<EarlySessions> => {
  const [idle, prepared, inTransaction] = await Promise.all([1, 2, 3].map(() => scene.session(url)));
  if (!idle || !prepared || !inTransaction) throw new Error('no sessions');
  await prepared.query(`PREPARE stray (bigint) AS INSERT INTO item VALUES ($1, 'stray')`);
  await prepared.query(`PREPARE stray_root (bigint) AS INSERT INTO reading VALUES ($1, '2024-01-07', 1)`);
  await inTransaction.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await inTransaction.query('SELECT pg_current_snapshot()');
  return { idle, prepared, inTransaction };
};

/** Asserts that every write, from every kind of session, is refused on a side and changes neither side. */
const expectRefused = async (scene: Scene, side: string, early: EarlySessions): Promise<void> => {
  const before = { source: await allRows(scene.source), target: await allRows(scene.target) };
  const outcomes: Record<string, string> = {};
  for (const [index, sql] of WRITES.entries()) outcomes[`${index}: ${sql}`] = await outcomeOf(early.idle, sql);
  outcomes.copy = await copyOutcome(early.idle, 'COPY item FROM STDIN', '9004\tstray\n');
  outcomes.copyRoot = await copyOutcome(early.idle, 'COPY reading FROM STDIN', '9005\t2024-01-05\t1\n');
  outcomes.copyLeaf = await copyOutcome(early.idle, 'COPY reading_1 FROM STDIN', '9006\t2024-01-05\t1\n');
  outcomes.prepared = await outcomeOf(early.prepared, 'EXECUTE stray(9010)');
  outcomes.preparedRoot = await outcomeOf(early.prepared, 'EXECUTE stray_root(9011)');
  outcomes.inTransaction = await outcomeOf(early.inTransaction, `INSERT INTO item VALUES (9020, 'stray')`);
  await early.inTransaction.query('ROLLBACK');
  for (const role of ['stray_owner', 'stray_clerk']) {
    const session = await scene.session(side);
    await session.query(`SET ROLE ${role}`);
    outcomes[role] = await outcomeOf(session, `INSERT INTO item VALUES (9030, 'stray')`);
  }
  expect(outcomes).toEqual(Object.fromEntries(Object.keys(outcomes).map((name) => [name, REFUSED])));
  expect({ source: await allRows(scene.source), target: await allRows(scene.target) }).toEqual(before);
};

describe('stray writes', () => {
  let scene: Scene;
  let source: EarlySessions;
  let target: EarlySessions;

  beforeAll(async () => {
    for (const server of [servers().source, servers().target]) {
      await runSql(server.url, 'CREATE ROLE stray_owner; CREATE ROLE stray_clerk');
    }
    scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS });
    target = await openEarly(scene, scene.target);
    const worker = scene.worker();
    await worker.untilState('ready', 'all');
  });

  afterAll(async () => await scene?.close());

  it('are refused by the target before the cutover, while the source takes writes', async () => {
    await expectRefused(scene, scene.target, target);
    await runSql(scene.source, `INSERT INTO item VALUES (301, 'before the cutover')`);
  });

  it('are refused by the source after the cutover, while the target takes writes', async () => {
    source = await openEarly(scene, scene.source);
    const answer = await scene.run.command('cutover', scene.run.plan, 'all', '--confirm', 'all');
    expect(answer).toMatchObject({ exitCode: 0 });
    await expectRefused(scene, scene.source, source);
    await runSql(scene.target, `INSERT INTO item VALUES (302, 'after the cutover')`);
    await expect.poll(() => runSql(scene.source, 'SELECT FROM item WHERE id = 302')).toHaveLength(1);
  });

  it('are refused by the target again after the failback', async () => {
    target = await openEarly(scene, scene.target);
    const answer = await scene.run.command('failback', scene.run.plan, 'all', '--confirm', 'all');
    expect(answer).toMatchObject({ exitCode: 0 });
    await expectRefused(scene, scene.target, target);
    await runSql(scene.source, `INSERT INTO item VALUES (303, 'after the failback')`);
    await expect.poll(() => runSql(scene.target, 'SELECT FROM item WHERE id = 303')).toHaveLength(1);
  });

  it('are told where the writes belong now', async () => {
    const refusal = runSql(scene.target, `INSERT INTO item VALUES (9040, 'stray')`);
    await expect(refusal).rejects.toMatchObject({
      code: REFUSED,
      message: expect.stringMatching(
        /INSERT on public\.item refused: phase all is moving, or has moved, to the source database/,
      ),
      hint: expect.stringContaining('Reconnect'),
    });
  });
});
