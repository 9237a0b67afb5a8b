import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Side } from '../../src/domain/position.ts';
import { Worker } from '../../src/stages/worker.ts';
import { askHere, startDoomed, writableSides } from '../support/crash-points.ts';
import { askWithFaults, type RouterFault } from '../support/failing-routers.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * A phase whose clients come by two ways, each a route file of its own. Whatever one of them does wrong, and wherever the
 * worker dies: before the commit record nobody stays held and all is as it was; after it clients of the other one go on on
 * the new side, it is told which of the two is missing, and whoever resumes needs nothing but the plan.
 */
const servers = useServerPair();
const SLOW_MS = 120_000;
const ROUTERS = ['pooler', 'dns'] as const;
let scenario: Scenario;

const fileOf = (router: string): string => join(scenario.run.directory, `${router}.json`);
const routeOf = (router: string): unknown => {
  const { primary, held } = JSON.parse(readFileSync(fileOf(router), 'utf8')).all;
  return held ? `${primary}, held` : primary;
};
const routes = (): unknown => ROUTERS.map(routeOf);

const stateNow = async (): Promise<string> => {
  const [row] = await runSql(scenario.source, `SELECT doc::json ->> 'name' AS state FROM switchback.phase`);
  return String(row?.state);
};

const expectOn = async (side: Side): Promise<void> => {
  expect({ routes: routes(), writable: await writableSides(scenario, 'item'), state: await stateNow() }).toEqual({
    routes: [side, side],
    writable: [side],
    state: side === 'target' ? 'soaking' : expect.stringMatching(/^(ready|following)$/),
  });
};

/** The status as somebody on another machine sees it. */
const routesShown = async (): Promise<readonly Record<string, unknown>[]> => {
  const { json } = await scenario.run.command('status', scenario.run.plan);
  return json.routes as readonly Record<string, unknown>[];
};

const cutover = (faults: readonly RouterFault[]) => askWithFaults(scenario.run, { command: 'cutover' }, faults);
const notesOf = ({ events }: Awaited<ReturnType<typeof cutover>>): string =>
  events.flatMap((event) => (event.type === 'note' ? [event.text] : [])).join('\n');

beforeAll(async () => {
  scenario = await makeScenario(servers(), {
    schema: 'CREATE TABLE item (id int PRIMARY KEY)',
    rows: 'INSERT INTO item SELECT generate_series(1, 100)',
    phases: [{ name: 'all', tables: ['public.*'], router: ROUTERS }],
    router: '{ kind: file, path: unused.json }',
    routers: Object.fromEntries(ROUTERS.map((name) => [name, `{ kind: file, path: ${name}.json }`])),
    more: 'switch: { window: 30s, max_lag: 20s }',
  });
  const text = readFileSync(scenario.run.plan, 'utf8');
  writeFileSync(scenario.run.plan, text.replace(/^ {2}app: .*\n/m, ''));
  for (const router of ROUTERS)
    writeFileSync(fileOf(router), JSON.stringify({ all: { primary: 'source', held: false } }));
  const composition = await scenario.run.compose();
  const worker = await Worker.open(composition.context);
  await worker.run({ signal: new AbortController().signal, until: 'ready' });
  await worker.close();
  await composition.close();
}, SLOW_MS);
afterAll(async () => await scenario?.close());

