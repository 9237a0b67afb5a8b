import type { DeferredItem } from '../databases/schema.ts';
import { SwitchbackError } from '../domain/errors.ts';
import { serverTime } from '../sidecar/phases.ts';
import { readDeferred } from '../sidecar/records.ts';
import { guardOnReplica } from './guard.ts';
import type { LaneRunner } from './lane-runner.ts';
import type { StageTools } from './prepare.ts';

/** Builds at once: one per core of a small server; the copy's own measurements will replace it. */
const PARALLEL_BUILDS = 2;

/** Catching up takes as long as it takes; the operator's patience bounds it. Just below what a timer can hold. */
const CATCH_UP_BUDGET_MS = 20 * 24 * 3_600_000;

/**
 * Copies a phase's rows, catches up with what changed meanwhile, and builds the indexes and constraints that were put off
 * (DESIGN 4.2, 4.3). May be repeated from any point: chunks are journaled, builds skip what is there.
 */
export const copy = async (tools: StageTools): Promise<void> => {
  const { tenure, phase, context } = tools;
  const where = { scope: 'copy', phases: [phase.name] };
  const runner = phase.runner;
  if (!runner) throw new SwitchbackError('internal', `phase ${phase.name} has no lane`);
  if (phase.state.name === 'prepared') await phase.enter({ name: 'copying' });
  await tenure.step(where, 'rows', () => runner.copy(tools.signal));
  // The lane finds rows by their key from here on, so keys come first; apply is idempotent until it has caught up.
  await tenure.step(where, 'keys', () => build(tools, (item) => item.kind === 'key'));
  await tenure.step(where, 'catch up', () => catchUp(runner, tools.signal));
  // An index build and an apply that both want table locks can deadlock; the stream waits meanwhile.
  await runner.stop();
  await tenure.step(where, 'indexes', () => build(tools, (item) => item.kind !== 'key'));
  await tenure.step(where, 'statistics', () => context.schema.analyze(phase.scope.tables, tools.signal));
  runner.start();
  await phase.enter({ name: 'following', since: await serverTime(context.source.sql) });
};

const catchUp = async (runner: LaneRunner, signal: AbortSignal): Promise<void> => {
  for (;;) {
    const { strictFrom } = await runner.lane.applied();
    if (strictFrom === null) throw new SwitchbackError('internal', `the copy of lane ${runner.name} has not ended`);
    await runner.drain({ to: strictFrom, budgetMs: CATCH_UP_BUDGET_MS, signal });
    // A row that had to be read again moves the point from which apply is strict.
    if ((await runner.lane.applied()).strictFrom === strictFrom) return;
  }
};

const build = async (tools: StageTools, wanted: (item: DeferredItem) => boolean): Promise<string> => {
  const { context, tenure, phase, signal } = tools;
  const items = (await readDeferred<DeferredItem>(context.target.sql, phase.name)).filter(wanted);
  await context.schema.build(items, {
    guard: guardOnReplica(tenure, [phase.name]),
    parallel: PARALLEL_BUILDS,
    signal,
    onProgress: ({ item, done, total, ms }) =>
      context.emit({
        type: 'note',
        phase: phase.name,
        text: `built ${item.kind} ${item.name} in ${(ms / 1000).toFixed(1)} s (${done} of ${total})`,
      }),
  });
  return `${items.length} built`;
};
