import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommandAnswer } from '../support/run.ts';
import { say, startHere } from '../support/runbook.ts';
import { expectExit, makeScenario, type Scenario } from '../support/scenario.ts';
import { runSql, useServerPair } from '../support/servers.ts';

// The life of snapshots as a person sees it, by the command line and with the programs of PostgreSQL. At each step the command is
// killed once and given again: nothing is there twice, and nothing is left over. The tests follow each other.

const SCHEMA = `CREATE TABLE item (id int PRIMARY KEY, name text);
  CREATE TABLE note (id int PRIMARY KEY, item int REFERENCES item, text text); CREATE INDEX ON note (item)`;
const ROWS = `INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 2000) g;
  INSERT INTO note SELECT g, g, 'about ' || g FROM generate_series(1, 500) g`;
const MORE = `switch: { window: 30s, max_lag: 20s }
snapshots:
  store: pg_dump
  to: backups
  before: [prepare, cutover]
  fresh_for: 1h
  drill_within: 1h
  keep: 1
  probes: ["select count(*) = 2000 from public.item"]`;

interface Listed {
  readonly id: string;
  readonly state: string;
  readonly manifest: { readonly reason: string } | null;
}

const servers = useServerPair({ wal_level: 'logical' });
let scenario: Scenario;

/** Gives a command within this process, which spares its start. */
const command = async (...argv: readonly string[]): Promise<CommandAnswer> => {
  const { exitCode, text } = await say(scenario.run, ...argv, '--json');
  return { exitCode, json: JSON.parse(text.trim().split('\n').at(-1) ?? '') };
};

const snapshot = (...args: readonly string[]) => {
  const [action = '', ...rest] = args;
  return command('snapshot', action, scenario.run.plan, ...rest);
};

/** Gives the command and kills it at a point, as kill -9 would. */
const killedAt = async (point: string, ...args: readonly string[]): Promise<void> => {
  const [action = '', ...rest] = args;
  const environment = { ...scenario.run.self.environment, SWITCHBACK_FAILPOINT: `${point}:kill` };
  const terminal = scenario.terminalWith(environment, 'snapshot', action, scenario.run.plan, ...rest);
  expect({ code: await terminal.ended, said: terminal.text() }).toMatchObject({ code: 128 });
};

const listed = async (): Promise<readonly Listed[]> => {
  const answer = await snapshot('list');
  expectExit(answer);
  return answer.json.snapshots as readonly Listed[];
};

const scratchPlaces = async (): Promise<readonly string[]> => {
  const rows = await runSql(servers().source.url, `SELECT datname FROM pg_database WHERE datname LIKE 'drill-%'`);
  return rows.map(({ datname }) => String(datname));
};

const recorded = async (table: 'snapshot' | 'drill') => {
  const ask = `SELECT id, state FROM switchback.${table} ORDER BY id`;
  const [source, target] = await Promise.all([scenario.onSource(ask), scenario.onTarget(ask)]);
  expect(target).toEqual(source);
  return source.map(({ state }) => state);
};

beforeAll(async () => {
  scenario = await makeScenario(servers(), { schema: SCHEMA, rows: ROWS, more: MORE });
});
afterAll(async () => await scenario?.close());

