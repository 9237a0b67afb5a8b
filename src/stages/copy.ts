import type { DeferredItem, DeferredKind } from '../databases/schema.ts';
import { SwitchbackError } from '../domain/errors.ts';
import type { TableName } from '../domain/table.ts';
import { serverTime } from '../sidecar/phases.ts';
import { readDeferred } from '../sidecar/records.ts';
import { EarlyBuilds } from './early-builds.ts';
import { guardOnReplica } from './guard.ts';
import type { LaneRunner } from './lane-runner.ts';
import type { StageTools } from './prepare.ts';

/** Builds at once: one per core of a small server. The server puts workers of its own to a large table's. */
const PARALLEL_BUILDS = 2;

/** Catching up takes as long as it takes; the operator's patience bounds it. Just below what a timer can hold. */
const CATCH_UP_BUDGET_MS = 20 * 24 * 3_600_000;

/**
 * Whether an item is built as soon as its table's rows are in, and so before the lane has caught up: all but what a row that
 * is there in two versions could break.
 */
const EARLY = { key: true, index: true, unique: false, 'foreign key': false } as const satisfies Record<
  DeferredKind,
  boolean
>;

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
  const items = await readDeferred<DeferredItem>(context.target.sql, phase.name);
  const early = items.filter((item) => EARLY[item.kind]);
  const built = new Set<DeferredItem>();
  await tenure.step(where, 'rows', async () => {
    await copyRows(runner, earlyBuilds(tools, early, built));
    return `${built.size} keys and indexes built meanwhile`;
  });
  // The lane finds rows by their key from here on, so keys come first; apply is idempotent until it has caught up.
  await tenure.step(where, 'keys', () =>
    build(
      tools,
      early.filter((item) => !isDone(item, built)),
    ),
  );
  await tenure.step(where, 'catch up', () => catchUp(runner, tools.signal));
  // An index build and an apply that both want table locks can deadlock; the stream waits meanwhile.
  await runner.stop();
  const late = items.filter((item) => !EARLY[item.kind]);
  await tenure.step(where, 'indexes', () => build(tools, late, phase.scope.tables));
  runner.start();
  await phase.enter({ name: 'following', since: await serverTime(context.source.sql) });
};

/** What is built of a partition by itself still has to join its partitioned table's index. */
const isDone = (item: DeferredItem, built: ReadonlySet<DeferredItem>): boolean => built.has(item) && item.drop !== null;

const copyRows = async (runner: LaneRunner, builds: EarlyBuilds): Promise<void> => {
  try {
    await runner.copy(builds.signal, (table) => builds.add(table));
  } catch (error) {
    await builds.fail(error);
  }
  await builds.finish();
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

/** `built` gets what has been built. */
const earlyBuilds = (tools: StageTools, early: readonly DeferredItem[], built: Set<DeferredItem>): EarlyBuilds =>
  new EarlyBuilds({
    items: early.filter((item) => !item.partitioned),
    signal: tools.signal,
    build: (items, signal) =>
      tools.context.schema.build(items, {
        guard: guardOnReplica(tools.tenure, [tools.phase.name]),
        parallel: PARALLEL_BUILDS,
        early: true,
        signal,
        onProgress: ({ item, ms }) => {
          built.add(item);
          tellBuilt(tools, item, { ms, done: built.size, total: early.length });
        },
      }),
  });

/** Builds the items, and gathers planner statistics of the tables. */
const build = async (
  tools: StageTools,
  items: readonly DeferredItem[],
  tables: readonly TableName[] = [],
): Promise<string> => {
  const { context, tenure, phase, signal } = tools;
  await context.schema.build(items, {
    guard: guardOnReplica(tenure, [phase.name]),
    parallel: PARALLEL_BUILDS,
    statistics: tables,
    signal,
    onProgress: ({ item, ...progress }) => tellBuilt(tools, item, progress),
  });
  return [`${items.length} built`, ...(tables.length > 0 ? [`statistics of ${tables.length} tables`] : [])].join(', ');
};

const tellBuilt = (
  { context, phase }: StageTools,
  item: DeferredItem,
  { ms, done, total }: { readonly ms: number; readonly done: number; readonly total: number },
): void =>
  context.emit({
    type: 'note',
    phase: phase.name,
    text: `built ${item.kind} ${item.name} in ${(ms / 1000).toFixed(1)} s (${done} of ${total})`,
  });
