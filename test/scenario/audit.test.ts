import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { expectExit, makeScenario, type Scenario } from '../support/scenario.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * The journal of a run with switches, take-overs and raised epochs is one chain; and whatever somebody does to it, with all
 * rights on one of the two databases, `audit verify` names the first entry that is wrong. Each fault is planted in a copy
 * of the same journal, which is put back afterwards.
 */
const servers = useServerPair();

interface Answer {
  readonly ok: boolean;
  readonly entries: string;
  readonly end: { readonly id: string };
  readonly noted: number | null;
  readonly problem: { readonly entry: string; readonly flaw: string; readonly fact: string } | null;
}

interface Plant {
  readonly what: string;
  readonly sql: string;
  readonly entry: string;
  readonly flaw: string;
}

const COLUMNS: Readonly<Record<string, string>> = {
  at: `at + interval '1 microsecond'`,
  epoch: 'epoch + 1',
  scope: `scope || 'x'`,
  phases: `phases || ',x'`,
  step: `'lift'`,
  status: `CASE status WHEN 'done' THEN 'failed' ELSE 'done' END`,
  detail: `coalesce(detail || 'x', '')`,
  ms: 'coalesce(ms + 1, 0)',
  hash: `translate(hash, '0123456789abcdef', '123456789abcdef0')`,
  previous: `translate(previous, '0123456789abcdef', '123456789abcdef0')`,
};

const flip = ([column, value]: readonly [string, string]): Plant => ({
  what: `a flip of ${column}`,
  sql: `UPDATE switchback.journal SET ${column} = ${value} WHERE id = 7`,
  entry: '7',
  flaw: 'changed',
});

/** Moves entries between `a` and `b`, which the primary key would forbid half-way. */
const renumber = (from: string): string =>
  `CREATE TABLE pg_temp_j AS SELECT * FROM switchback.journal; TRUNCATE switchback.journal;
   INSERT INTO switchback.journal SELECT ${from} FROM pg_temp_j; DROP TABLE pg_temp_j`;
const REST = 'at, epoch, scope, phases, step, status, detail, ms, previous, hash';
const COPY_OF_8 = `INSERT INTO switchback.journal SELECT 9, ${REST} FROM switchback.journal WHERE id = 8`;

/** A forged entry whose own hash is right, as whoever knows the encoding can make it. */
const FORGED = `previous = encode(sha256('x'), 'hex'), hash = encode(sha256(convert_to(
  '64:' || encode(sha256('x'), 'hex') || ',27:' || to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') ||
  (SELECT string_agg(coalesce(',' || octet_length(v) || ':' || v, ',-'), '' ORDER BY n) FROM unnest(ARRAY[epoch::text, scope,
  phases, step, status, detail, ms::text]) WITH ORDINALITY u(v, n)), 'UTF8')), 'hex')`;

const PLANTS: readonly Plant[] = [
  ...Object.entries(COLUMNS).map(flip),
  {
    what: 'a flip of id',
    sql: 'UPDATE switchback.journal SET id = 100000 WHERE id = 7',
    entry: '7',
    flaw: 'missing',
  },
  { what: 'a deletion', sql: 'DELETE FROM switchback.journal WHERE id = 5', entry: '5', flaw: 'missing' },
  { what: 'a deletion at the start', sql: 'DELETE FROM switchback.journal WHERE id < 3', entry: '1', flaw: 'missing' },
  {
    what: 'a deletion that is covered by renumbering',
    sql: `DELETE FROM switchback.journal WHERE id = 5; ${renumber(`id - (id > 5)::int, ${REST}`)}`,
    entry: '5',
    flaw: 'unlinked',
  },
  {
    what: 'a swap',
    sql: renumber(`CASE id WHEN 6 THEN 7 WHEN 7 THEN 6 ELSE id END, ${REST}`),
    entry: '6',
    flaw: 'reordered',
  },
  {
    what: 'a repeated entry',
    sql: `${renumber(`id + (id > 8)::int, ${REST}`)}; ${COPY_OF_8}`,
    entry: '9',
    flaw: 'reordered',
  },
  {
    what: 'a forged entry with a hash of its own that is right',
    sql: `UPDATE switchback.journal SET ${FORGED} WHERE id = 7`,
    entry: '7',
    flaw: 'unlinked',
  },
  {
    what: 'a cut tail',
    sql: 'DELETE FROM switchback.journal WHERE id > (SELECT max(id) - 4 FROM switchback.journal)',
    entry: 'end - 3',
    flaw: 'cut',
  },
  { what: 'an emptied journal', sql: 'TRUNCATE switchback.journal', entry: '1', flaw: 'cut' },
  {
    what: 'a start that belongs to another run',
    sql: `UPDATE switchback.run SET id = 'other'`,
    entry: '1',
    flaw: 'unlinked',
  },
];

