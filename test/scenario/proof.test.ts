import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Event } from '../../src/domain/event.ts';
import type { NewRequest } from '../../src/sidecar/requests.ts';
import { carryOut } from '../../src/stages/command.ts';
import { Worker } from '../../src/stages/worker.ts';
import { askHere, phaseHere, startDoomed, writableSides } from '../support/crash-points.ts';
import { type ClientsPath, usePaths } from '../support/path.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { useServerPair } from '../support/servers.ts';

/**
 * Whether clients have arrived after a switch, seen by the path that they take: a TCP path that somebody leads by hand, later
 * than the router, as a name does that is still remembered.
 */
const servers = useServerPair();
const openPath = usePaths();
const SLOW_MS = 120_000;
const SCHEMA = 'CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE stock (id int PRIMARY KEY);';
const MORE = 'switch: { window: 30s, max_lag: 20s, sessions_left: { wait: 100ms, then: terminate } }';

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

const isAlive = async (client: pg.Client): Promise<boolean> =>
  await client.query('SELECT 1').then(
    () => true,
    () => false,
  );

describe('a path of clients that does not follow', () => {
  let scenario: Scenario;
  let path: ClientsPath;
  const resume = (): string => `switchback resume ${scenario.run.plan} all`;

  beforeAll(async () => {
    path = await openPath(servers().source.port);
    const url = new URL(servers().source.urlFor('proof_path'));
    url.port = String(path.port);
    process.env.TEST_CLIENTS_URL = url.toString();
    scenario = await makeScenario(servers(), {
      name: 'proof_path',
      schema: SCHEMA,
      router: `{ kind: file, path: route.json, probe: { url: "\${TEST_CLIENTS_URL}", within: 700ms } }`,
      more: MORE,
    });
    await runUntilReady(scenario);
  }, SLOW_MS);
  afterAll(async () => await scenario?.close());

  it('is an alarm after the switch, until `resume` has seen it follow', { timeout: SLOW_MS }, async () => {
    const { run, source } = scenario;
    const client = await scenario.session(source);
    const cutover = await askHere(run, 'cutover');
    expect(cutover).toMatchObject({ exitCode: 6 });
    expect(cutover.message).toMatch(
      /all is on the target now .*; NOT PROVEN: router app of phase all: 127\.0\.0\.1:\d+\/proof_path leads to the source after 700 ms/,
    );
    expect(cutover.message).toMatch(/sessions left on the source: 1 of "\w+" \(scene\) from 127\.0\.0\.1; not ended: /);
    expect(cutover.remedy).toContain(`switchback resume ${run.plan}`);
    // The switch stands all the same, and whoever is led right can write.
    expect(await writableSides(scenario, 'item')).toEqual(['target']);
    expect(await phaseHere(run, 'all')).toMatchObject({ state: { name: 'soaking' }, proof: [{ verdict: 'unproven' }] });
    expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 6 });
    const status = await run.command('status', run.plan);
    expect(status.json).toMatchObject({ phases: [{ proof: [{ verdict: 'unproven' }] }] });
    expect((await phaseHere(run, 'all')).next[0]).toBe(resume());
    expect(await isAlive(client)).toBe(true);

    path.lead(servers().target.port);
    const proven = await askHere(run, 'resume');
    expect(proven).toMatchObject({ exitCode: 0 });
    expect(proven.message).toMatch(/proven by 127\.0\.0\.1:\d+\/proof_path; 1 session ended on the source/);
    expect(await isAlive(client)).toBe(false);
    const phase = await phaseHere(run, 'all');
    expect(phase).toMatchObject({ proof: [{ verdict: 'proven' }] });
    expect(phase.next).not.toContain(resume());
  });

  it('is waited for, and what it met first is told', { timeout: SLOW_MS }, async () => {
    const { run } = scenario;
    const events: Event[] = [];
    const composition = await run.compose((event) => {
      events.push(event);
      if (event.type === 'note' && event.text.startsWith('probe: ')) path.lead(servers().source.port);
    });
    try {
      const request = { command: 'failback', phases: [], options: {}, by: 'test' } as const;
      const tools = { signal: new AbortController().signal, onJournal: () => undefined };
      const answer = await carryOut(composition.context, request, tools);
      expect(answer).toMatchObject({ exitCode: 0 });
      expect(answer.message).toContain('proven by ');
    } finally {
      await composition.close();
    }
    expect(events.filter(({ type }) => type === 'note')).toContainEqual(
      expect.objectContaining({ text: expect.stringMatching(/^probe: .* leads to the target; asking again/) }),
    );
    await runUntilReady(scenario);
  });

  it.each(['begun', 'acted'])(
    'is asked by whoever comes after a worker that died: %s',
    { timeout: SLOW_MS },
    async (moment) => {
      const { run } = scenario;
      path.lead(null);
      const args = ['cutover', run.plan, 'all', '--confirm', 'all'];
      expect(await startDoomed(run, args, `${moment} cutover/probe:kill`).ended).toMatchObject({ signal: 'SIGKILL' });
      expect(await phaseHere(run, 'all')).toMatchObject({ state: { name: 'switching' }, proof: [] });
      expect(await writableSides(scenario, 'item')).toEqual(['target']);
      expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 6 });
      path.lead(servers().target.port);
      expect(await askHere(run, 'resume')).toMatchObject({ exitCode: 0 });
      expect(await phaseHere(run, 'all')).toMatchObject({ state: { name: 'soaking' }, proof: [{ verdict: 'proven' }] });
      path.lead(servers().source.port);
      expect(await askHere(run, 'failback')).toMatchObject({ exitCode: 0 });
      await runUntilReady(scenario);
    },
  );

  it('is told before anything is switched', { timeout: SLOW_MS }, async () => {
    const { run } = scenario;
    const ids = async (): Promise<readonly string[]> => {
      const { json } = await run.command('check', run.plan);
      return (json.findings as { id: string }[]).map(({ id }) => id).filter((id) => id.startsWith('proof/'));
    };
    expect(await ids()).toEqual([]);
    path.lead(null);
    expect(await ids()).toEqual(['proof/fails']);
    path.lead(servers().source.port);
  });
});