describe('snapshots of a run', () => {
  it('the worker makes one before it prepares, and none a second time', async () => {
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    const reasons = (await listed()).map(({ state, manifest }) => [state, manifest?.reason]);
    expect(reasons).toEqual([['available', 'before prepare']]);
    expect(await recorded('snapshot')).toEqual(['available']);
  });

  it('a cutover is refused while nobody has tried to restore one', async () => {
    const refused = await command('cutover', scenario.run.plan, 'all', '--confirm', 'all');
    expectExit(refused, 4);
    expect(refused.json.message).toContain('a cutover needs a drill that succeeded within 60 min: there was none');
    expect(refused.json.remedy).toBe(`switchback snapshot drill ${scenario.run.plan}`);
  });

  it.each(['snapshot:intended', 'snapshot:made'])('killed at %s, the next one goes on with it', async (point) => {
    const before = (await listed()).map(({ id }) => id);
    await killedAt(point, 'create');
    const states = await recorded('snapshot');
    expect(states.filter((state) => state === 'creating')).toHaveLength(1);
    const created = await snapshot('create');
    expectExit(created);
    expect(created.json.how).toBe('gone on with');
    const after = await listed();
    expect(after).toHaveLength(before.length + 1);
    expect(after.every(({ state }) => state === 'available')).toBe(true);
    expect(new Set(await recorded('snapshot'))).toEqual(new Set(['available']));
  });

  it.each(['drill:intended', 'drill:restored', 'drill:inspected', 'drill:removed'])(
    'killed at %s, the next drill leaves nothing',
    async (point) => {
      await killedAt(point, 'drill');
      const drilled = await snapshot('drill');
      expectExit(drilled);
      expect(drilled.json).toMatchObject({
        drill: { state: 'passed', restoreMs: null, outcome: { tables: 2, compared: 2, probes: 1, problems: [] } },
      });
      expect(await scratchPlaces()).toEqual([]);
      expect(new Set(await recorded('drill'))).toEqual(new Set(['passed']));
    },
  );

  it('a drill that nobody disturbs measures what restoring takes; status and report say so', async () => {
    expectExit(await snapshot('drill'));
    const shown = await command('status', scenario.run.plan);
    expect(shown.json.snapshots).toMatchObject({
      unfinished: null,
      drill: { passed: true },
      restoreMs: expect.any(Number),
    });
    const { text } = await say(scenario.run, 'status', scenario.run.plan);
    expect(text).toMatch(/snapshot {2}test-\d{8}-\d{6}-[0-9a-f]{4}, .* old \(by hand\)/);
    expect(text).toMatch(/drill {5}passed .* ago, by .*; restoring took /);
  });

  it('a snapshot shows what it holds', async () => {
    const { text } = await say(scenario.run, 'snapshot', 'show', scenario.run.plan);
    expect(text).toMatch(/all +public\.item +2,000/);
    expect(text).toMatch(/lost if it were restored now: what was written in the last /);
  });

  it('a cutover makes none while one is fresh, and is not refused any more', async () => {
    const before = (await listed()).length;
    expectExit(await command('cutover', scenario.run.plan, 'all', '--confirm', 'all'));
    expect(await listed()).toHaveLength(before);
  });

  it('killed after it has removed one, a prune goes on with the others', async () => {
    const all = await listed();
    expect(all).toHaveLength(3);
    const dry = await snapshot('prune');
    expectExit(dry);
    expect((dry.json.snapshots as { keeps: boolean }[]).map(({ keeps }) => keeps)).toEqual([true, false, false]);
    expectExit(await snapshot('prune', '--confirm', 'other'), 2);
    expect(await listed()).toHaveLength(3);
    await killedAt('prune:removed', 'prune', '--confirm', 'test');
    expect(await listed()).toHaveLength(2);
    expectExit(await snapshot('prune', '--confirm', 'test'));
    expect((await listed()).map(({ id }) => id)).toEqual([all[0]?.id]);
  });

  it('the list needs no database', async () => {
    const gone = { source: 'postgresql://127.0.0.1:1/gone', target: 'postgresql://127.0.0.1:1/gone2' };
    const list = startHere(scenario.run, ['snapshot', 'list', scenario.run.plan], gone);
    expect(await list.ended).toBe(0);
    expect(list.text()).toContain('available');
  });

  it('an action that does not read an argument says so', async () => {
    const answer = await snapshot('list', 'an-id');
    expectExit(answer, 2);
    expect(JSON.stringify(answer.json)).toContain('snapshot list does not read an id (an-id)');
  });
});
