import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { type Play, type Said, say } from '../../support/runbook.ts';
import type { Scene } from '../../support/scene.ts';
import { runSql, type ServerPair } from '../../support/servers.ts';
import type { Terminal } from '../../support/terminal.ts';

/** The servers, from within a hook or a test. */
export type Servers = () => ServerPair;

/** Registers the scenario of an entry. */
export type EntryTest = (id: string, work: (play: Play) => Promise<void>) => void;

/** A scene of one table. */
export const ITEM = {
  schema: 'CREATE TABLE item (id int PRIMARY KEY, name text)',
  rows: `INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 100) n`,
} as const;

/** As when the network of our processes is gone: the server ends their sessions. */
export const END_OUR_SESSIONS = `
  SELECT pg_terminate_backend(pid) FROM pg_stat_activity
   WHERE datname = current_database() AND starts_with(application_name, 'switchback/')`;

/** A window that other people's tests on the same machine do not exhaust. */
export const WIDE = 'switch: { window: 60s, max_lag: 20s, blockers: { wait: 1s, then: abort } }';

/** Runs the worker in this process until every phase is ready or soaking. */
export const untilReady = async ({ run }: Pick<Scene, 'run'>): Promise<void> => {
  const ready = await say(run, 'run', run.plan, '--until', 'ready');
  expect(ready, ready.text).toMatchObject({ exitCode: 0 });
};

/** A severe command on phases, `all` without any. */
export const confirmed = async (
  { run }: Pick<Scene, 'run'>,
  command: string,
  ...phases: readonly string[]
): Promise<Said> => {
  const names = phases.length === 0 ? ['all'] : phases;
  return await say(run, command, run.plan, ...names, '--confirm', names.join(','));
};

/** A process that meets a failpoint. */
export const doomed = (scene: Scene, argv: readonly string[], failpoint: string): Terminal =>
  scene.terminalWith({ ...scene.run.self.environment, SWITCHBACK_FAILPOINT: failpoint }, ...argv);

/** Whether a process stands still. */
export const isStopped = ({ process: { pid } }: Pick<Terminal, 'process'>): boolean =>
  / T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

/** The durable state of a phase. */
export const stateOf = async ({ source }: Pick<Scene, 'source'>, phase: string): Promise<string> => {
  const [row] = await runSql(
    source,
    `SELECT doc::json ->> 'name' AS state FROM switchback.phase WHERE name = '${phase}'`,
  );
  return String(row?.state);
};
