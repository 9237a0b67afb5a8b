import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Report } from '../../src/stages/report-data.ts';
import { expectExit, makeScenario, type Scenario } from '../support/scenario.ts';
import { useServerPair } from '../support/servers.ts';

/**
 * One run with what a report has to tell of: a cutover that a transaction kept from its window, one that committed, a
 * failback, and at the end a source that does not answer. The tests go through it in order.
 */
const servers = useServerPair();

const HOSTILE = `"a<b>&'\u202e""c"`;
const SCHEMA = `
  CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL);
  CREATE TABLE ${HOSTILE} (id bigint PRIMARY KEY);
  CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);`;
const ROWS = `
  INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 500) n;
  INSERT INTO ${HOSTILE} SELECT generate_series(1, 20);
  INSERT INTO plain SELECT FROM generate_series(1, 30);`;

let scenario: Scenario;

beforeAll(async () => {
  scenario = await makeScenario(servers(), {
    name: 'report',
    schema: SCHEMA,
    rows: ROWS,
    phases: [
      { name: 'first', tables: ['public.plain'] },
      { name: 'second', tables: ['public.*'] },
    ],
    more: 'switch: { window: 3s, blockers: { wait: 500ms, then: abort } }',
  });
});

afterAll(async () => {
  await scenario?.close();
});

const reported = async (): Promise<Report> => {
  const answer = await scenario.run.command('report', scenario.run.plan);
  expectExit(answer);
  return answer.json as unknown as Report;
};

const holdLock = async (): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: scenario.source, application_name: 'nightly-export' });
  client.on('error', () => undefined);
  await client.connect();
  await client.query('BEGIN');
  await client.query(`UPDATE item SET name = 'held' WHERE id = 1`);
  return client;
};

describe('report', () => {
  it('is refused where there is no run', async () => {
    const answer = await scenario.run.command('report', scenario.run.plan);
    expect(answer).toMatchObject({ exitCode: 4, json: { ok: false, error: { kind: 'refused' } } });
  });

  it('holds everything about the run', async () => {
    const { run } = scenario;
    const worker = scenario.worker();
    await worker.untilState('ready', 'first', 'second');
    const blocker = await holdLock();
    expectExit(await run.command('cutover', run.plan, 'second', '--confirm', 'second'), 5);
    await blocker.end();
    await worker.untilState('ready', 'first', 'second');
    await scenario.change('cutover', 'first', 'second');
    await scenario.change('failback', 'second');

    const report = await reported();
    expect(report).toMatchObject({
      answeredBy: 'source',
      run: { name: 'test' },
      worker: { alive: true },
      findingsError: null,
      halts: [],
      journal: { complete: true },
    });
    expect(report.generatedAt).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    expect(report.phases.map(({ name }) => name)).toEqual(['first', 'second']);
    const [first, second] = report.phases;
    expect(first).toMatchObject({ state: { name: 'soaking' }, target: { role: 'primary', fenced: false } });
    expect(second?.copied.rows).toBe(520);
    expect(second?.certified?.tables.map(({ table, rows }) => [table, rows])).toEqual(
      expect.arrayContaining([
        ['public.item', 500],
        [`public.a<b>&'\u202e"c`, 20],
      ]),
    );
  });

  it('tells of each switch how it ended, how long it kept clients waiting and how long its steps took', async () => {
    const { switches, lag, journal } = await reported();
    expect(switches.map(({ direction, phases, outcome }) => ({ direction, phases, outcome }))).toEqual([
      { direction: 'forward', phases: ['second'], outcome: 'aborted' },
      { direction: 'forward', phases: ['first', 'second'], outcome: 'committed' },
      { direction: 'reverse', phases: ['second'], outcome: 'committed' },
    ]);
    const [undone, done, back] = switches;
    expect(undone?.steps.find(({ step }) => step === 'fence')).toMatchObject({ status: 'failed' });
    expect(undone).toMatchObject({ fencedAt: null, reverseFrom: null });
    for (const one of [done, back]) {
      expect(one?.fencedAt).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
      expect(one?.reverseFrom).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
      expect(one?.steps.every(({ status, ms }) => status === 'done' && ms !== null)).toBe(true);
      const names = one?.steps.map(({ step }) => step) ?? [];
      for (const step of ['checks', 'hold', 'fence', 'drain', 'commit', 'repoint', 'lift', 'release']) {
        expect(names).toContain(step);
      }
      const held = one?.steps.filter(({ step }) => step !== 'checks' && step !== 'retire') ?? [];
      const longest = Math.max(...held.map(({ ms }) => ms ?? 0));
      expect(one?.windowMs).toBeGreaterThanOrEqual(longest - 5);
      expect(one?.windowMs).toBeLessThan(10_000);
    }
    expect(undone?.windowMs).toBeGreaterThan(400);
    expect(lag.map(({ lane }) => lane)).toEqual(expect.arrayContaining(['first/forward', 'second/forward']));
    for (const { samples } of lag) for (const { at } of samples) expect(Number.isNaN(Date.parse(at))).toBe(false);
    expect(journal.lines.filter(({ status }) => status === 'failed').map(({ step }) => step)).toContain('fence');
  });

  it('writes the page and the JSON, also over larger ones, and says where', async () => {
    const { run } = scenario;
    const folder = join(run.directory, 'reports', 'today');
    expectExit(await run.command('report', run.plan, '--out', folder));
    const page = readFileSync(join(folder, 'test-report.html'), 'utf8');
    const data = JSON.parse(readFileSync(join(folder, 'test-report.json'), 'utf8')) as Report;
    expect(data.switches).toHaveLength(3);
    expect(page).toContain('public.a&lt;b&gt;&amp;&#39;⟨U+202E⟩&quot;c');
    expect(page).toMatch(/cutover-\d+: first and second, source → target, committed/);

    const other = join(run.directory, 'now.html');
    writeFileSync(other, 'x'.repeat(3_000_000));
    expectExit(await run.command('report', run.plan, '--out', other));
    expect(statSync(other).size).toBeLessThan(1_000_000);
    expect(readdirSync(run.directory).filter((name) => name.includes('now'))).toEqual(['now.html', 'now.json']);
  });

  it('prints all of it, however much that is', async () => {
    await scenario.onSource(
      `INSERT INTO switchback.lag (lane, ms, changes) SELECT 'first/reverse', n % 100, n FROM generate_series(1, 25000) n`,
    );
    const { lag } = await reported();
    expect(lag.find(({ lane }) => lane === 'first/reverse')?.samples.length).toBeGreaterThanOrEqual(25_000);
  });

  it('says what cannot be written', async () => {
    const { run } = scenario;
    const inFile = join(run.plan, 'x.html');
    expect(await run.command('report', run.plan, '--out', inFile)).toMatchObject({
      exitCode: 2,
      json: { ok: false, error: { kind: 'usage' } },
    });
  });

  it('tells what the mirror knows when the source does not answer', async () => {
    await servers().source.stop();
    const report = await reported();
    expect(report).toMatchObject({ answeredBy: 'target', journal: { complete: false }, lag: [] });
    expect(report.mirroredAt).toMatch(/Z$/);
    expect(report.switches).toMatchObject([{ direction: 'reverse', phases: ['second'], outcome: 'committed' }]);
    expect(report.phases.map(({ name, certified }) => [name, certified])).toEqual([
      ['first', null],
      ['second', null],
    ]);
  });
});
