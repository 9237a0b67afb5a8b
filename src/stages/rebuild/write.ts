import { SwitchbackError } from '../../domain/errors.ts';
import type { PhaseState } from '../../domain/phase.ts';
import { type Direction, type Side, sidesOf } from '../../domain/position.ts';
import { fillRemedy } from '../../domain/remedy.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { displayName } from '../../domain/table.ts';
import { forgetLane, laneName, laneStore, readProgress, writeLane } from '../../sidecar/lanes.ts';
import { ownershipGuard, removePlaces } from '../../sidecar/ownership.ts';
import { restorePhase, serverTime } from '../../sidecar/phases.ts';
import { removeMirror } from '../../sidecar/records.ts';
import { changeFacts } from '../../sidecar/run.ts';
import { decideOutcome, type SwitchDocument, writeSwitch } from '../../sidecar/switches.ts';
import { portsOf } from '../context.ts';
import { guardOn } from '../guard.ts';
import { publicationName, slotName } from '../names.ts';
import { routersOf } from '../routes.ts';
import { recordRoutes } from '../switch/routing.ts';
import type { Tenure } from '../tenure.ts';
import type { Conclusion, LaneConclusion, Settled } from './conclusion.ts';
import type { LookOptions, PhaseRemains, Remains } from './look.ts';

/** What writing works with: the conclusions are those of exactly these remains, read under this lease. */
export interface WriteOptions extends LookOptions {
  readonly tenure: Tenure;
  readonly remains: Remains;
  readonly signal: AbortSignal;
}

/** A phase's conclusion with what it was drawn from. */
export interface Concluded<Kind extends Conclusion = Conclusion> {
  readonly left: PhaseRemains;
  readonly conclusion: Kind;
}

const FENCE_BUDGET_MS = 60_000;
const DIRECTIONS = ['forward', 'reverse'] as const satisfies readonly Direction[];

/**
 * Fences a side that is not the primary and whose fence does not stand. Both sides may be accepting writes meanwhile, so
 * whoever holds a lock on the tables is ended, whatever the plan says. For a parked phase no ownership is written: it would
 * be taken for a record of who may write.
 */
export const fenceLoser = async (options: WriteOptions, { left, conclusion }: Concluded, side: Side): Promise<void> => {
  const { context, tenure, signal } = options;
  const phase = conclusion.phase;
  const owned = { phases: [phase], epoch: tenure.epoch, role: 'replica', fenced: true, by: context.holder } as const;
  await portsOf(context, side).database.fence({
    tables: left.scope.tables,
    reason:
      conclusion.kind === 'settled'
        ? `phase ${phase} is on the ${conclusion.primary} database`
        : `it is not known on which database phase ${phase} is; see switchback status`,
    guard: conclusion.kind === 'settled' ? ownershipGuard(owned) : guardOn(tenure, side, [phase]),
    blockers: { waitMs: context.plan.switch.blockers.waitMs, action: 'terminate' },
    budgetMs: FENCE_BUDGET_MS,
    onBlocked: (blockers) => context.emit({ type: 'blocked', phases: [phase], blockers }),
    signal,
  });
};

/** Empties the target's tables of a phase that is copied anew. The source is its primary, and the target is fenced. */
export const emptyTarget = async (
  { context, tenure }: WriteOptions,
  { left, conclusion }: Concluded<Settled>,
): Promise<void> => {
  const guard = guardOn(tenure, 'target', [conclusion.phase]);
  if (conclusion.anew) await context.schema.empty(left.scope.tables, guard);
  await context.target.sql.transaction(async (sql) => {
    await guard(sql);
    await forgetLane(sql, laneName(conclusion.phase, 'forward'));
  });
};

/** Markers of both directions count on from where they were, and travel again. */
export const mendMarkers = async (
  { context, traces }: WriteOptions,
  { left, conclusion }: Concluded<Settled>,
): Promise<void> => {
  for (const direction of DIRECTIONS) {
    const lane = laneName(conclusion.phase, direction);
    const known = (await readProgress(portsOf(context, sidesOf(direction).to).sql)).get(lane);
    const publication = left.publications[direction] ? publicationName(context, conclusion.phase) : null;
    if (!known && publication === null) continue;
    await traces.lanes.mendMarker(direction, { lane, marker: known?.marker ?? 0n, publication });
  }
};

