import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Composition } from '../../src/compose.ts';
import {
  appendRequest,
  type RequestCommand,
  readRequest,
  requestToken,
  takeRequest,
} from '../../src/sidecar/requests.ts';
import { Worker } from '../../src/stages/worker.ts';
import { expectExit, makeScenario, type Scenario } from '../support/scenario.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/** What becomes of a command when the worker that it was handed to, or was about to be, is another one by then. */
const servers = useServerPair();
const WAITING = `SELECT count(*)::int AS n FROM switchback.request WHERE state = 'waiting'`;

describe('a command while the worker changes', () => {
  let scenario: Scenario;
  let composition: Composition | null = null;
  let worker: Worker | null = null;

  beforeAll(async () => {
    scenario = await makeScenario(servers(), {
      name: 'take_over',
      schema: 'CREATE TABLE item (id int PRIMARY KEY)',
      rows: 'INSERT INTO item SELECT generate_series(1, 100)',
    });
    const first = scenario.worker();
    await scenario.untilState(first, 'ready', 'all');
    await first.process.kill();
  });
  afterEach(async () => {
    await worker?.close();
    await composition?.close();
    worker = null;
    composition = null;
  });
  afterAll(async () => await scenario?.close());

  const post = async (command: RequestCommand): Promise<string> => {
    if (!composition) throw new Error('no composition');
    const token = requestToken();
    await appendRequest(composition.context.source.sql, token, { command, phases: [], options: {}, by: 'test' });
    return token;
  };

  it('is served by the new worker when that one has the lease, however far its take-over is', async () => {
    composition = await scenario.run.compose();
    const { context } = composition;
    const { sql } = context.source;
    const { sessions } = context.target;
    const taken = await post('verify');
    await sql.transaction(takeRequest);
    const waiting = await post('verify');
    let late: string | null = null;
    // A command that sees the new lease at once: the port is wrapped because that moment cannot be met from outside. The
    // former worker's sessions on the source end before the lease is taken, those on the target after it.
    const endWorker = sessions.endWorker.bind(sessions);
    sessions.endWorker = async (holder) => {
      late ??= await post('verify');
      return await endWorker(holder);
    };
    worker = await Worker.open(context);
    expect(await readRequest(sql, taken)).toMatchObject({ state: 'done', result: { exitCode: 6 } });
    expect(await readRequest(sql, waiting)).toMatchObject({ state: 'done', result: { exitCode: 4, unbegun: true } });
    expect(await readRequest(sql, late ?? '')).toMatchObject({ state: 'waiting' });
    await runSql(scenario.source, `DELETE FROM switchback.request`);
  });

  it('is carried out by whoever asked when the worker dies before it has begun it', async () => {
    const asleep = scenario.worker();
    await asleep.until(({ events }) => events.some((event) => event.type === 'lag'));
    process.kill(asleep.process.pid ?? 0, 'SIGSTOP');
    const answer = scenario.run.command('verify', scenario.run.plan, 'all');
    await expect.poll(async () => (await runSql(scenario.source, WAITING))[0]?.n, { timeout: 10_000 }).toBe(1);
    await asleep.process.kill();
    expectExit(await answer);
    expect((await answer).json).toMatchObject({ here: true });
  });
});
