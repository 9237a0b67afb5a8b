import type { CreatedObject, DeferredItem } from '../databases/schema.ts';
import { SwitchbackError } from '../domain/errors.ts';
import { blocks } from '../domain/finding.ts';
import { type Direction, sidesOf } from '../domain/position.ts';
import { TRY_STAGE_AGAIN } from '../domain/remedy.ts';
import { displayName } from '../domain/table.ts';
import { laneName, writeLane } from '../sidecar/lanes.ts';
import { ownershipGuard } from '../sidecar/ownership.ts';
import { readDeferred, writeCreated, writeDeferred } from '../sidecar/records.ts';
import { changeFacts, readRun, writePinned } from '../sidecar/run.ts';
import type { RunContext } from './context.ts';
import type { Effect } from './effect.ts';
import { estimatePhase, sizeOf } from './estimate/estimate.ts';
import { guardOn, guardOnReplica } from './guard.ts';
import type { LaneRunner } from './lane-runner.ts';
import type { Phase } from './machine.ts';
import type { Mutex } from './mutex.ts';
import { publicationName, slotName } from './names.ts';
import { carryOutEffect } from './saga.ts';
import { type SharedLook, scopeFindings } from './scope.ts';
import { retireUnusedSlot } from './slots.ts';
import { snapshotBeforePrepare } from './snapshots/guards.ts';
import { progressNotes } from './snapshots/progress-notes.ts';
import type { Tenure } from './tenure.ts';

/** What a stage of one phase works with. */
export interface StageTools {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly phase: Phase;
  readonly signal: AbortSignal;
  /** A runner for the phase's forward lane with this slot; not opened. */
  readonly runnerFor: (slot: string) => LaneRunner;
  /** For what only one phase at a time may do. */
  readonly making: Mutex;
  /** The catalogue, as phases that are prepared one after the other look at it. */
  readonly look: Pick<SharedLook, 'scope'>;
}

/** The fence on the target has all the time that its table locks need: no application writes there. */
const FENCE_BUDGET_MS = 60_000;

/**
 * Makes everything stand that a copy needs, and fixes where the change stream starts before the first row is read
 * (DESIGN 4.1). A crash anywhere in here costs nothing but the repetition: what stands is found by the steps themselves.
 */
export const prepare = async (tools: StageTools): Promise<void> => {
  const { context, tenure, phase } = tools;
  const where = { scope: 'prepare', phases: [phase.name] };
  const effect = (step: string, what: Effect) => carryOutEffect(tenure, { where, step }, what);
  if (context.plan.snapshots?.before.includes('prepare')) {
    const act = () => snapshotBeforePrepare(context, { signal: tools.signal, progress: progressNotes(context) });
    // One for all phases, of which several are prepared at once.
    await effect('snapshot', { act: () => tools.making.run(act) });
  }
  await effect('tables', { act: () => pinTables(tools) });
  await effect('schema', {
    probe: async () => ((await isSchemaMade(context)) ? '' : null),
    // It is one for all phases, of which several are prepared at once: one of them makes it.
    act: () => tools.making.run(() => makeSchema(context)),
  });
  await tenure.step(where, 'checks', () => checkTarget(tools));
  await effect('fence target', { act: () => fenceTarget(tools) });
  await effect('defer indexes', { act: () => deferIndexes(tools) });
  await effect('publish', { act: () => publish(tools) });
  await effect('slot', { act: () => makeSlot(tools) });
  await phase.enter({ name: 'prepared' });
};

const isSchemaMade = async (context: RunContext): Promise<boolean> =>
  (await readRun(context.target.sql))?.facts.schemaReady === true;

/** The target's schema is one for the whole run. The record of it is in the target, in the same transaction. */
const makeSchema = async (context: RunContext): Promise<string> => {
  if (await isSchemaMade(context)) return 'made for another phase';
  const { schema, plan } = context;
  await schema.create({
    origin: plan.schema,
    record: async (sql, created: readonly CreatedObject[]) => {
      await writeCreated(sql, created);
      await changeFacts(sql, (facts) => ({ ...facts, schemaReady: true }));
    },
  });
  return `from ${plan.schema.from}`;
};

/**
 * What the phase is made of is looked up once more and from now on stays so: a table that comes later would have no copy
 * and no lane, and a switch would lose its rows without a word.
 */