describe('a phase whose clients were not seen to arrive', () => {
  let scenario: Scenario;
  let path: ClientsPath;

  beforeAll(async () => {
    path = await openPath(servers().source.port);
    const url = new URL(servers().source.urlFor('proof_phases'));
    url.port = String(path.port);
    process.env.TEST_PHASES_URL = url.toString();
    scenario = await makeScenario(servers(), {
      name: 'proof_phases',
      schema: SCHEMA,
      phases: [
        { name: 'catalog', tables: ['public.item'] },
        { name: 'orders', tables: ['public.stock'] },
      ],
      router: `{ kind: file, path: route.json, probe: { url: "\${TEST_PHASES_URL}", within: 60s } }`,
      more: MORE,
    });
    await runUntilReady(scenario);
  }, SLOW_MS);
  afterAll(async () => await scenario?.close());

  const ask = async (
    parts: Pick<NewRequest, 'command'> & Partial<NewRequest>,
    onEvent: (event: Event) => void = () => undefined,
  ) => {
    const composition = await scenario.run.compose(onEvent);
    const tools = { signal: new AbortController().signal, onJournal: () => undefined };
    try {
      return await carryOut(composition.context, { phases: ['catalog'], options: {}, by: 'test', ...parts }, tools);
    } finally {
      await composition.close();
    }
  };
  const UNFENCE = { command: 'finalise', options: { early: true, unfence: true } } as const;

  it('is told by `resume` of another one, which settles it, and ends when another command waits', {
    timeout: SLOW_MS,
  }, async () => {
    const { run } = scenario;
    const args = ['cutover', run.plan, 'catalog', '--confirm', 'catalog'];
    expect(await startDoomed(run, args, 'begun cutover/probe:kill').ended).toMatchObject({ signal: 'SIGKILL' });
    expect(await phaseHere(run, 'catalog')).toMatchObject({ state: { name: 'switching' } });
    const notes: string[] = [];
    const { promise: asking, resolve } = Promise.withResolvers<void>();
    const resuming = ask({ command: 'resume', phases: ['orders'] }, (event) => {
      if (event.type !== 'note') return;
      notes.push(event.text);
      if (event.text.startsWith('probe: ')) resolve();
    });
    await asking;
    // The worker that began by settling the switch has asked once, and the phase is not `switching` any more.
    expect(notes).toContainEqual(expect.stringContaining('it was asked only once, by a worker that had just begun'));
    expect(await phaseHere(run, 'catalog')).toMatchObject({ state: { name: 'soaking' } });
    const unfencing = ask(UNFENCE);
    expect(await resuming).toMatchObject({
      exitCode: 6,
      message: expect.stringMatching(/leads to the source; not asked any longer, because another command waits/),
    });
    expect(await unfencing).toMatchObject({ exitCode: 4, message: expect.stringContaining('NOT PROVEN: router app') });
  });

  it('keeps its fence, also at its end, until `resume` has seen them arrive', { timeout: SLOW_MS }, async () => {
    expect(await ask({ command: 'finalise', options: { early: true } })).toMatchObject({ exitCode: 0 });
    const refused = await ask(UNFENCE);
    expect(refused).toMatchObject({
      exitCode: 4,
      remedy: expect.stringContaining(`resume ${scenario.run.plan} catalog`),
    });
    expect(await writableSides(scenario, 'item')).toEqual(['target']);
    path.lead(servers().target.port);
    expect(await ask({ command: 'resume' })).toMatchObject({
      exitCode: 0,
      message: expect.stringContaining('proven by 127.0.0.1'),
    });
    expect(await ask(UNFENCE)).toMatchObject({ exitCode: 0 });
    expect(await writableSides(scenario, 'item')).toEqual(['source', 'target']);
  });
});

