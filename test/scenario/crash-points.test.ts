import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Worker } from '../../src/stages/worker.ts';
import { askHere, crashPoints, phaseHere, startDoomed, withDeadline, writableSides } from '../support/crash-points.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { runSql, type ServerPair, useServerPair } from '../support/servers.ts';

/**
 * Every single crash of a switch on real servers: the process that carries it out dies, or stands still, at each point that
 * the journal of a whole switch names, before the effect and after it; then somebody else comes and does one thing. The
 * points are read from a journal, so a new step is among them by itself. All pairs of crashes are in the simulation.
 */
const servers = useServerPair();
const SLOW_MS = 900_000;
const SCHEMA = 'CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);';
const MORE = 'switch: { max_lag: 20s, window: 30s }';
/** A sleeper is taken for gone when its heartbeat is 15 s old, so that many sleep at the same time. */
const SLEEPERS = 8;

type Kind = 'cutover' | 'failback';
type Side = 'source' | 'target';

let count = 0;
const begin = async (pair: ServerPair): Promise<Scenario> => {
  count += 1;
  const rows = `INSERT INTO item (name) SELECT 'seeded' FROM generate_series(1, 50)`;
  return await makeScenario(pair, { name: `crash_point_${count}`, schema: SCHEMA, rows, more: MORE });
};

/** A worker in this process until every phase is ready or soaking. */
const runUntilReady = async ({ run }: Scenario): Promise<void> => {
  const composition = await run.compose();
  const worker = await Worker.open(composition.context);
  try {
    await worker.run({ signal: new AbortController().signal, until: 'ready' });
  } finally {
    await worker.close();
    await composition.close();
  }
};

const hasRun = async ({ source }: Scenario): Promise<boolean> => {
  const [row] = await runSql(source, `SELECT to_regclass('switchback.phase') IS NOT NULL AS there`);
  return row?.there === true;
};

/** Where a case begins, whatever the one before has left. */
const beginFrom = async (scenario: Scenario, side: Side): Promise<void> => {
  if (!(await hasRun(scenario))) await runUntilReady(scenario);
  if (scenario.run.route('all').primary === side) return;
  expect(await askHere(scenario.run, side === 'target' ? 'cutover' : 'failback')).toMatchObject({ exitCode: 0 });
};

const sideBefore = (kind: Kind): Side => (kind === 'cutover' ? 'source' : 'target');
const sideAfter = (kind: Kind): Side => (kind === 'cutover' ? 'target' : 'source');

/** What an administrator would look at: who owns what, where the route leads, which slots there are. */
const facts = async (scenario: Scenario): Promise<unknown> => {
  const sql = `
    SELECT (SELECT json_agg(o ORDER BY phase) FROM (SELECT phase, role, fenced FROM switchback.ownership) o)::text AS owners,
           (SELECT string_agg(slot_name, ',' ORDER BY slot_name) FROM pg_replication_slots
             WHERE database = current_database()) AS slots`;
  const [source, target] = await Promise.all([runSql(scenario.source, sql), runSql(scenario.target, sql)]);
  const [phase] = await runSql(scenario.source, 'SELECT doc FROM switchback.phase');
  const { primary, held } = scenario.run.route('all');
  return { source, target, phase, route: { primary, held } };
};

/** One side takes writes, the one where the route leads; clients are not held; no phase stands between two states. */
const expectSettled = async (scenario: Scenario, kind: Kind): Promise<void> => {
  const { primary, held } = scenario.run.route('all');
  const [phase] = await runSql(scenario.source, `SELECT doc::json ->> 'name' AS state FROM switchback.phase`);
  const outcomes = await runSql(
    scenario.source,
    `SELECT o.outcome FROM switchback.switch s JOIN switchback.outcome o ON o.switch_id = s.id ORDER BY s.epoch DESC LIMIT 1`,
  );
  expect({ writable: await writableSides(scenario, 'item'), held }).toEqual({ writable: [primary], held: false });
  expect(primary === 'target' ? ['soaking'] : ['following', 'ready']).toContain(phase?.state);
  // Without a recorded intent nothing has happened; with one, its outcome is what the sides say.
  const [last] = await runSql(scenario.source, 'SELECT id FROM switchback.switch ORDER BY epoch DESC LIMIT 1');
  if (String(last?.id).startsWith(kind)) {
    expect(primary).toBe(outcomes[0]?.outcome === 'committed' ? sideAfter(kind) : sideBefore(kind));
  }
};

const isStopped = (pid: number): boolean => / T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

/** A command dies at a point; at most one side can be written then. */
const die = async (scenario: Scenario, kind: Kind, point: string): Promise<void> => {
  const doomed = startDoomed(scenario.run, [kind, scenario.run.plan, 'all', '--confirm', 'all'], `${point}:kill`);
  expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
  expect((await writableSides(scenario, 'item')).length).toBeLessThanOrEqual(1);
};

type Case = (scenario: Scenario, kind: Kind, point: string) => Promise<void>;

/** Within a minute (L2), by the command that `status` names while a switch stands half-way. */
const resumed: Case = async (scenario, kind, point) => {
  await die(scenario, kind, point);
  const { state, next } = await phaseHere(scenario.run, 'all');
  if (state.name === 'switching') expect(next).toEqual([`switchback resume ${scenario.run.plan}`]);
  const inTime = withDeadline(60_000, () => askHere(scenario.run, 'resume'));
  expect(await inTime).toMatchObject({ exitCode: 0 });
  await expectSettled(scenario, kind);
};