const pinTables = async ({ look, tenure, phase }: StageTools): Promise<string> => {
  const scope = (await look.scope()).phases.get(phase.name);
  if (!scope) throw new SwitchbackError('internal', `the plan has no phase "${phase.name}"`);
  await phase.runner?.close();
  phase.runner = null;
  phase.revise(scope);
  const pinned = { tables: scope.tables.map(displayName), estimate: estimatePhase(sizeOf(scope)) };
  await tenure.act((sql) => writePinned(sql, phase.name, pinned));
  return `${scope.tables.length} tables`;
};

const checkTarget = async ({ context, phase, look }: StageTools): Promise<void> => {
  const names = new Set([phase.name]);
  const now = await look.scope();
  // After a crash in here the indexes may have been put off already.
  const deferred = await readDeferred<DeferredItem>(context.target.sql, phase.name);
  const found = await context.preflight({
    scope: { phases: new Map([[phase.name, phase.scope]]), ignored: now.ignored },
    begun: new Set(),
    schemaReady: true,
    copying: deferred.length > 0 ? names : new Set(),
  });
  const findings = [...scopeFindings(now, names), ...found];
  for (const finding of findings) context.emit({ type: 'finding', phase: phase.name, finding });
  if (!blocks(findings)) return;
  const list = findings.filter((f) => f.severity === 'blocks').map((f) => `  ${f.subject}: ${f.fact}; ${f.remedy}`);
  throw new SwitchbackError('findings', [`phase ${phase.name} cannot be prepared:`, ...list].join('\n'), {
    findings,
    remedy: `mend what is named, ${TRY_STAGE_AGAIN}`,
  });
};

/** From now on nobody but our appliers writes to the target's tables (fault 65). */
const fenceTarget = async ({ context, tenure, phase, signal }: StageTools): Promise<undefined> => {
  const owned = { phases: [phase.name], epoch: tenure.epoch, by: context.holder };
  await context.source.sql.transaction(ownershipGuard({ ...owned, role: 'primary', fenced: false }));
  await context.target.database.fence({
    tables: phase.scope.tables,
    reason: `phase ${phase.name} is still on the source database`,
    guard: ownershipGuard({ ...owned, role: 'replica', fenced: true }),
    blockers: { waitMs: FENCE_BUDGET_MS, action: 'abort' },
    budgetMs: FENCE_BUDGET_MS,
    onBlocked: (blockers) => context.emit({ type: 'blocked', phases: [phase.name], blockers }),
    signal,
  });
};

/** The definitions are stored before anything is dropped, so that no crash can lose one. */
const deferIndexes = async ({ context, tenure, phase }: StageTools): Promise<string> => {
  const { target, schema } = context;
  const guard = guardOnReplica(tenure, [phase.name]);
  let items = await readDeferred<DeferredItem>(target.sql, phase.name);
  if (items.length === 0) {
    items = await schema.capture(phase.scope.tables);
    const captured = items;
    await target.sql.transaction(async (sql) => {
      await guard(sql);
      await writeDeferred(sql, phase.name, captured);
    });
  }
  await schema.drop(items, guard);
  return `${items.length} indexes and constraints`;
};

/** Both ways at once: a publication that is made later could miss what writers have open (fault 26). */
const publish = async ({ context, tenure, phase }: StageTools): Promise<undefined> => {
  const { tables, roots } = phase.scope;
  const publication = publicationName(context, phase.name);
  for (const direction of ['forward', 'reverse'] as const satisfies readonly Direction[]) {
    const guard = guardOn(tenure, sidesOf(direction).from, [phase.name]);
    await context.engine.publish({ direction, tables, roots, publication, guard });
  }
};

/**
 * Always a new name: a worker that slept right before it would make its slot makes one that no lane reads, and not the slot of
 * the copy that a newer worker has begun meanwhile anew. No row has been read yet, so what an earlier attempt left may go.
 */
const makeSlot = async (tools: StageTools): Promise<string> => {
  const { context, tenure, phase } = tools;
  const name = laneName(phase.name, 'forward');
  const slot = slotName(context, phase.name, { direction: 'forward', generation: 'prepare' });
  await phase.runner?.close();
  phase.runner = null;
  await retireUnusedSlot(tools, phase.name, 'forward');
  const publication = publicationName(context, phase.name);
  await tenure.act((sql) =>
    writeLane(sql, { name, phase: phase.name, direction: 'forward', slot, publication, halt: null }),
  );
  phase.runner = tools.runnerFor(slot);
  await phase.runner.open({ kind: 'create' });
  return slot;
};