/**
 * Where a lane takes up again whose progress is lost: at its slot's confirmed position, which was durable (S6). What was
 * applied after it is applied once more, idempotently, up to where the origin is now.
 */
export const rejoinLane = async (
  { context, tenure }: WriteOptions,
  phase: string,
  lane: LaneConclusion,
): Promise<void> => {
  if (!lane.rejoin) return;
  const { from, to } = sidesOf(lane.direction);
  const strictFrom = await portsOf(context, from).database.head();
  const store = laneStore(laneName(phase, lane.direction), () => tenure.epoch);
  const { confirmed } = lane.rejoin;
  await portsOf(context, to).sql.transaction((sql) =>
    store.begin(sql, { position: confirmed, strictFrom, marker: 0n }),
  );
};

/** The target's own record of who may write there. One that was never fenced has none. */
export const writeTargetOwnership = async (
  { context, tenure }: WriteOptions,
  { left, conclusion }: Concluded<Settled>,
): Promise<void> => {
  const { primary, phase } = conclusion;
  if (!isOwned(conclusion, left)) return;
  const isPrimary = primary === 'target' && !conclusion.complete && left.evidence.recorded?.name !== 'switching';
  const isKept = left.evidence.target.ownership !== null && left.evidence.recorded?.name === 'switching';
  if (isKept) return;
  await context.target.sql.transaction(
    ownershipGuard({
      phases: [phase],
      epoch: tenure.epoch,
      role: isPrimary ? 'primary' : 'replica',
      fenced: !isPrimary,
      by: context.holder,
    }),
  );
};

/** Phases that have been prepared and are not over have ownership on both sides. */
const isOwned = ({ state }: Settled, { evidence }: PhaseRemains): boolean => {
  const name = state === 'recorded' ? evidence.recorded?.name : state;
  return name !== 'planned' && name !== 'aborted' && name !== 'finalised';
};

/**
 * States, lanes, outcomes and the source's ownership, in one transaction. The target's ownership follows: alone it would be
 * taken for evidence of another primary.
 */
export const writeSource = async (options: WriteOptions, settled: readonly Concluded<Settled>[]): Promise<void> => {
  const { context, tenure } = options;
  const completed = settled.filter(({ conclusion }) => conclusion.complete).map(({ conclusion }) => conclusion.phase);
  const routes = await recordRoutes(routersOf(context, completed));
  const since = await serverTime(context.source.sql);
  await tenure.act(async (sql) => {
    for (const [ordinal, concluded] of settled.entries()) {
      await writePhase({ ...options, sql, since, ordinal, routes }, concluded);
    }
    await changeFacts(sql, (facts) => ({ ...facts, tables: { ...pinnedOf(settled), ...facts.tables } }));
  });
};

/** From the commit of this on the run can be acted on again. */
export const endRebuild = async ({ context, tenure }: WriteOptions): Promise<void> => {
  await context.target.sql.transaction(async (sql) => {
    await removePlaces(sql);
    await removeMirror(sql, 'rebuild');
  });
  await tenure.act(async (sql) => {
    await changeFacts(sql, ({ rebuilding: _, ...facts }) => facts);
    await removePlaces(sql);
  });
};

/** A phase that has not been prepared has no tables of its own yet. */
const pinnedOf = (settled: readonly Concluded<Settled>[]): Readonly<Record<string, readonly string[]>> =>
  Object.fromEntries(
    settled.flatMap(({ left, conclusion }) => {
      const name = conclusion.state === 'recorded' ? left.evidence.recorded?.name : conclusion.state;
      return name === 'planned' ? [] : [[conclusion.phase, left.scope.tables.map(displayName)]];
    }),
  );

interface PhaseWrite extends WriteOptions {
  readonly sql: SqlExecutor;
  readonly since: string;
  readonly ordinal: number;
  /** Of all phases whose switch is to be completed. */
  readonly routes: SwitchDocument['routes'];
}

