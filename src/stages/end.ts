import type { CreatedObject, DeferredItem } from '../databases/schema.ts';
import { SwitchbackError } from '../domain/errors.ts';
import { type Direction, type Side, sidesOf } from '../domain/position.ts';
import { isOver, primarySide } from '../domain/protocol.ts';
import { displayName } from '../domain/table.ts';
import { failpoint } from '../platform/failpoint.ts';
import { dropSidecar } from '../sidecar/install.ts';
import { forgetLane, laneName, readLanes } from '../sidecar/lanes.ts';
import { ownershipGuard, readOwnership } from '../sidecar/ownership.ts';
import { serverTime } from '../sidecar/phases.ts';
import { readCreated, readDeferred } from '../sidecar/records.ts';
import { type Ending, readRun, writeEnding } from '../sidecar/run.ts';
import { portsOf, type RunContext } from './context.ts';
import { type Effect, untilKnown } from './effect.ts';
import { assertFinalisable, assertLedRight, assertNeverMoved, assertSeenToArrive } from './end-guards.ts';
import { guardOn, guardOnRemoval, guardOnReplica } from './guard.ts';
import type { Phase } from './machine.ts';
import { publicationName } from './names.ts';
import { leadReadersBack } from './reads/move.ts';
import { assertReadersMoved } from './reads/where.ts';
import { carryOutEffect } from './saga.ts';
import { sweepSlots } from './slots.ts';
import type { Tenure } from './tenure.ts';

/** What ending phases works with. */
export interface EndTools {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly phases: readonly Phase[];
  readonly all: readonly Phase[];
  readonly signal: AbortSignal;
}

/** What is left behind, as sentences for people. */
export type Remains = readonly string[];

/** Nobody waits for these locks, so they may be asked for patiently. */
const PATIENT_MS = 60_000;

/**
 * Undoes phases that have not been cut over, so that source and target are as they were found. Throws kind `refused` for a
 * phase that has been, and offers the failback (fault 64).
 */
export const abortPhases = async (tools: EndTools, options: { readonly unfence: boolean }): Promise<Remains> => {
  const { context, phases, all } = tools;
  for (const phase of phases) assertAbortable(context, phase);
  await assertLedRight(context, phases);
  if (options.unfence) await assertSeenToArrive(context, phases);
  else await assertNeverMoved(context, phases);
  const led = phases.filter(({ state }) => state.name !== 'aborted').map(({ name }) => name);
  await leadReadersBack(tools, { phases: led, what: 'abort' });
  const last = all.every((phase) => phases.includes(phase) || phase.state.name === 'aborted');
  await begin(tools, { command: 'abort', unfence: options.unfence });
  // A phase that is still `planned` may have been prepared half-way.
  const pinned = (await readRun(context.source.sql))?.facts.tables ?? {};
  // Tables of ours go with the run's end, rows and all.
  const keepsTables = !last || (await readCreated<CreatedObject>(context.target.sql)).length === 0;
  for (const phase of phases) {
    const begun = phase.state.name !== 'planned' || pinned[phase.name] !== undefined;
    if (begun && phase.state.name !== 'aborted') await abortPhase(tools, phase, keepsTables);
    if (phase.state.name !== 'aborted')
      await phase.enter({ name: 'aborted', at: await serverTime(context.source.sql) });
  }
  return all.every(({ state }) => isOver(state)) ? await endRun(tools) : [];
};

/** From here on the phases can only go on to their end: whoever comes after a crash does not take them for what they were. */
const begin = async ({ tenure, phases, signal }: EndTools, ending: Ending): Promise<void> => {
  const open = phases.filter(({ state }) => !isOver(state));
  if (open.length === 0) return;
  if (signal.aborted && !open.some(isEnding)) {
    throw new SwitchbackError('refused', `interrupted before the ${ending.command} was begun; nothing was done`);
  }
  const names = open.map(({ name }) => name);
  await untilKnown({
    act: async () => {
      await tenure.act((sql) => writeEnding(sql, names, ending));
      return undefined;
    },
  });
  for (const phase of open) phase.ending = ending;
};

/** Whether a phase's end has begun and has not been reached. */
export const isEnding = (phase: Phase): boolean => phase.ending !== null && !isOver(phase.state);