describe('sessions that stay where a phase has left', () => {
  let scenario: Scenario;
  beforeAll(async () => {
    scenario = await makeScenario(servers(), {
      name: 'proof_sessions',
      schema: SCHEMA,
      phases: [
        { name: 'catalog', tables: ['public.item'] },
        { name: 'orders', tables: ['public.stock'] },
      ],
      more: MORE,
    });
    await runUntilReady(scenario);
  }, SLOW_MS);
  afterAll(async () => await scenario?.close());

  const switchPhase = async (command: string, phase: string) => {
    const { run } = scenario;
    const answer = await run.command(command, run.plan, phase, '--confirm', phase);
    return { exitCode: answer.exitCode, message: String(answer.json.message) };
  };

  it('are told of while another phase is there, and ended when none is', { timeout: SLOW_MS }, async () => {
    const { run, source, target } = scenario;
    const idle = await scenario.session(source);
    const busy = await scenario.session(source);
    await busy.query('BEGIN; SELECT count(*) FROM stock');
    const others = [await scenario.session(servers().source.url), await scenario.session(target)];
    const first = await switchPhase('cutover', 'catalog');
    expect(first.message).toMatch(/not proven: router app of phase catalog: the plan names no probe for it/);
    expect(first.message).toMatch(
      /sessions left on the source: 2 of "\w+" \(scene\) from 127\.0\.0\.1; not ended: phase orders is on the source/,
    );
    expect(first.exitCode).toBe(0);
    expect(await Promise.all([idle, busy].map(isAlive))).toEqual([true, true]);
    const { json } = await run.command('status', run.plan);
    expect(json.left).toMatchObject([
      { side: 'source', sessions: [{ application: 'scene', count: 2 }], primaryOf: ['orders'] },
    ]);
    const second = await switchPhase('cutover', 'orders');
    expect(second).toMatchObject({ exitCode: 0 });
    expect(second.message).toContain('2 sessions ended on the source');
    expect(await Promise.all([idle, busy, ...others].map(isAlive))).toEqual([false, false, true, true]);
    // The other way round: the target has a phase yet when the first one is back.
    const stays = await scenario.session(target);
    expect((await switchPhase('failback', 'catalog')).message).toContain('not ended: phase orders is on the target');
    expect(await isAlive(stays)).toBe(true);
    expect((await switchPhase('failback', 'orders')).message).toMatch(/2 sessions ended on the target/);
    expect(await isAlive(stays)).toBe(false);
  });
});
