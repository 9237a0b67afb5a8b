import { SwitchbackError } from '../domain/errors.ts';
import { laneDirection } from '../domain/phase.ts';
import { type Side, sidesOf } from '../domain/position.ts';
import { displayName, type Table } from '../domain/table.ts';
import { ownershipGuard } from '../sidecar/ownership.ts';
import { writePinned } from '../sidecar/run.ts';
import { portsOf, type RunContext } from './context.ts';
import type { Phase } from './machine.ts';
import { scopeOf } from './scope.ts';
import type { Tenure } from './tenure.ts';

/** What revising works with. */
export interface ReviseTools {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly phase: Phase;
  readonly signal: AbortSignal;
}

/** Nobody waits for the fence of a new partition. */
const FENCE_BUDGET_MS = 60_000;

/**
 * Looks up what a phase is made of by now: columns that have changed, and partitions that have come. A partition was
 * published from its first row on as part of its root, so the lane brings all of it once the side that the lane writes to
 * has it too and is fenced there. Rows that it had before it was attached are found by the next verification, which has to
 * come before a switch. Throws kind `refused` while the other side lacks a partition. No lane of the phase may be open.
 */
export const reviseScope = async (tools: ReviseTools): Promise<void> => {
  const { context, tenure, phase } = tools;
  const direction = laneDirection(phase.state);
  if (direction === null) return;
  const { from, to } = sidesOf(direction);
  const now = scopeOf(context.plan, await portsOf(context, from).database.inventory()).phases.get(phase.name);
  if (!now) throw new SwitchbackError('internal', `the plan has no phase "${phase.name}"`);
  const kept = new Set(phase.scope.tables.map(displayName));
  const roots = new Set(phase.scope.roots.map(displayName));
  const isNew = (table: Table) =>
    !kept.has(displayName(table)) && table.root !== null && roots.has(displayName(table.root));
  const partitions = now.tables.filter(isNew);
  const tables = now.tables.filter((table) => kept.has(displayName(table)) || isNew(table));
  if (partitions.length > 0) {
    await assertThere(context, to, partitions);
    await fenceReplica(tools, { side: to, tables: partitions });
    await tenure.act((sql) => writePinned(sql, phase.name, tables.map(displayName)));
  }
  // The source names the sequences: what a column uses is judged by one side only, as it was at the beginning.
  phase.revise({ ...phase.scope, tables, sequences: from === 'source' ? now.sequences : phase.scope.sequences });
};

const assertThere = async (context: RunContext, side: Side, partitions: readonly Table[]): Promise<void> => {
  const there = new Set((await portsOf(context, side).database.inventory()).tables.map(displayName));
  const missing = partitions.map(displayName).filter((name) => !there.has(name));
  if (missing.length === 0) return;
  throw new SwitchbackError('refused', `the ${side} has no partition ${missing.join(', ')}`, {
    remedy: 'create it there, with CREATE TABLE … PARTITION OF, and repeat the command',
  });
};

const fenceReplica = async (
  { context, tenure, phase, signal }: ReviseTools,
  what: { readonly side: Side; readonly tables: readonly Table[] },
): Promise<void> => {
  const owned = {
    phases: [phase.name],
    epoch: tenure.epoch,
    role: 'replica',
    fenced: true,
    by: context.holder,
  } as const;
  await portsOf(context, what.side).database.fence({
    tables: what.tables,
    reason: `phase ${phase.name} is on the other database`,
    guard: ownershipGuard(owned),
    blockers: { waitMs: FENCE_BUDGET_MS, action: 'abort' },
    budgetMs: FENCE_BUDGET_MS,
    onBlocked: (blockers) => context.emit({ type: 'blocked', phases: [phase.name], blockers }),
    signal,
  });
};