describe('the audit of a run', () => {
  let scenario: Scenario;
  let clean: Answer;
  const verify = async (): Promise<{ exitCode: number; json: Answer }> => {
    const { exitCode, json } = await scenario.run.command('audit', 'verify', scenario.run.plan);
    return { exitCode, json: json as unknown as Answer };
  };

  beforeAll(async () => {
    scenario = await makeScenario(servers(), {
      name: 'audit',
      schema: 'CREATE TABLE item (id int PRIMARY KEY, words text)',
      rows: `INSERT INTO item SELECT i, 'x' FROM generate_series(1, 100) i`,
      more: 'switch: { window: 30s, max_lag: 20s }',
    });
    const { run } = scenario;
    let worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    await scenario.change('cutover', 'all');
    await scenario.change('failback', 'all');
    // Taken over by the next command, and by the next worker.
    await worker.process.kill();
    expectExit(await run.command('verify', run.plan, 'all'));
    await scenario.change('cutover', 'all');
    worker = scenario.worker();
    await scenario.untilState(worker, 'soaking', 'all');
    expectExit(await run.command('cutover', run.plan, 'all', '--confirm', 'all'), 4);
    await worker.stop();
    await runSql(
      scenario.source,
      'CREATE TABLE public.keep AS TABLE switchback.journal; CREATE TABLE public.keep_run AS TABLE switchback.run',
    );
    clean = (await verify()).json;
  });
  afterEach(async () => {
    await runSql(
      scenario.source,
      `TRUNCATE switchback.journal, switchback.run; INSERT INTO switchback.journal TABLE public.keep;
       INSERT INTO switchback.run TABLE public.keep_run`,
    );
  });
  afterAll(async () => await scenario?.close());

  it('finds every entry in order, and every end that the target noted', async () => {
    const [{ n }] = (await runSql(scenario.source, 'SELECT count(*)::int AS n FROM switchback.journal')) as [
      { n: number },
    ];
    expect(clean).toMatchObject({ ok: true, entries: String(n), end: { id: String(n) }, problem: null });
    expect(clean.noted).toBeGreaterThan(5);
    const [newest] = await runSql(scenario.target, 'SELECT max(entry)::text AS entry FROM switchback.chain_end');
    expect(newest?.entry).toBe(String(n));
  });

  it('has who asked for what, from where, with which plan, and how it ended', async () => {
    const entries = await runSql(
      scenario.source,
      `SELECT scope, step, status, detail FROM switchback.journal WHERE scope IN ('command', 'lease') ORDER BY id`,
    );
    const by = /^(asked by|worker \w+ of) \S+@\S+/;
    for (const { detail } of entries) expect(detail).toMatch(by);
    const told = entries.map(({ scope, step, status }) => `${scope} ${step} ${status}`);
    const command = (step: string, end = 'done') => [`command ${step} begun`, `command ${step} ${end}`];
    const take = 'lease take done';
    expect(told).toEqual([
      take,
      ...command('cutover'),
      ...command('failback'),
      take,
      ...command('verify'),
      take,
      ...command('cutover'),
      take,
      ...command('cutover', 'failed'),
    ]);
    expect(entries.at(-1)?.detail).toMatch(/exit code 4: phase all is soaking/);
    expect(entries[0]?.detail).toMatch(/, plan [0-9a-f]{12}$/);
  });

  it.each(PLANTS)('finds $what', async ({ sql, entry, flaw }) => {
    await runSql(scenario.source, sql);
    const { exitCode, json } = await verify();
    const wanted = entry === 'end - 3' ? String(Number(clean.end.id) - 3) : entry;
    expect([exitCode, json.ok, json.problem?.entry, json.problem?.flaw]).toEqual([3, false, wanted, flaw]);
  });

  it('finds a tail that was cut although the journal went on with entries that fit', async () => {
    const end = Number(clean.end.id);
    await runSql(scenario.source, `DELETE FROM switchback.journal WHERE id > ${end - 3}`);
    expectExit(await scenario.run.command('verify', scenario.run.plan, 'all'));
    const { json } = await verify();
    expect(json.problem).toMatchObject({ flaw: 'replaced' });
    expect(Number(json.problem?.entry)).toBeGreaterThan(end - 3);
    expect(Number(json.problem?.entry)).toBeLessThanOrEqual(end);
  });

  it('says that it could not look, and nothing else, when the target does not answer', async () => {
    const { run } = scenario;
    const away = {
      ...run.self,
      environment: { ...run.self.environment, TEST_TARGET_URL: 'postgres://x@127.0.0.1:1/x' },
    };
    const { runCommand } = await import('../../src/demo/program.ts');
    const answer = await runCommand(away, ['audit', 'verify', run.plan], { anyExitCode: true });
    expectExit(answer, 1);
    expect(answer.json).toMatchObject({ ok: false, error: { kind: 'unreachable' } });
  });

  it('lists the entries, and refuses an action that it does not have', async () => {
    const { exitCode, json } = await scenario.run.command('audit', 'show', scenario.run.plan);
    expect([exitCode, json.id]).toEqual([0, clean.end.id]);
    expectExit(await scenario.run.command('audit', 'constructor', scenario.run.plan), 2);
  });
});
