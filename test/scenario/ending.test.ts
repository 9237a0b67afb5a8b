import { afterEach, describe, expect, it } from 'vitest';
import { askHere, phaseHere, startDoomed, writableSides } from '../support/crash-points.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * An abort or a finalise whose process dies between its steps has taken something away already: lanes, slots, a fence. Whoever
 * comes next must not take the phase for what its state says, and `resume` goes on to the end that was asked for.
 */
const servers = useServerPair();
let count = 0;

describe('an end that a crash has interrupted', () => {
  let scenario: Scenario;
  afterEach(async () => await scenario?.close());

  const make = async (): Promise<Scenario> => {
    count += 1;
    scenario = await makeScenario(servers(), {
      name: `ending_${count}`,
      schema: 'CREATE TABLE item (id int PRIMARY KEY)',
      rows: 'INSERT INTO item SELECT generate_series(1, 100)',
      more: 'switch: { max_lag: 20s, window: 30s }\nsoak: { for: 1h }',
    });
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    await worker.stop();
    return scenario;
  };

  const die = async (args: readonly string[], point: string): Promise<void> => {
    const doomed = startDoomed(scenario.run, [args[0] ?? '', scenario.run.plan, ...args.slice(1)], `${point}:kill`);
    expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
  };

  const expectTold = async (command: string): Promise<void> => {
    // A worker that comes tells it and leaves the phase alone; `status` says it to whoever looks later.
    const answer = await askHere(scenario.run, command === 'abort' ? 'cutover' : 'failback');
    expect(answer).toMatchObject({ exitCode: 4, message: `the ${command} of phase all has begun and not ended` });
    expect(await phaseHere(scenario.run, 'all')).toMatchObject({
      stuck: { fact: answer.message },
      next: [`switchback resume ${scenario.run.plan} all`],
    });
  };

  const hasSidecar = async (url: string): Promise<boolean> =>
    (await runSql(url, `SELECT to_regclass('switchback.run') IS NOT NULL AS there`))[0]?.there === true;

  it.each(['begun abort/lane', 'acted abort/lane', 'acted abort/rows', 'acted abort/fence target'])(
    'abort, %s',
    async (point) => {
      await make();
      await die(['abort', '--confirm', 'test'], point);
      await expectTold('abort');
      expect(await askHere(scenario.run, 'resume')).toMatchObject({ exitCode: 0 });
      expect([await hasSidecar(scenario.source), await hasSidecar(scenario.target)]).toEqual([false, false]);
      expect(await writableSides(scenario, 'item')).toEqual(['source', 'target']);
      expect(await scenario.onTarget('SELECT count(*)::int AS n FROM item')).toEqual([{ n: 0 }]);
    },
  );

  /** `status` as a person reads it, who has nothing but the plan. */
  const expectUnended = async (): Promise<void> => {
    const answer = await scenario.run.command('status', scenario.run.plan);
    const remedy = `to remove it: switchback resume ${scenario.run.plan}`;
    expect(answer).toMatchObject({ exitCode: 0, json: { unended: { id: 'run/unended', remedy } } });
  };

  it.each(['end:phases over', 'end:target done'])('abort, %s', async (point) => {
    await make();
    await die(['abort', '--confirm', 'test'], point);
    await expectUnended();
    const resumed = await askHere(scenario.run, 'resume');
    expect(resumed).toMatchObject({ exitCode: 0, message: 'the run is at its end; nothing of ours remains' });
    expect([await hasSidecar(scenario.source), await hasSidecar(scenario.target)]).toEqual([false, false]);
    expect(await writableSides(scenario, 'item')).toEqual(['source', 'target']);
  });

  it('finalise, end:phases over, and then without the fence', async () => {
    await make();
    expect(await askHere(scenario.run, 'cutover')).toMatchObject({ exitCode: 0 });
    await die(['finalise', 'all', '--early', '--confirm', 'all'], 'end:phases over');
    await expectUnended();
    const resumed = await askHere(scenario.run, 'resume');
    expect(resumed).toMatchObject({ exitCode: 0, message: expect.stringContaining('--unfence --confirm all') });
    expect([await hasSidecar(scenario.source), await hasSidecar(scenario.target)]).toEqual([true, false]);
    expect(await writableSides(scenario, 'item')).toEqual(['target']);
    // The fence that stays is what was asked for.
    const answer = await scenario.run.command('status', scenario.run.plan);
    expect(answer).toMatchObject({ exitCode: 0, json: { unended: null } });
    await die(['finalise', 'all', '--unfence', '--confirm', 'all'], 'end:target done');
    await expectUnended();
    expect(await askHere(scenario.run, 'resume')).toMatchObject({ exitCode: 0 });
    expect(await hasSidecar(scenario.source)).toBe(false);
  });

  it.each(['begun finalise/lane', 'acted finalise/lane', 'acted finalise/target'])('finalise, %s', async (point) => {
    await make();
    expect(await askHere(scenario.run, 'cutover')).toMatchObject({ exitCode: 0 });
    await die(['finalise', 'all', '--early', '--confirm', 'all'], point);
    await expectTold('finalise');
    expect(await askHere(scenario.run, 'resume')).toMatchObject({ exitCode: 0 });
    expect(await writableSides(scenario, 'item')).toEqual(['target']);
    expect(await hasSidecar(scenario.target)).toBe(false);
  });
});
