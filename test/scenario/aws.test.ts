import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Side } from '../../src/domain/position.ts';
import { askHere, startDoomed } from '../support/crash-points.ts';
import { describeWithMoto } from '../support/moto.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { Secrets } from '../support/secrets.ts';
import { useServerPair } from '../support/servers.ts';

/**
 * A phase that is led by a secret goes over and back, by commands as a person gives them. The secret says host, port and
 * database as the plan's URLs do, since the plan says nothing else.
 */
const servers = useServerPair();
const SECRET = 'shop/db';
const SLOW_MS = 300_000;

describeWithMoto('an application that reads a secret', () => {
  let scenario: Scenario;
  let secrets: Secrets;

  const textFor = (side: Side): string => {
    const { hostname, port, pathname } = new URL(scenario[side]);
    return JSON.stringify({
      username: 'app',
      password: 'x',
      host: hostname,
      port: Number(port),
      dbname: pathname.slice(1),
    });
  };
  const expectOn = async (side: Side): Promise<void> => {
    expect((await secrets.current(SECRET)).text).toBe(textFor(side));
    const { json } = await scenario.run.command('status', scenario.run.plan);
    expect(JSON.stringify(json)).not.toContain('its router leads clients to');
  };
  const killAt = async (point: string): Promise<void> => {
    const { run } = scenario;
    const doomed = startDoomed(run, ['cutover', run.plan, 'all', '--confirm', 'all'], `${point}:kill`);
    expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
  };
  const done = async (kind: 'cutover' | 'failback' | 'resume'): Promise<void> =>
    expect(await askHere(scenario.run, kind)).toMatchObject({ exitCode: 0 });

  beforeAll(async () => {
    secrets = new Secrets();
    scenario = await makeScenario(servers(), {
      schema: 'CREATE TABLE item (id bigint PRIMARY KEY, name text)',
      rows: `INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 100) n`,
      router: `{ kind: secrets-manager, secret: ${SECRET} }`,
      more: 'switch: { window: 30s, max_lag: 20s, blockers: { wait: 10s, then: abort } }',
    });
    await secrets.create(SECRET, textFor('source'));
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    await worker.stop();
  }, SLOW_MS);
  afterAll(async () => await scenario?.close());

  it(
    'is led over and back, also when the worker dies between the new version and its label',
    async () => {
      await killAt('secrets-manager:made');
      expect((await secrets.current(SECRET)).text).toBe(textFor('source'));
      await done('resume');
      await expectOn('target');
      await done('failback');
      await expectOn('source');
    },
    SLOW_MS,
  );

  it(
    'is led nowhere against the will of a person who edits the secret in the middle',
    async () => {
      await killAt('acted cutover/commit');
      const third = textFor('source').replace('127.0.0.1', 'third.internal');
      await secrets.write(SECRET, third);
      const parked = await askHere(scenario.run, 'resume');
      expect(parked).toMatchObject({ exitCode: 6 });
      expect(parked.message).toContain('was changed by somebody since it was looked at');
      expect((await secrets.current(SECRET)).text).toBe(third);
      await secrets.write(SECRET, textFor('target'));
      await done('resume');
      await expectOn('target');
    },
    SLOW_MS,
  );
});
