import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Side } from '../../src/domain/position.ts';
import { Worker } from '../../src/stages/worker.ts';
import { askHere, startDoomed, writableSides } from '../support/crash-points.ts';
import { askWithFaults, type RouterFault } from '../support/failing-routers.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { saidBy } from '../support/scene.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * A phase whose readers are led by routers of their own. They can be moved while the target follows, and back, without
 * writers noticing; whatever fails or dies on the way, nobody reads from a side that does not follow without being told.
 */
const servers = useServerPair();
const SLOW_MS = 120_000;
const READERS = ['replica', 'reports'] as const;
let scenario: Scenario;

const fileOf = (router: string): string => join(scenario.run.directory, `${router}.json`);
const leads = (router: string): unknown => JSON.parse(readFileSync(fileOf(router), 'utf8')).all.primary;
const lead = (router: string, primary: Side): void =>
  writeFileSync(fileOf(router), JSON.stringify({ all: { primary, held: false } }));
const readersNow = (): unknown => READERS.map(leads);

const phaseNow = async (): Promise<{ readonly state: unknown; readonly led: unknown }> => {
  const [row] = await runSql(
    scenario.source,
    `SELECT p.doc::json ->> 'name' AS state, r.facts::json -> 'readers' -> 'all' AS led FROM switchback.phase p, switchback.run r`,
  );
  const led = row?.led as { readonly to: unknown; readonly isDone: unknown } | null;
  return { state: row?.state, led: led && { to: led.to, isDone: led.isDone } };
};

/** Nothing of the writers has changed: who owns, which side takes writes, where they are led. */
const expectWritersOn = async (side: Side): Promise<void> => {
  expect({ writable: await writableSides(scenario, 'item'), led: scenario.run.route('all').primary }).toEqual({
    writable: [side],
    led: side,
  });
};

const toTarget = (faults: readonly RouterFault[] = []) =>
  askWithFaults(scenario.run, { command: 'cutover --reads' }, faults);
const toSource = (faults: readonly RouterFault[] = []) =>
  askWithFaults(scenario.run, { command: 'failback --reads' }, faults);
const refusing = (router: string, method: RouterFault['method'] = 'repoint'): RouterFault => ({
  router,
  method,
  kind: 'refused',
});

const UNSEEN: RouterFault = { router: 'reports', method: 'probe', kind: 'unreachable' };

const troubles = async (): Promise<readonly string[]> => {
  const { json } = await scenario.run.command('status', scenario.run.plan);
  const routes = json.routes as readonly {
    readonly label: string;
    readonly trouble: { readonly fact: string } | null;
  }[];
  return routes.flatMap(({ label, trouble }) => (trouble ? [`${label}: ${trouble.fact}`] : []));
};

const setState = async (doc: string): Promise<unknown> => {
  const [before] = await runSql(scenario.source, 'SELECT doc FROM switchback.phase');
  await runSql(scenario.source, `UPDATE switchback.phase SET doc = '${doc}'`);
  return before?.doc;
};

const untilReady = async ({ run }: Scenario): Promise<void> => {
  const composition = await run.compose();
  const worker = await Worker.open(composition.context);
  await worker.run({ signal: new AbortController().signal, until: 'ready' });
  await worker.close();
  await composition.close();
};

beforeAll(async () => {
  scenario = await makeScenario(servers(), {
    schema: 'CREATE TABLE item (id int PRIMARY KEY, name text)',
    rows: `INSERT INTO item SELECT n, 'item' FROM generate_series(1, 100) n`,
    phases: [{ name: 'all', tables: ['public.*'], reads: READERS }],
    routers: Object.fromEntries(READERS.map((name) => [name, `{ kind: file, path: ${name}.json }`])),
    more: 'switch: { window: 30s, max_lag: 4s }',
  });
  for (const router of READERS) lead(router, 'source');
  await untilReady(scenario);
}, SLOW_MS);
afterAll(async () => await scenario?.close());

