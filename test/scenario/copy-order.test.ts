import { expect, it } from 'vitest';
import type { Event } from '../../src/domain/event.ts';
import { makeScenario } from '../support/scenario.ts';
import { useServerPair } from '../support/servers.ts';

/**
 * When what was put off is built. Two versions of a row that moved from one chunk to another may both be there until the
 * position after the last chunk has passed: they differ in their keys, but need not in another unique column.
 */
const servers = useServerPair();

const SCHEMA = `
  CREATE TABLE big (id int PRIMARY KEY, u int CONSTRAINT big_u UNIQUE, a int, v text); CREATE INDEX big_a ON big (a);
  CREATE TABLE small (id int PRIMARY KEY, big int CONSTRAINT small_big REFERENCES big);
  CREATE TABLE parted (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id); CREATE INDEX parted_v ON parted (v);
  CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (500);`;

const ROWS = `
  INSERT INTO big SELECT i, i, i % 7, repeat('v', 100) FROM generate_series(1, 20000) i;
  INSERT INTO small SELECT i, i FROM generate_series(1, 100) i; INSERT INTO parted SELECT i, i FROM generate_series(0, 99) i;`;

/** Where in the stream of events something is told; -1 when it is not. */
const placeOf = (events: readonly Event[], told: (event: Event) => boolean): number => events.findIndex(told);

it('keys and plain indexes are built within the copy, what one row can break not before the lane has caught up', async () => {
  const scenario = await makeScenario(servers(), { name: 'order', schema: SCHEMA, rows: ROWS });
  try {
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    const { events } = worker;
    const built = (what: string): number =>
      placeOf(events, (e) => e.type === 'note' && e.text.startsWith(`built ${what} in `));
    const done = (step: string): number =>
      placeOf(events, (e) => e.type === 'step' && e.step === step && e.status === 'done');
    for (const what of ['key big_pkey', 'index big_a', 'key small_pkey', 'key parted_1_pkey', 'index parted_1_v_idx']) {
      expect(built(what), what).toBeGreaterThan(0);
      expect(built(what), what).toBeLessThan(done('rows'));
    }
    // Of a partitioned table when all partitions are there.
    expect(built('key parted_pkey')).toBeGreaterThan(done('rows'));
    expect(built('key parted_pkey')).toBeLessThan(done('catch up'));
    for (const what of ['unique big_u', 'foreign key small_big']) {
      expect(built(what), what).toBeGreaterThan(done('catch up'));
    }
    await scenario.expectEqual();
  } finally {
    await scenario.close();
  }
});

/** By the journal's own times, of which a slow machine only makes longer ones: two phases that are copied at once share the limit. */
it.each(['stream', 'native'])('the limit of the plan is kept by all phases together (%s)', async (engine) => {
  const scenario = await makeScenario(servers(), {
    name: `limit_${engine}`,
    schema: 'CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text);',
    rows: `INSERT INTO a SELECT i, repeat('v', 1000) FROM generate_series(1, 1300) i; INSERT INTO b SELECT * FROM a;`,
    phases: [
      { name: 'one', tables: ['public.a'] },
      { name: 'two', tables: ['public.b'] },
    ],
    more: `copy: { limit: 1MB/s }\nengine: ${engine}`,
  });
  try {
    await scenario.untilState(scenario.worker(), 'ready', 'one', 'two');
    const [row] = await scenario.onSource(
      `SELECT extract(epoch FROM max(at) - min(at - ms * interval '1 ms'))::float AS seconds
       FROM switchback.journal WHERE step = 'rows' AND status = 'done'`,
    );
    // 2.6 MB, less what may come at once: a credit of 0.2 s and a read of each socket.
    expect(row?.seconds).toBeGreaterThan(1.8);
  } finally {
    await scenario.close();
  }
});
