import { SwitchbackError } from '../domain/errors.ts';
import { type Side, sidesOf } from '../domain/position.ts';
import { laneDirection } from '../domain/protocol.ts';
import { displayName, type Table } from '../domain/table.ts';
import { ownershipGuard } from '../sidecar/ownership.ts';
import { writePinned } from '../sidecar/run.ts';
import { type PhaseScope, portsOf, type RunContext } from './context.ts';
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
 * Looks up what a phase is made of by now: columns that have changed, partitions that have come or were dropped. A new one
 * was published from its first row on as part of its root, so the lane brings all of it once the side that the lane writes
 * to has it too and is fenced there. Rows that it had before it was attached are found by the next verification, which has
 * to come before a switch. Throws kind `refused` while the other side lacks a partition. No lane of the phase may be open.
 */
export const reviseScope = async (tools: ReviseTools): Promise<void> => {
  const { context, tenure, phase } = tools;
  const direction = laneDirection(phase.state);
  if (direction === null) return;
  const { from, to } = sidesOf(direction);
  const now = scopeOf(context.plan, await portsOf(context, from).database.inventory()).phases.get(phase.name);
  if (!now) throw new SwitchbackError('internal', `the plan has no phase "${phase.name}"`);
  const there = new Set((await portsOf(context, to).database.inventory()).tables.map(displayName));
  const { kept, added } = partitionChanges(phase.scope, { now: now.tables, there });
  assertThere(added, { side: to, there });
  if (added.length > 0) await fenceReplica(tools, { side: to, tables: added });
  const names = new Set([...kept, ...added.map(displayName)]);
  await tenure.act((sql) => writePinned(sql, phase.name, { tables: [...names] }));
  // The source names the sequences: what a column uses is judged by one side only, as it was at the beginning.
  const sequences = from === 'source' ? now.sequences : phase.scope.sequences;
  phase.revise({ ...phase.scope, tables: now.tables.filter((table) => names.has(displayName(table))), sequences });
};

/** Names that stay pinned, and the phase's new partitions. One that neither side has any more is let go. */
const partitionChanges = (
  scope: PhaseScope,
  sides: { readonly now: readonly Table[]; readonly there: ReadonlySet<string> },
): { readonly kept: readonly string[]; readonly added: readonly Table[] } => {
  const known = new Set(scope.tables.map(displayName));
  const roots = new Set(scope.roots.map(displayName));
  const here = new Set(sides.now.map(displayName));
  const isDropped = (table: Table) =>
    table.root !== null && !here.has(displayName(table)) && !sides.there.has(displayName(table));
  return {
    kept: scope.tables.filter((table) => !isDropped(table)).map(displayName),
    added: sides.now.filter(
      (table) => !known.has(displayName(table)) && table.root !== null && roots.has(displayName(table.root)),
    ),
  };
};

const assertThere = (
  partitions: readonly Table[],
  { side, there }: { readonly side: Side; readonly there: ReadonlySet<string> },
): void => {
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