const writePhase = async (to: PhaseWrite, { left, conclusion }: Concluded<Settled>): Promise<void> => {
  const { context, sql, tenure } = to;
  const { phase } = conclusion;
  const { recorded, source } = left.evidence;
  const state = conclusion.state === 'recorded' ? recorded : stateOf(to, conclusion);
  if (!state) throw new SwitchbackError('internal', `phase ${phase} has no recorded state`);
  await restorePhase(sql, { name: phase, ordinal: to.ordinal, state });
  if (conclusion.lane) await storeLane(to, phase, conclusion.lane);
  if (conclusion.complete) await decideSwitch(to, conclusion);
  if (!isOwned(conclusion, left) || (state.name === 'switching' && !conclusion.complete && source.ownership)) return;
  const role = conclusion.primary === 'source' ? 'primary' : 'replica';
  const fenced = conclusion.primary === 'target' || conclusion.complete;
  await ownershipGuard({ phases: [phase], epoch: tenure.epoch, role, fenced, by: context.holder })(sql);
};

const idOf = (tenure: Tenure, phase: string): string => `rebuild-${phase}-${tenure.epoch}`;

const stateOf = ({ tenure, since }: PhaseWrite, conclusion: Settled): PhaseState => {
  const switchId = idOf(tenure, conclusion.phase);
  if (conclusion.complete) return { name: 'switching', switchId, direction: directionTo(conclusion.primary) };
  switch (conclusion.state) {
    case 'soaking':
      return { name: 'soaking', since, switchId };
    case 'following':
      return { name: 'following', since };
    case 'finalised':
    case 'aborted':
      return { name: conclusion.state, at: since };
    default:
      return { name: conclusion.state === 'copying' ? 'copying' : 'planned' };
  }
};

/** The direction that makes a side the primary. */
const directionTo = (primary: Side): Direction => (primary === 'target' ? 'forward' : 'reverse');

/** The switch towards the primary, as committed: what settles every switch leads clients there, lifts it, releases them. */
const decideSwitch = async (to: PhaseWrite, { phase, primary }: Settled): Promise<void> => {
  const { sql, tenure, since, routes } = to;
  const id = idOf(tenure, phase);
  await writeSwitch(sql, {
    id,
    direction: directionTo(primary),
    phases: [phase],
    epoch: tenure.epoch,
    document: {
      before: { [phase]: { name: 'following', since } },
      routes: { [phase]: routes[phase] ?? {} },
      reverseSlots: {},
    },
  });
  await decideOutcome(sql, { switchId: id, epoch: tenure.epoch, outcome: 'committed' });
};

/** A lane without a slot gets the name of one that does not exist: it is halted, and nothing makes it. */
const storeLane = async (to: PhaseWrite, phase: string, lane: LaneConclusion): Promise<void> => {
  const { context, sql, since } = to;
  const name = laneName(phase, lane.direction);
  const finding = lane.halt && {
    ...lane.halt,
    remedy: fillRemedy(lane.halt.remedy, { plan: context.plan.path, phase }),
  };
  await writeLane(sql, {
    name,
    phase,
    direction: lane.direction,
    slot: lane.slot ?? slotName(context, phase, { direction: lane.direction, generation: 'lost' }),
    publication: publicationName(context, phase),
    halt: finding && { lane: name, at: since, finding },
  });
};

/** Slots of the phase that no lane uses would hold back the log for ever (L4). Those of a switch to be settled stay. */
export const retireLeftovers = async (
  { context, tenure }: WriteOptions,
  { left, conclusion }: Concluded<Settled>,
): Promise<void> => {
  const { recorded, source, target } = left.evidence;
  if (conclusion.state === 'recorded' && recorded?.name === 'switching') return;
  for (const direction of DIRECTIONS) {
    const { from, to } = sidesOf(direction);
    const guard = guardOn(tenure, from, [conclusion.phase]);
    const guardWritten = guardOn(tenure, to, [conclusion.phase]);
    const { slots } = direction === 'forward' ? source : target;
    for (const { name } of slots.filter((slot) => slot.name !== conclusion.lane?.slot)) {
      await context.engine.retire({ direction, slot: name, publication: null, guard, guardWritten });
    }
  }
};