/** The error for whoever finds a phase whose end has begun. */
export const endingError = (context: RunContext, phase: Phase): SwitchbackError =>
  new SwitchbackError('refused', `the ${phase.ending?.command} of phase ${phase.name} has begun and not ended`, {
    remedy: `to go on with it: switchback resume ${context.plan.path} ${phase.name}`,
  });

/** Throws kind `refused` for a phase that has been cut over or is being. */
export const assertAbortable = (context: RunContext, phase: Phase): void => {
  const { name } = phase.state;
  if (name === 'soaking') {
    throw new SwitchbackError('refused', `phase ${phase.name} has been cut over; there is nothing left to abort`, {
      remedy: `to go back without losing a write: switchback failback ${context.plan.path} ${phase.name} --confirm ${phase.name}`,
    });
  }
  if (name === 'finalised') {
    throw new SwitchbackError('refused', `phase ${phase.name} is finalised: its way back was given up`, {
      remedy: `restore from a snapshot, or migrate anew; what was done says: switchback report ${context.plan.path}`,
    });
  }
  if (name === 'switching') {
    throw new SwitchbackError('refused', `phase ${phase.name} is in the middle of a switch`, {
      remedy: `switchback resume ${context.plan.path}`,
    });
  }
};

const abortPhase = async (tools: EndTools, phase: Phase, keepsTables: boolean): Promise<void> => {
  const { tenure } = tools;
  const where = { scope: 'abort', phases: [phase.name] };
  const effect = (step: string, act: Effect['act']) => carryOutEffect(tenure, { where, step }, { act });
  await effect('lane', () => removeLanes(tools, phase));
  if (keepsTables) await effect('rows', () => emptyTarget(tools, phase));
  await effect('fence target', () => unfence(tools, phase, 'target'));
  // An undone switch leaves its trigger there, disabled.
  await effect('fence source', () => unfence(tools, phase, 'source'));
};

/** The target's tables are as they were found: empty, with their indexes and constraints. */
const emptyTarget = async ({ context, tenure, signal }: EndTools, phase: Phase): Promise<undefined> => {
  // Before `prepared` nobody has made sure that the rows there are none of somebody else's; we have copied none yet.
  if (phase.state.name !== 'planned')
    await context.schema.empty(phase.scope.tables, guardOnReplica(tenure, [phase.name]));
  const items = await readDeferred<DeferredItem>(context.target.sql, phase.name);
  // A phase that was prepared half-way may have no ownership yet, and has put nothing off then.
  const guard = guardOn(tenure, 'target', [phase.name]);
  await context.schema.build(items, { guard, parallel: 1, signal, onProgress: () => undefined });
};

/** The names are read under the lease: those that a newer worker has given are none of ours. */
const removeLanes = async ({ context, tenure }: EndTools, phase: Phase): Promise<undefined> => {
  await phase.runner?.close();
  phase.runner = null;
  const lanes = await tenure.act(readLanes);
  const publication = publicationName(context, phase.name);
  for (const direction of ['forward', 'reverse'] as const satisfies readonly Direction[]) {
    const { from, to } = sidesOf(direction);
    const name = laneName(phase.name, direction);
    const slot = lanes.find((lane) => lane.name === name)?.slot ?? null;
    await context.engine.retire({
      direction,
      slot,
      publication,
      guard: guardOn(tenure, from, [phase.name]),
      guardWritten: guardOn(tenure, to, [phase.name]),
    });
    await portsOf(context, to).sql.transaction(async (sql) => {
      await guardOn(tenure, to, [phase.name])(sql);
      await forgetLane(sql, name);
    });
  }
  await sweepSlots({ context, tenure }, [phase]);
};

const unfence = async (tools: EndTools, phase: Phase, side: Side): Promise<undefined> => {
  const { context, tenure, signal } = tools;
  // A replica stays one in the record, although nothing of ours refuses writes there any more.
  const role = primarySide(phase.state) === side ? 'primary' : 'replica';
  await portsOf(context, side).database.lift({
    tables: phase.scope.tables,
    reason: '',
    remove: true,
    guard: ownershipGuard({ phases: [phase.name], epoch: tenure.epoch, role, fenced: false, by: context.holder }),
    blockers: { waitMs: PATIENT_MS, action: 'abort' },
    budgetMs: PATIENT_MS,
    onBlocked: (blockers) => context.emit({ type: 'blocked', phases: [phase.name], blockers }),
    signal,
  });
};