describe('two routers of a phase', () => {
  beforeEach(async () => {
    if ((await stateNow()) === 'soaking')
      expect(await askHere(scenario.run, 'failback')).toMatchObject({ exitCode: 0 });
    await expectOn('source');
  }, SLOW_MS);

  it('act in the order of the plan, and each is a step of its own where it is repointed', async () => {
    const answer = await cutover([]);
    expect(answer).toMatchObject({ exitCode: 0 });
    const each = (method: string) => ROUTERS.map((router) => `${router} ${method}`);
    expect(answer.calls).toEqual([...each('hold'), ...each('repoint'), ...each('release')]);
    const steps = answer.events.flatMap((e) => (e.type === 'step' && e.status === 'done' ? [e.step] : []));
    expect(steps.filter((step) => step.startsWith('repoint'))).toEqual(['repoint pooler', 'repoint dns', 'repoint']);
    await expectOn('target');
    const [row] = await runSql(
      scenario.source,
      `SELECT doc::json ->> 'routes' AS routes FROM switchback.switch ORDER BY epoch DESC LIMIT 1`,
    );
    expect(JSON.parse(String(row?.routes))).toEqual({
      all: Object.fromEntries(ROUTERS.map((name) => [name, { primary: 'source', version: expect.any(String) }])),
    });
  });

  it.each(ROUTERS)('are both released when %s cannot hold', async (router) => {
    const answer = await cutover([{ router, method: 'hold', kind: 'unreachable' }]);
    expect(answer).toMatchObject({ exitCode: 5 });
    expect(answer.message).toContain(`router ${router}: ${router} was made to fail at hold`);
    expect(answer.calls).not.toContain('pooler repoint');
    await expectOn('source');
  });

  it.each(ROUTERS)('are both released when the switch is undone, although %s fails at it twice', async (router) => {
    const answer = await cutover([
      { router: 'dns', method: 'hold', kind: 'unreachable' },
      { router, method: 'release', kind: 'unreachable', times: 2 },
    ]);
    expect(answer).toMatchObject({ exitCode: 5 });
    expect(notesOf(answer)).toContain(`undo hold: router ${router}: ${router} was made to fail at release; done: `);
    await expectOn('source');
  });

  it('lets clients of the other go on when one cannot be released in the undo, and says which', async () => {
    const answer = await cutover([
      { router: 'dns', method: 'hold', kind: 'unreachable' },
      { router: 'pooler', method: 'release', kind: 'refused' },
    ]);
    expect(answer).toMatchObject({ exitCode: 6 });
    expect(answer.message).toContain(
      'stands at "undo hold": router pooler: pooler was made to fail at release; done: dns',
    );
    expect({ routes: routes(), writable: await writableSides(scenario, 'item') }).toEqual({
      routes: ['source, held', 'source'],
      writable: ['source'],
    });
    expect(await askHere(scenario.run, 'resume')).toMatchObject({ exitCode: 0 });
    await expectOn('source');
  });

  it.each([
    ['pooler', ['source, held', 'target']],
    ['dns', ['target', 'source, held']],
  ] as const)('goes on without %s that refuses its repoint after the commit record', async (router, left) => {
    const other = ROUTERS.find((name) => name !== router);
    const answer = await cutover([{ router, method: 'repoint', kind: 'refused' }]);
    expect(answer).toMatchObject({ exitCode: 6 });
    expect(answer.message).toContain(
      `stands at "repoint": router ${router}: ${router} was made to fail at repoint; done: ${other}`,
    );
    // Clients of the other one do not wait for it.
    expect(routes()).toEqual(left);
    const shown = await routesShown();
    expect(shown.map((one) => [one.router, one.primary, one.held, one.due])).toEqual(
      ROUTERS.map((name) => [name, name === router ? 'source' : 'target', name === router, 'target']),
    );
    const status = scenario.terminal('status', scenario.run.plan);
    await status.ended;
    expect(status.text()).toMatch(new RegExp(`${router} +all +writers +source, not yet the target +wait`));
    // Another machine, which knows nothing but the plan; it begins with what is missing.
    const resumed = await askWithFaults(scenario.run, { command: 'resume' }, []);
    expect(resumed).toMatchObject({ exitCode: 0 });
    expect(resumed.calls.filter((call) => call.endsWith('repoint'))).toEqual([`${router} repoint`, `${other} repoint`]);
    await expectOn('target');
  });

  it.each(['unreachable', 'unknown'] as const)(
    'tries again a repoint that was %s, and that one alone',
    async (kind) => {
      const answer = await cutover([{ router: 'dns', method: 'repoint', kind, times: 1 }]);
      expect(answer).toMatchObject({ exitCode: 0 });
      expect(answer.calls.filter((call) => call.endsWith('repoint'))).toEqual([
        'pooler repoint',
        'dns repoint',
        'dns repoint',
      ]);
      if (kind === 'unreachable') expect(notesOf(answer)).toContain('repoint: router dns: ');
      await expectOn('target');
    },
  );

  it('says which one has not let its clients go on, and resume does that', async () => {
    const answer = await cutover([{ router: 'pooler', method: 'release', kind: 'refused' }]);
    expect(answer).toMatchObject({ exitCode: 6 });
    expect(answer.message).toContain(
      'stands at "release": router pooler: pooler was made to fail at release; done: dns',
    );
    expect(routes()).toEqual(['target, held', 'target']);
    expect(await askHere(scenario.run, 'resume')).toMatchObject({ exitCode: 0 });
    await expectOn('target');
  });

  it.each([
    ['acted cutover/repoint pooler', ['target, held', 'source, held']],
    ['begun cutover/repoint dns', ['target, held', 'source, held']],
    ['acted cutover/repoint dns', ['target, held', 'target, held']],
  ] as const)('are both led right after a death at "%s"', async (point, left) => {
    const { run } = scenario;
    const doomed = startDoomed(run, ['cutover', run.plan, 'all', '--confirm', 'all'], `${point}:kill`);
    expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
    expect(routes()).toEqual(left);
    expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 0 });
    await expectOn('target');
  });

  it('are told of when they do not agree', async () => {
    expect(await cutover([])).toMatchObject({ exitCode: 0 });
    const before = readFileSync(fileOf('dns'));
    writeFileSync(fileOf('dns'), JSON.stringify({ all: { primary: 'source', held: false } }));
    const [, dns] = await routesShown();
    expect(dns).toMatchObject({
      label: 'all (dns)',
      trouble: {
        fact: 'its router leads clients to the source, and the target is the primary: their writes are refused; its routers do not agree: pooler leads to the target, dns leads to the source',
      },
    });
    writeFileSync(fileOf('dns'), before);
  });

  it('keep their names while a switch is half done, and one that is gone for good may be left out', async () => {
    const { run } = scenario;
    const doomed = startDoomed(run, ['cutover', run.plan, 'all', '--confirm', 'all'], 'begun cutover/repoint:kill');
    expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
    const before = readFileSync(run.plan, 'utf8');
    const accepted = async (text: string): Promise<readonly string[]> => {
      writeFileSync(run.plan, text);
      const told: string[] = [];
      const { context, close } = await run.compose((event) => {
        if (event.type === 'finding') told.push(`${event.finding.id} ${event.finding.subject}`);
      });
      try {
        const worker = await Worker.open(context, { acceptPlan: context.plan.hash });
        await worker.close();
      } finally {
        await close();
      }
      return told;
    };
    await expect(accepted(before.replaceAll('dns', 'names'))).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('is half done, and knows phase all by its routers pooler, dns, not by names'),
    });
    const without = before.replace('["pooler","dns"]', '"pooler"').replace(/^ *dns: .*\n/m, '');
    expect(await accepted(without)).toContain('router/left-out router dns');
    expect({ routes: routes(), state: await stateNow() }).toEqual({
      routes: ['target', 'source, held'],
      state: 'soaking',
    });
    writeFileSync(fileOf('dns'), JSON.stringify({ all: { primary: 'target', held: false } }));
    await accepted(before);
    await expectOn('target');
  });

  it('go on with a switch that was recorded when a phase had one router', async () => {
    const { run } = scenario;
    const doomed = startDoomed(run, ['cutover', run.plan, 'all', '--confirm', 'all'], 'begun cutover/repoint:kill');
    expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
    // As version 3 of the sidecar had it until now; the other router was led by hand.
    await runSql(
      scenario.source,
      `UPDATE switchback.switch s SET doc = jsonb_set(doc::jsonb, '{routes}',
         jsonb_build_object('all', doc::jsonb #> '{routes,all,pooler,version}'))::text
       WHERE id = (SELECT doc::json ->> 'switchId' FROM switchback.phase)`,
    );
    writeFileSync(fileOf('dns'), JSON.stringify({ all: { primary: 'target', held: true } }));
    expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 0 });
    await expectOn('target');
  });
});