describe('readers of a phase', () => {
  beforeEach(async () => {
    if ((await phaseNow()).state === 'soaking')
      expect(await askHere(scenario.run, 'failback')).toMatchObject({ exitCode: 0 });
    if ((await phaseNow()).state === 'following') await untilReady(scenario);
    expect(await toSource()).toMatchObject({ exitCode: 0 });
    expect(readersNow()).toEqual(['source', 'source']);
  }, SLOW_MS);

  it('are moved before the writers, and back, by commands that ask for no confirmation', async () => {
    const { run } = scenario;
    const there = await run.command('cutover', run.plan, 'all', '--reads');
    expect(there).toMatchObject({
      exitCode: 0,
      json: { message: expect.stringContaining('readers of all are led to the target now') },
    });
    expect({ readers: readersNow(), phase: await phaseNow() }).toEqual({
      readers: ['target', 'target'],
      phase: { state: 'ready', led: { to: 'target', isDone: true } },
    });
    await expectWritersOn('source');
    const status = scenario.terminal('status', run.plan);
    await status.ended;
    expect(status.text()).toMatch(/replica +all +readers +target +go on/);
    const back = await run.command('failback', run.plan, 'all', '--reads');
    expect(back).toMatchObject({
      exitCode: 0,
      json: { message: expect.stringContaining('readers of all are led to the source now') },
    });
    expect(readersNow()).toEqual(['source', 'source']);
    await expectWritersOn('source');
    const steps = await runSql(
      scenario.source,
      `SELECT step FROM switchback.journal WHERE status = 'done' AND scope = (SELECT max(scope) FROM switchback.journal
         WHERE scope LIKE 'reads-%' AND epoch = (SELECT max(epoch) FROM switchback.journal WHERE scope LIKE 'reads-%')) ORDER BY id`,
    );
    expect(steps.map(({ step }) => step)).toEqual([
      'checks',
      'intent',
      'repoint replica',
      'repoint reports',
      'repoint',
      'probe',
      'readers',
    ]);
  });

  it('stay where they are while the phase is not consistent on the target', async () => {
    const before = await setState('{"name":"following","since":"2026-01-01T00:00:00Z"}');
    const answer = await toTarget();
    await setState(String(before));
    expect(answer).toMatchObject({ exitCode: 4 });
    expect(answer.message).toBe('phase all is following; its readers can be led to the target when it is ready');
    expect({ readers: readersNow(), calls: answer.calls }).toEqual({ readers: ['source', 'source'], calls: [] });
  });

  it('stay where they are while its lane is halted', async () => {
    const finding = {
      id: 'lane/failed',
      severity: 'blocks',
      subject: 'all/forward',
      fact: 'planted',
      remedy: 'mend it',
    };
    const halt = JSON.stringify({ lane: 'all/forward', at: '2026-01-01T00:00:00Z', finding });
    await runSql(scenario.source, `UPDATE switchback.lane SET halt = '${halt}' WHERE direction = 'forward'`);
    const answer = await toTarget();
    await runSql(scenario.source, `UPDATE switchback.lane SET halt = NULL`);
    expect(answer).toMatchObject({ exitCode: 4 });
    expect(answer.message).toBe('readers of phase all cannot be led to the target, whose lane is halted: planted');
    expect(readersNow()).toEqual(['source', 'source']);
  });

  it('stay where they are when none of their routers can be changed', async () => {
    const answer = await toTarget(READERS.map((router) => refusing(router)));
    expect(answer).toMatchObject({ exitCode: 4 });
    expect({ readers: readersNow(), phase: await phaseNow() }).toEqual({
      readers: ['source', 'source'],
      phase: { state: 'ready', led: { to: 'source', isDone: true } },
    });
  });

  it('are half-way when one of their routers refuses, which is told, and can be led on or back', async () => {
    for (const goOn of [true, false]) {
      const answer = await toTarget([refusing('reports')]);
      expect(answer).toMatchObject({ exitCode: 6 });
      expect(answer.message).toContain(
        'not all there: router reports: reports was made to fail at repoint; done: replica',
      );
      expect(readersNow()).toEqual(['target', 'source']);
      expect((await troubles())[0]).toBe(
        'all (readers, replica): its readers are on their way to the target and not all there',
      );
      if (goOn) {
        const resumed = await askWithFaults(scenario.run, { command: 'resume' }, []);
        expect(resumed).toMatchObject({ exitCode: 0 });
        // The other one may be repeated, in case that something of it was left.
        expect(resumed.calls).toEqual(['reports repoint', 'replica repoint']);
        expect(readersNow()).toEqual(['target', 'target']);
      }
      expect(await toSource()).toMatchObject({ exitCode: 0 });
      expect(readersNow()).toEqual(['source', 'source']);
      expect(await troubles()).toEqual([]);
    }
  });

  it('are taken for half-way when it is not known of one of their routers what became of it', async () => {
    const answer = await toTarget([refusing('replica'), { ...refusing('reports'), kind: 'parked' }]);
    expect(answer).toMatchObject({ exitCode: 6 });
    expect(answer.remedy).toContain('if a router is gone for good: lead those that answer by hand, take it out');
    expect({ readers: readersNow(), phase: await phaseNow() }).toEqual({
      readers: ['source', 'source'],
      phase: { state: 'ready', led: { to: 'target', isDone: false } },
    });
  });

  it('are not told to have been led on when they were not seen to arrive', async () => {
    expect(await toTarget([refusing('reports')])).toMatchObject({ exitCode: 6 });
    const resumed = await askWithFaults(scenario.run, { command: 'resume' }, [UNSEEN]);
    expect(resumed).toMatchObject({ exitCode: 6 });
    expect(resumed.message).toMatch(
      /readers of all are led to the target now; .*NOT PROVEN: router reports of phase all/,
    );
    expect(resumed.remedy).toContain(`ask again: switchback cutover ${scenario.run.plan} all --reads`);
    expect(await phaseNow()).toMatchObject({ led: { to: 'target', isDone: true } });
    expect(await toTarget()).toMatchObject({ exitCode: 0 });
  });

  it('are not led elsewhere over the hand of a person', async () => {
    const answer = await askWithFaults(scenario.run, { command: 'cutover --reads' }, [], (router, method) => {
      if (router !== 'reports' || method !== 'repoint') return;
      writeFileSync(fileOf('reports'), JSON.stringify({ all: { primary: 'source', held: false, epoch: '99' } }));
    });
    expect(answer).toMatchObject({ exitCode: 6 });
    expect(answer.message).toMatch(/router reports: .*(was changed by somebody|was repointed by epoch 99)/);
    lead('reports', 'source');
  });

  it.each([
    ['acted reads/intent', ['source', 'source']],
    ['acted reads/repoint replica', ['target', 'source']],
    ['begun reads/readers', ['target', 'target']],
  ] as const)('are led on by whoever resumes after a death at "%s"', async (point, left) => {
    const { run } = scenario;
    const doomed = startDoomed(run, ['cutover', run.plan, 'all', '--reads'], `${point}:kill`);
    expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
    expect(readersNow()).toEqual(left);
    const resumed = await askWithFaults(run, { command: 'resume' }, []);
    expect(resumed).toMatchObject({ exitCode: 0 });
    // Whoever opens the run is told, also one that does not come to lead them on.
    expect(resumed.events.some((e) => e.type === 'finding' && e.finding.id === 'readers/unfinished')).toBe(true);
    expect({ readers: readersNow(), phase: await phaseNow() }).toEqual({
      readers: ['target', 'target'],
      phase: { state: 'ready', led: { to: 'target', isDone: true } },
    });
    await expectWritersOn('source');
  });

  it('stay where they are while the target is behind, and are told of when its lane halts with them there', async () => {
    const { run } = scenario;
    const worker = scenario.worker();
    await worker.until(({ events }) => events.some((event) => event.type === 'lag'));
    const locker = await scenario.session(scenario.target);
    await locker.query('BEGIN; LOCK TABLE item IN EXCLUSIVE MODE');
    await runSql(scenario.source, `UPDATE item SET name = 'late' WHERE id = 1`);
    const late = await run.command('cutover', run.plan, 'all', '--reads');
    await locker.query('ROLLBACK');
    expect(late).toMatchObject({ exitCode: 4 });
    expect(saidBy(late).message).toContain('lane all/forward is more than 4000 ms behind');
    expect(readersNow()).toEqual(['source', 'source']);
    // The worker has the lease, so it carries out what the command asks for.
    expect(await run.command('cutover', run.plan, 'all', '--reads')).toMatchObject({ exitCode: 0 });
    expect(worker.events.some((e) => e.type === 'step' && e.step === 'readers' && e.status === 'done')).toBe(true);
    await runSql(scenario.target, 'SET session_replication_role = replica; DELETE FROM item WHERE id = 7');
    await runSql(scenario.source, `UPDATE item SET name = 'diverges' WHERE id = 7`);
    await worker.until(({ events }) => events.some((e) => e.type === 'finding' && e.finding.id === 'readers/old'));
    expect(await troubles()).toEqual(
      READERS.map(
        (name) =>
          `all (readers, ${name}): its readers are led to the target, whose lane is halted: what they read may be old`,
      ),
    );
    expect(await run.command('failback', run.plan, 'all', '--reads')).toMatchObject({ exitCode: 0 });
    expect(await troubles()).toEqual([]);
    await runSql(scenario.target, `SET session_replication_role = replica; INSERT INTO item VALUES (7, 'item')`);
    expect(await run.command('resume', run.plan, 'all')).toMatchObject({ exitCode: 0 });
    await worker.stop();
  });

  it('stay where they are in a cutover and a failback of the writers, and keep the soak from its end', async () => {
    const { run } = scenario;
    expect(await askHere(run, 'cutover')).toMatchObject({ exitCode: 0 });
    expect(readersNow()).toEqual(['source', 'source']);
    await expectWritersOn('target');
    const early = await run.command('finalise', run.plan, 'all', '--early', '--confirm', 'all');
    expect(early).toMatchObject({ exitCode: 4 });
    expect(saidBy(early)).toMatchObject({
      message: expect.stringContaining('readers of phase all are led to the source, which does not follow'),
      remedy: expect.stringContaining(`switchback cutover ${run.plan} all --reads`),
    });
    expect(await toTarget([UNSEEN])).toMatchObject({ exitCode: 6 });
    const unseen = await run.command('finalise', run.plan, 'all', '--early', '--confirm', 'all');
    expect(unseen).toMatchObject({ exitCode: 4 });
    expect(saidBy(unseen)).toMatchObject({
      message: expect.stringContaining('readers of phase all were not seen to arrive where they were led'),
      remedy: expect.stringContaining(`ask again: switchback cutover ${run.plan} all --reads`),
    });
    expect(await toTarget()).toMatchObject({ exitCode: 0 });
    // The source follows, so they may go back there while the target has the writes.
    expect(await toSource()).toMatchObject({ exitCode: 0 });
    expect(await toTarget()).toMatchObject({ exitCode: 0 });
    expect(await askHere(run, 'failback')).toMatchObject({ exitCode: 0 });
    expect(readersNow()).toEqual(['target', 'target']);
    await expectWritersOn('source');
  });

  it('are led back before an abort, which is not begun when they cannot be', async () => {
    const { run } = scenario;
    expect(await toTarget()).toMatchObject({ exitCode: 0 });
    const refused = await askWithFaults(run, { command: 'abort', options: { unfence: true } }, [refusing('reports')]);
    expect(refused).toMatchObject({ exitCode: 4 });
    expect(refused.message).toContain('could not be led back to the source, so the abort was not begun');
    expect(await phaseNow()).toMatchObject({ state: 'ready', led: { to: 'source', isDone: false } });
    expect(await scenario.onTarget('SELECT count(*)::int AS n FROM item')).toEqual([{ n: 100 }]);
    // That their routers lead to the source is not enough, however often it is tried.
    for (const _ of [1, 2]) {
      const unseen = await askWithFaults(run, { command: 'abort', options: { unfence: true } }, [UNSEEN]);
      expect(unseen).toMatchObject({ exitCode: 4 });
      expect({ readers: readersNow(), phase: await phaseNow() }).toEqual({
        readers: ['source', 'source'],
        phase: { state: 'ready', led: { to: 'source', isDone: true } },
      });
      expect(await scenario.onTarget('SELECT count(*)::int AS n FROM item')).toEqual([{ n: 100 }]);
    }
    const aborted = await askHere(run, 'abort', { unfence: true });
    expect(aborted).toMatchObject({ exitCode: 0 });
    expect(readersNow()).toEqual(['source', 'source']);
    expect(await scenario.onTarget('SELECT count(*)::int AS n FROM item')).toEqual([{ n: 0 }]);
  });
});

