import { type ChildProcess, spawn } from 'node:child_process';
import { sleep } from '../../src/platform/clock.ts';
import { carryOut } from '../../src/stages/command.ts';
import { type PhaseStatus, readStatus } from '../../src/stages/status.ts';
import type { TestRun } from './run.ts';
import type { Scenario } from './scenario.ts';
import { runSql } from './servers.ts';

/** What a command is asked in this process, by a composition that has never seen the run. */
export interface HereAnswer {
  readonly exitCode: number;
  readonly message: string;
  readonly remedy?: string;
}

/** Carries a command out as a process on another machine would, without the cost of starting one. */
export const askHere = async (
  run: TestRun,
  command: 'cutover' | 'failback' | 'resume' | 'abort' | 'finalise',
  options: Readonly<Record<string, boolean>> = {},
): Promise<HereAnswer> => {
  const composition = await run.compose();
  try {
    return await carryOut(
      composition.context,
      { command, phases: [], options, by: 'test' },
      { signal: new AbortController().signal, onJournal: () => undefined },
    );
  } finally {
    await composition.close();
  }
};

/** What `status` says of a phase, read as by a machine that has never seen the run. */
export const phaseHere = async (run: TestRun, name: string): Promise<PhaseStatus> => {
  const composition = await run.compose();
  try {
    const found = (await readStatus(composition.context)).phases.find((phase) => phase.name === name);
    if (!found) throw new Error(`status does not show phase ${name}`);
    return found;
  } finally {
    await composition.close();
  }
};

/** Fails when the work has not ended in time. */
export const withDeadline = async <T>(ms: number, work: () => Promise<T>): Promise<T> => {
  const stop = new AbortController();
  const late = sleep(ms, stop.signal).then(() => {
    throw new Error(`not done within ${ms} ms`);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    late.catch(() => undefined);
    stop.abort();
  }
};

/** A command that meets a failpoint. */
export interface DoomedCommand {
  readonly process: ChildProcess;
  /** Exit code, or the signal that ended it, and what it printed last. */
  readonly ended: Promise<{
    readonly code: number | null;
    readonly signal: NodeJS.Signals | null;
    readonly out: string;
  }>;
}

/** Starts a command with a failpoint armed; `action` is `kill` or `stop`. */
export const startDoomed = (run: TestRun, args: readonly string[], failpoint: string): DoomedCommand => {
  const child = spawn(process.execPath, [run.self.script, ...args, '--json'], {
    env: { ...run.self.environment, SWITCHBACK_FAILPOINT: failpoint },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  const onData = (chunk: Buffer) => {
    out = (out + chunk.toString()).slice(-4_000);
  };
  child.stdout?.on('data', onData);
  child.stderr?.on('data', onData);
  const ended = new Promise<Awaited<DoomedCommand['ended']>>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, out }));
  });
  return { process: child, ended };
};

const isWritable = async (url: string, table: string): Promise<boolean> => {
  try {
    await runSql(url, `BEGIN; DELETE FROM ${table} WHERE false; ROLLBACK`);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === '25006') return false;
    throw error;
  }
};

/** The sides on which an application can write to a table now. */
export const writableSides = async (
  { source, target }: Pick<Scenario, 'source' | 'target'>,
  table: string,
): Promise<readonly ('source' | 'target')[]> => {
  const [onSource, onTarget] = await Promise.all([isWritable(source, table), isWritable(target, table)]);
  return [...(onSource ? (['source'] as const) : []), ...(onTarget ? (['target'] as const) : [])];
};

/** Where a switch can be left by a crash: every step that its journal names, before the effect and after it. */
export const crashPoints = async (
  { source }: Pick<Scenario, 'source'>,
  kind: 'cutover' | 'failback',
): Promise<readonly string[]> => {
  const rows = await runSql(
    source,
    `SELECT step FROM switchback.journal WHERE scope LIKE '${kind}-%' GROUP BY step ORDER BY min(id)`,
  );
  const steps = rows.map(({ step }) => String(step)).filter((step) => step !== 'checks');
  // What is done is recorded together with the next intent, so that `begun` of the next step is also `done` of this one.
  const inSteps = steps.flatMap((step) => [`begun ${kind}/${step}`, `acted ${kind}/${step}`]);
  return [`begun ${kind}/checks`, `acted ${kind}/raise`, `acted ${kind}/intent`, ...inSteps, `done ${kind}/states`];
};
