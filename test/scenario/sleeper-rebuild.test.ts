import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Composition } from '../../src/compose.ts';
import { propose, rebuild } from '../../src/stages/rebuild/rebuild.ts';
import { expectExit, makeScenario, type Scenario } from '../support/scenario.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * A rebuild that is about to empty the target's tables sleeps right before it does. Another one takes over, the phase is
 * copied anew and cut over, clients write to the target: whoever wakes then must not empty the new primary.
 */
const servers = useServerPair();

describe('a rebuild that slept', () => {
  let scenario: Scenario;
  let composition: Composition | null = null;
  beforeAll(async () => {
    scenario = await makeScenario(servers(), {
      name: 'sleeper_rebuild',
      schema: 'CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL);',
      rows: 'INSERT INTO item SELECT i, i FROM generate_series(1, 300) i',
      more: 'switch: { window: 20s, max_lag: 10s }',
    });
  });
  afterAll(async () => {
    await composition?.close();
    await scenario?.close();
  });

  /** What happens to the run while the rebuild sleeps. */
  const takeOver = async (): Promise<void> => {
    const { run } = scenario;
    // It has slept for a minute by now; nobody waits for that here.
    await runSql(scenario.source, "UPDATE switchback.lease SET heartbeat_at = now() - interval '1 minute'");
    expectExit(await run.command('resume', run.plan, '--rebuild', '--confirm', 'test'));
    // The definition of the key, put off for the copy, was in the sidecar that is lost.
    await scenario.onTarget('ALTER TABLE item ADD PRIMARY KEY (id)');
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    await scenario.change('cutover', 'all');
    await scenario.onTarget('INSERT INTO item VALUES (301, 301)');
  };

  it('does not empty what has become the primary meanwhile', { timeout: 240_000 }, async () => {
    const { run } = scenario;
    await scenario
      .worker(undefined, { SWITCHBACK_FAILPOINT: 'copy:chunk-done:kill' })
      .process.ended()
      .catch(() => undefined);
    await scenario.onTarget('DROP SCHEMA switchback CASCADE');
    composition = await run.compose();
    const { context, traces } = composition;
    const { schema } = context;
    let hasSlept = false;
    const asleep = {
      ...context,
      schema: Object.assign(Object.create(schema) as typeof schema, {
        empty: async (...what: Parameters<typeof schema.empty>) => {
          hasSlept = true;
          await takeOver();
          await schema.empty(...what);
        },
      }),
    };
    const nothing = { stated: new Map(), awayFromTarget: new Set<string>() };
    const options = { context: asleep, traces, ...nothing, signal: new AbortController().signal };
    const woken = rebuild(options, await propose(options));
    await expect(woken).rejects.toMatchObject({ kind: 'deposed' });
    expect(hasSlept).toBe(true);
    expect(await scenario.onTarget('SELECT count(*)::int AS n FROM item')).toEqual([{ n: 301 }]);
    await scenario.expectEqual();
  });
});