/**
 * When all phases are at their end: what we made on the target goes if none of them stays there, then the sidecars. With the
 * source's goes the fence's function, and every fence with that, so it stays while a finalised phase keeps its fence. May be
 * repeated, also when an earlier process died in the middle of it.
 */
export const endRun = async ({
  context,
  tenure,
  all,
}: Pick<EndTools, 'context' | 'tenure' | 'all'>): Promise<Remains> => {
  const fenced = await fencedPhases(context, all);
  await tenure.flush();
  failpoint('end:phases over');
  const remaining = all.every(({ state }) => state.name === 'aborted') ? await undoCreated({ context, tenure }) : [];
  await removeSidecar(context, tenure, 'target');
  failpoint('end:target done');
  if (fenced.length === 0) await removeSidecar(context, tenure, 'source');
  return [...remaining, ...remainingFence(context, fenced)];
};

const undoCreated = async ({ context, tenure }: Pick<EndTools, 'context' | 'tenure'>): Promise<Remains> => {
  const created = await readCreated<CreatedObject>(context.target.sql);
  const remaining = await context.schema.undo(created, guardOnRemoval(tenure, 'target'));
  return remaining.map((object) => `${object.kind} ${object.identity} on the target: ${object.reason}`);
};

const removeSidecar = async (context: RunContext, tenure: Tenure, side: Side): Promise<void> => {
  await portsOf(context, side).sql.transaction((sql) => dropSidecar(sql, guardOnRemoval(tenure, side)));
};

const fencedPhases = async (context: RunContext, all: readonly Phase[]): Promise<readonly Phase[]> => {
  const names = (await readOwnership(context.source.sql)).filter((row) => row.fenced).map((row) => row.phase);
  return all.filter((phase) => phase.state.name === 'finalised' && names.includes(phase.name));
};

/**
 * Ends the soak of phases: the way back is given up and our objects go. The source stays fenced unless `unfence` is set,
 * so that a forgotten client gets an error rather than write where nobody looks.
 */
export const finalisePhases = async (
  tools: EndTools,
  options: { readonly unfence: boolean; readonly early: boolean },
): Promise<Remains> => {
  const { context, tenure, phases } = tools;
  for (const phase of phases) await assertFinalisable(context, phase, options.early);
  if (options.unfence) {
    await assertLedRight(context, phases);
    await assertSeenToArrive(context, phases);
  }
  const open = phases.filter((phase) => !isOver(phase.state) && !isEnding(phase));
  await assertReadersMoved(
    context,
    open.map(({ name }) => name),
  );
  await begin(tools, { command: 'finalise', unfence: options.unfence });
  for (const phase of phases) {
    const where = { scope: 'finalise', phases: [phase.name] };
    const effect = (step: string, act: Effect['act']) => carryOutEffect(tenure, { where, step }, { act });
    await effect('lane', () => removeLanes(tools, phase));
    await effect('target', () => unfence(tools, phase, 'target'));
    if (options.unfence) await effect('unfence source', () => unfence(tools, phase, 'source'));
    if (phase.state.name !== 'finalised') {
      await phase.enter({ name: 'finalised', at: await serverTime(context.source.sql) });
    }
  }
  if (tools.all.every(({ state }) => isOver(state))) return await endRun(tools);
  return remainingFence(context, await fencedPhases(context, tools.all));
};

const remainingFence = (context: RunContext, fenced: readonly Phase[]): Remains => {
  if (fenced.length === 0) return [];
  const tables = fenced.flatMap((phase) => phase.scope.tables.map(displayName));
  const names = fenced.map((phase) => phase.name);
  return [
    `on the source: the fence of ${tables.length} tables (${tables.slice(0, 8).join(', ')}${tables.length > 8 ? ', …' : ''})`,
    'on the source: schema switchback (the fence’s function, ownership, journal)',
    `to remove both: switchback finalise ${context.plan.path} ${names.join(' ')} --unfence --confirm ${names.join(',')}`,
  ];
};
