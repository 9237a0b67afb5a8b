import { expect } from 'vitest';
import type { Event } from '../../src/domain/event.ts';
import { sleep } from '../../src/platform/clock.ts';
import { allRows } from './rows.ts';
import type { CommandAnswer, TestWorker } from './run.ts';
import { makeScene, type PlanOptions, type Scene, type SceneOptions, sceneOn } from './scene.ts';
import { runSql, type ServerPair } from './servers.ts';

/** A scene, with the words that a test of a whole life needs. */
export interface Scenario extends Scene {
  /** Runs statements as a client with the application's settings. */
  onSource(sql: string): Promise<Record<string, unknown>[]>;
  onTarget(sql: string): Promise<Record<string, unknown>[]>;
  /**
   * Waits until phases are in a state, or have been told to have been in it; fails at once when the worker has ended or
   * says that it cannot get there.
   */
  untilState(worker: TestWorker, state: string, ...phases: readonly string[]): Promise<void>;
  /** Runs a switch and fails with what it said unless it succeeds. */
  change(kind: 'cutover' | 'failback', ...phases: readonly string[]): Promise<void>;
  /** Runs `verify` and compares every row of both sides ourselves. */
  expectEqual(): Promise<void>;
  /** `status --json` of a phase. */
  phase(name: string): Promise<PhaseView>;
}

/** The parts of `status --json` that tests look at. */
export interface PhaseView {
  readonly name: string;
  readonly state: { readonly name: string };
  readonly source: { readonly role: string; readonly fenced: boolean } | null;
  readonly target: { readonly role: string; readonly fenced: boolean } | null;
  readonly lane: {
    readonly slot: string;
    readonly halt: { readonly finding: { readonly id: string; readonly fact: string } } | null;
  } | null;
  readonly next: readonly string[];
}

/** Why a worker does not come further by itself, from what it told; undefined while it does. */
export const obstacle = (events: readonly Event[]): string | undefined => {
  const found = events.find((e) => e.type === 'halted' || (e.type === 'finding' && e.finding.severity === 'blocks'));
  return found?.type === 'halted' || found?.type === 'finding' ? JSON.stringify(found.finding) : undefined;
};

/** Waits until the worker has told that phases are in a state; fails at once when it says that it cannot get there. */
export const untilState = async (worker: TestWorker, state: string, ...phases: readonly string[]): Promise<void> => {
  await worker.until(({ events }) => {
    const stopped = obstacle(events);
    if (stopped !== undefined) throw new Error(`the worker cannot go on: ${stopped}`);
    return phases.every((phase) => worker.state(phase) === state);
  });
};

/** Fails with what a command said unless it ended with this exit code. */
export const expectExit = (answer: CommandAnswer, exitCode = 0): void => {
  expect({ exitCode: answer.exitCode, said: answer.json }).toEqual({ exitCode, said: answer.json });
};

const STATES = `SELECT name, doc::json ->> 'name' AS state FROM switchback.phase`;

/** Every table of every schema, and the plan's own window. */
const DEFAULTS = { phases: [{ name: 'all', tables: ['*.*'] }], more: '' };

/** Makes the databases and the plan of a scenario. */
export const makeScenario = async (servers: ServerPair, options: SceneOptions): Promise<Scenario> => {
  const all = { ...DEFAULTS, ...options };
  return scenarioOf(await makeScene(servers, all), all.phases);
};

/** A plan for databases that stand already. */
export const scenarioOn = (urls: Pick<Scene, 'source' | 'target'>, options: PlanOptions): Scenario => {
  const all = { ...DEFAULTS, ...options };
  return scenarioOf(sceneOn(urls, all), all.phases);
};

const scenarioOf = (scene: Scene, phases: readonly { readonly name: string }[]): Scenario => {
  const { run, ...urls } = scene;
  const names = phases.map((phase) => phase.name);
  return {
    ...scene,
    onSource: (sql) => runSql(urls.source, sql),
    onTarget: (sql) => runSql(urls.target, sql),
    untilState: async (worker, state, ...phases) => {
      // A worker tells of changes only, and a phase may be where it is wanted since before this worker began.
      const isThere = async () => {
        const stored = await runSql(urls.source, STATES);
        return phases.every((phase) => stored.some((row) => row.name === phase && row.state === state));
      };
      let hasEnded = false;
      const ended = worker.process.ended().finally(() => {
        hasEnded = true;
      });
      const wait = async () => {
        while (!hasEnded) {
          const stopped = obstacle(worker.events);
          if (stopped !== undefined) throw new Error(`the worker cannot go on: ${stopped}`);
          if (phases.every((phase) => worker.state(phase) === state)) return;
          if (worker.events.length > 0 && (await isThere())) return;
          await sleep(50);
        }
      };
      await Promise.race([ended, wait()]);
    },
    change: async (kind, ...phases) => {
      expectExit(await run.command(kind, run.plan, ...phases, '--confirm', phases.join(',')));
    },
    expectEqual: async () => {
      expectExit(await run.command('verify', run.plan, ...names));
      const [source, target] = await Promise.all([allRows(urls.source), allRows(urls.target)]);
      expect(target).toEqual(source);
    },
    phase: async (name) => {
      const { json } = await run.command('status', run.plan);
      const found = (json.phases as readonly PhaseView[] | undefined)?.find((phase) => phase.name === name);
      if (found === undefined) throw new Error(`status does not show phase ${name}: ${JSON.stringify(json)}`);
      return found;
    },
  };
};