describe('a router of readers that does not say where it leads', () => {
  let blind: Scenario;
  beforeAll(async () => {
    blind = await makeScenario(servers(), {
      name: 'blind_readers',
      schema: 'CREATE TABLE item (id int PRIMARY KEY)',
      rows: 'INSERT INTO item VALUES (1)',
      phases: [{ name: 'all', tables: ['public.*'], reads: ['deaf'] }],
      routers: { deaf: '{ kind: command, repoint: [sh, deaf.sh] }' },
    });
    await untilReady(blind);
  }, SLOW_MS);
  afterAll(async () => await blind?.close());

  it.each([
    ['a failure for certain leaves nothing to resume', 'exit 1', 4, null],
    ['one that comes after a doubt is parked', '[ -f once ] && exit 1; touch once; kill -9 $$', 6, 'target'],
  ] as const)('%s', async (_, program, exitCode, led) => {
    writeFileSync(join(blind.run.directory, 'deaf.sh'), program);
    const answer = await askWithFaults(blind.run, { command: 'cutover --reads' }, []);
    expect(answer).toMatchObject({ exitCode });
    const [row] = await runSql(
      blind.source,
      `SELECT facts::json -> 'readers' -> 'all' ->> 'to' AS led FROM switchback.run`,
    );
    expect(row?.led).toBe(led);
  });
});
