import { execFileSync } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { allRows } from '../support/rows.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { useServerPair } from '../support/servers.ts';
import { roundSql, TABLES_SQL, writerSql } from '../support/table-shapes.ts';
import { startWriter } from '../support/writer.ts';

/**
 * Tables of every shape and name go over under writes, and back, and over again. Each round of statements does to each of
 * them what its shape makes hard; after each round both sides must hold the same rows, as verify sees it and as we do.
 */
const servers = useServerPair();

const open: Scenario[] = [];
afterEach(async () => {
  for (const scenario of open.splice(0)) await scenario.close();
});

const MORE = 'switch: { max_lag: 10s, window: 20s }';

/** Copy under writes, a round forward, cutover, a round back, failback, a round, cutover, a round. */
const goOverAndBack = async (scenario: Scenario): Promise<void> => {
  const writer = startWriter(scenario.source, writerSql, { everyMs: 15 });
  const worker = scenario.worker();
  try {
    await scenario.untilState(worker, 'ready', 'all');
  } finally {
    await writer.stop();
  }
  expect(writer.acknowledged).toBeGreaterThan(20);
  await scenario.expectEqual();
  await scenario.onSource(roundSql(2));
  await scenario.onSource(roundSql(3));
  await scenario.expectEqual();

  await scenario.change('cutover', 'all');
  await expectSequencesBeyond(scenario);
  await scenario.onTarget(roundSql(4));
  await scenario.onTarget(roundSql(5));
  await scenario.expectEqual();

  await scenario.change('failback', 'all');
  await scenario.onSource(roundSql(6));
  await scenario.expectEqual();

  await scenario.change('cutover', 'all');
  await scenario.onTarget(roundSql(7));
  await scenario.expectEqual();
  const bare = Object.entries(await allRows(scenario.target)).filter(([, rows]) => rows.length === 0);
  expect(bare.map(([table]) => table)).toEqual(['public.empty']);
};

/** Also of the sequence that runs downwards and that no table uses: what the target gives next has not been given before. */
const expectSequencesBeyond = async ({ onSource, onTarget }: Scenario): Promise<void> => {
  const last = `SELECT last_value::int AS value FROM loose_sequence`;
  const [[before], [after]] = await Promise.all([
    onSource(last),
    onTarget(`SELECT nextval('loose_sequence')::int AS value`),
  ]);
  expect(Number(after?.value)).toBeLessThan(Number(before?.value));
  const uses = `SELECT max(id)::int AS used, nextval('identity_always_id_seq')::int AS next FROM identity_always`;
  const [row] = await onTarget(uses);
  expect(Number(row?.next)).toBeGreaterThan(Number(row?.used));
};

const hasProgram = (name: string): boolean => {
  try {
    execFileSync(name, ['--version']);
    return true;
  } catch {
    return false;
  }
};

describe('tables of every shape and name', { timeout: 300_000 }, () => {
  it('go over and back with a schema that is there', async () => {
    const scenario = await makeScenario(servers(), {
      name: 'shapes',
      schema: TABLES_SQL,
      rows: roundSql(1),
      phases: [{ name: 'all', tables: ['*.*'] }],
      more: MORE,
    });
    open.push(scenario);
    await goOverAndBack(scenario);
  });

  const found = hasProgram('pg_dump');
  if (!found) console.warn('SKIPPED: there is no pg_dump on PATH, so no schema was made by it');

  it.skipIf(!found && process.env.CI !== 'true')('go over and back with a schema from pg_dump', async () => {
    expect(found, 'CI has to have pg_dump').toBe(true);
    const scenario = await makeScenario(servers(), {
      name: 'shapes "dumped"',
      schema: TABLES_SQL,
      rows: roundSql(1),
      targetSchema: '',
      from: '{ from: pg_dump }',
      phases: [{ name: 'all', tables: ['*.*'] }],
      more: MORE,
    });
    open.push(scenario);
    await goOverAndBack(scenario);
  });
});