/** The side that has the application's writes, by the records that a crash has left. */
const belongsTo = async ({ source }: Scenario): Promise<Side> => {
  const [row] = await runSql(
    source,
    `SELECT p.doc::json ->> 'name' AS state, s.direction, o.outcome FROM switchback.phase p
       LEFT JOIN switchback.switch s ON s.id = p.doc::json ->> 'switchId' AND p.doc::json ->> 'name' = 'switching'
       LEFT JOIN switchback.outcome o ON o.switch_id = s.id`,
  );
  if (row?.state !== 'switching') return row?.state === 'soaking' ? 'target' : 'source';
  return (row.direction === 'forward') === (row.outcome === 'committed') ? 'target' : 'source';
};

/** Where the source has the writes, the run goes without a trace; where the target has, abort offers the failback. */
const aborted: Case = async (scenario, kind, point) => {
  await die(scenario, kind, point);
  const side = await belongsTo(scenario);
  // The crash at an earlier point may have been followed by a cutover and a failback.
  const answer = await askHere(scenario.run, 'abort', { unfence: true });
  expect(answer).toMatchObject({ exitCode: side === 'source' ? 0 : 4 });
  if (side === 'source') {
    expect({ there: await hasRun(scenario), primary: scenario.run.route('all').primary }).toEqual({
      there: false,
      primary: 'source',
    });
    expect(await writableSides(scenario, 'item')).toContain('source');
    expect(await scenario.onTarget('SELECT count(*)::int AS n FROM item')).toEqual([{ n: 0 }]);
    return;
  }
  expect(answer.remedy).toContain('switchback failback');
  await expectSettled(scenario, kind);
};

/** A worker that is started next settles what was left, and carries out the next switch. */
const takenOver: Case = async (scenario, kind, point) => {
  await die(scenario, kind, point);
  const composition = await scenario.run.compose();
  const worker = await Worker.open(composition.context);
  try {
    await expectSettled(scenario, kind);
    const { primary } = scenario.run.route('all');
    await runSql(scenario[primary as Side], `INSERT INTO item (name) VALUES ('${point}')`);
    const request = { phases: [], options: {}, by: 'test' };
    const next = primary === 'source' ? 'cutover' : 'failback';
    expect(await worker.execute({ command: next, ...request })).toMatchObject({ exitCode: 0 });
    const other = primary === 'source' ? 'target' : 'source';
    expect(await writableSides(scenario, 'item')).toEqual([other]);
    const arrived = await runSql(scenario[other], `SELECT name FROM item ORDER BY id DESC LIMIT 1`);
    expect(arrived).toEqual([{ name: point }]);
  } finally {
    await worker.close();
    await composition.close();
  }
};

/** The process sleeps while another one takes over; when it wakes, both databases refuse it, and it changes nothing. */
const woken: Case = async (scenario, kind, point) => {
  const doomed = startDoomed(scenario.run, [kind, scenario.run.plan, 'all', '--confirm', 'all'], `${point}:stop`);
  const pid = doomed.process.pid ?? 0;
  try {
    await expect.poll(() => isStopped(pid), { timeout: 60_000 }).toBe(true);
    expect(await askHere(scenario.run, 'resume')).toMatchObject({ exitCode: 0 });
    await expectSettled(scenario, kind);
    const before = await facts(scenario);
    process.kill(pid, 'SIGCONT');
    const end = await doomed.ended;
    if (!point.endsWith('/states')) expect(end, end.out).not.toMatchObject({ code: 0 });
    expect(await facts(scenario)).toEqual(before);
    await expectSettled(scenario, kind);
  } finally {
    doomed.process.kill('SIGKILL');
  }
};

/** Goes through the points, each from the same beginning, and names those at which something was not as it must be. */
const enumerate = async (scenario: Scenario, kind: Kind, points: readonly string[], one: Case): Promise<void> => {
  const failures: string[] = [];
  for (const point of points) {
    try {
      await beginFrom(scenario, sideBefore(kind));
      await one(scenario, kind, point);
    } catch (error) {
      failures.push(`${point}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  expect(failures).toEqual([]);
};

describe('every single crash of a switch', () => {
  const points = new Map<Kind, readonly string[]>();
  const scenarios: Scenario[] = [];
  const open = async (): Promise<Scenario> => {
    const scenario = await begin(servers());
    scenarios.push(scenario);
    return scenario;
  };
  beforeAll(async () => {
    const scenario = await open();
    await beginFrom(scenario, 'source');
    await beginFrom(scenario, 'target');
    await beginFrom(scenario, 'source');
    points.set('cutover', await crashPoints(scenario, 'cutover'));
    points.set('failback', await crashPoints(scenario, 'failback'));
    expect(points.get('cutover')?.length).toBeGreaterThan(25);
    expect(points.get('failback')?.length).toBe(points.get('cutover')?.length);
  });
  afterAll(async () => {
    for (const scenario of scenarios) await scenario.close();
  });

  it.each([
    ['cutover', 'resume', resumed],
    ['cutover', 'abort', aborted],
    ['cutover', 'a second worker', takenOver],
    ['failback', 'resume', resumed],
    ['failback', 'abort', aborted],
    ['failback', 'a second worker', takenOver],
  ] as const)('%s, then %s', { timeout: SLOW_MS }, async (kind, _, one) => {
    await enumerate(await open(), kind, points.get(kind) ?? [], one);
  });

  it.each(['cutover', 'failback'] as const)('%s, then the sleeper wakes', { timeout: SLOW_MS }, async (kind) => {
    const all = points.get(kind) ?? [];
    const parts = Array.from({ length: SLEEPERS }, (_, i) => all.filter((_point, at) => at % SLEEPERS === i));
    await Promise.all(parts.map(async (part) => await enumerate(await open(), kind, part, woken)));
  });
});
