import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { PhaseState } from '../../domain/phase.ts';
import { type Direction, opposite, type Side, sidesOf } from '../../domain/position.ts';
import { type StepName, stepsOf } from '../../domain/protocol.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { after, monotonicMs, sleep } from '../../platform/clock.ts';
import { laneName, readLanes } from '../../sidecar/lanes.ts';
import { isOwned, ownershipGuard } from '../../sidecar/ownership.ts';
import { serverTime } from '../../sidecar/phases.ts';
import { decideOutcome, type Outcome, readOutcome, type SwitchRecord, writeSwitch } from '../../sidecar/switches.ts';
import { portsOf } from '../context.ts';
import { type Effect, untilKnown } from '../effect.ts';
import { guardOn } from '../guard.ts';
import type { Phase } from '../machine.ts';
import { routersOf } from '../routes.ts';
import { carryOutEffect } from '../saga.ts';
import { type Arrival, arrivalText, seeArrival } from './arrival.ts';
import { type Routing, releasing, repointing } from './routing.ts';
import { type SwitchTools, scopeOfSwitch } from './types.ts';

/** How long completing or undoing is tried before it is left to a person, in milliseconds. */
const SETTLE_BUDGET_MS = 60_000;
/** How long clients wait at most for a target that is to hear first that it has lost, and does not answer, in milliseconds. */
const TELL_MS = 2_000;

/** A recorded switch and the phases it names. Everything here can be done by a process that has not seen it before. */
export interface Settlement {
  readonly record: Omit<SwitchRecord, 'at'>;
  readonly phases: readonly Phase[];
  readonly tools: SwitchTools;
}

/** How a switch was settled. */
export type Settled = { readonly outcome: 'committed'; readonly arrival: Arrival } | { readonly outcome: 'aborted' };

/** A switch that is being completed, and what has become known of its clients. */
interface Completion extends Settlement {
  arrival: Arrival | null;
}

const scopeOf = (s: Settlement) => scopeOfSwitch({ id: s.record.id, phases: s.phases });
const namesOf = (s: Settlement) => s.phases.map((phase) => phase.name);
const tablesOf = (s: Settlement) => s.phases.flatMap((phase) => phase.scope.tables);

/**
 * Completes a switch that has committed, or undoes one that has not: the commit record alone decides, and when there is
 * none an abort record takes its place, so that no sleeping worker can commit afterwards (S11). Every act may be repeated.
 */
export const settleSwitch = async (s: Settlement): Promise<Settled> => {
  const outcome = await decide(s);
  if (outcome === 'committed') return { outcome, arrival: await completeSwitch(s) };
  await undoSwitch(s);
  return { outcome };
};

/** Asks until it is known what is recorded; what is asked again finds the record of the time before. */
const decide = async (s: Settlement): Promise<Outcome> => {
  const { id } = s.record;
  let outcome: Outcome = 'aborted';
  await untilKnown({
    act: async () => {
      outcome = await s.tools.tenure.act(
        async (sql) =>
          (await readOutcome(sql, id)) ??
          (await decideOutcome(sql, { switchId: id, epoch: s.tools.tenure.epoch, outcome: 'aborted' })),
      );
      return undefined;
    },
  });
  return outcome;
};

/**
 * The steps after the commit record. Each is tried again until its budget is spent, then parked. `onReleased` is called
 * when clients may go on.
 */
export const completeSwitch = async (
  s: Settlement,
  onReleased: () => Promise<void> = async () => undefined,
): Promise<Arrival> => {
  const completion: Completion = { ...s, arrival: null };
  for (const name of stepsOf('completing')) {
    await repeatedly(s, name, COMPLETING[name](completion));
    if (name === 'release') await onReleased();
  }
  return arrivalOf(completion);
};

const arrivalOf = ({ arrival }: Completion): Arrival => {
  if (arrival === null) throw new SwitchbackError('internal', 'nobody has asked whether the clients have arrived');
  return arrival;
};

/** Takes back every effect of the window, and enters the states that the phases had. */
const undoSwitch = async (s: Settlement): Promise<void> => {
  for (const name of stepsOf('undoing')) await repeatedly(s, name, UNDOING[name](s));
};

/** All phases leave `switching` in one transaction: one that moved on alone would be settled again with the other. */
const enterAll = async (
  s: Settlement,
  next: (phase: Phase, since: string) => PhaseState,
  record: (sql: SqlExecutor) => Promise<void> = async () => undefined,
): Promise<undefined> => {
  const since = await serverTime(s.tools.context.source.sql);
  await s.tools.tenure.act(async (sql) => {
    await record(sql);
    for (const phase of s.phases) await phase.store(sql, next(phase, since));
  });
  for (const phase of s.phases) phase.entered(next(phase, since));
};

const stateAfter = (record: Pick<SwitchRecord, 'id' | 'direction'>, since: string): PhaseState =>
  record.direction === 'forward' ? { name: 'soaking', since, switchId: record.id } : { name: 'following', since };

const routersIn = (s: Settlement) => routersOf(s.tools.context, namesOf(s));

const routingOf = (s: Settlement): Routing => ({
  tenure: s.tools.tenure,
  id: s.record.id,
  routers: routersIn(s),
  areHeld: true,
  routes: s.record.document.routes,
});

const lift = (s: Settlement, side: Side): Effect => {
  const { context, tenure } = s.tools;
  const lifted = { phases: namesOf(s), role: 'primary', fenced: false } as const;
  return {
    probe: async () =>
      (await portsOf(context, side).sql.transaction((sql) => isOwned(sql, lifted))) ? `the ${side} is lifted` : null,
    act: async () => {
      await portsOf(context, side).database.lift({
        tables: tablesOf(s),
        reason: '',
        remove: false,
        guard: ownershipGuard({ ...lifted, epoch: tenure.epoch, by: context.holder }),
        // Nobody can write anywhere until this is done, so whoever holds a lock on the tables is ended, whatever the plan says.
        blockers: { waitMs: context.plan.switch.blockers.waitMs, action: 'terminate' },
        budgetMs: SETTLE_BUDGET_MS,
        onBlocked: (blockers) => context.emit({ type: 'blocked', phases: namesOf(s), blockers }),
        // Whoever interrupts a command wants the state settled all the more; the budget is what bounds it.
        signal: new AbortController().signal,
      });
      return undefined;
    },
  };
};

const tellLoser = async (s: Settlement): Promise<void> => {
  const { context, tenure } = s.tools;
  await portsOf(context, sidesOf(s.record.direction).from).sql.transaction(
    ownershipGuard({ phases: namesOf(s), epoch: tenure.epoch, role: 'replica', fenced: true, by: context.holder }),
  );
};

/**
 * The winner is lifted when the loser says that it is one. On the source the commit record has said it already. A target is asked
 * for it here: while this worker slept, a restored source may have been adopted in the place of the one that it has committed on,
 * and then the target knows a newer epoch and is lifted, or will be (S1); whoever adopts after this finds a replica and refuses.
 * A target that does not answer, which may be why there is a failback, keeps no client waiting for long: it is told by `retire`.
 */
const liftWinner = (s: Settlement): Effect => {
  const { from, to } = sidesOf(s.record.direction);
  const lifting = lift(s, to);
  if (from === 'source') return lifting;
  const act = async () => {
    await tellInTime(s);
    return await lifting.act();
  };
  return { ...lifting, act };
};

const tellInTime = async (s: Settlement): Promise<void> => {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const silent = new SwitchbackError('unreachable', `the target has not answered for ${TELL_MS} ms`);
  const cancel = after(TELL_MS, () => reject(silent));
  const told = tellLoser(s);
  try {
    await Promise.race([told, late]);
  } catch (error) {
    if (!isKind(error, 'unreachable') && !isKind(error, 'unknown')) throw error;
    s.tools.context.emit({ type: 'note', phase: null, text: `${messageOf(error)}; it is told later that it has lost` });
  } finally {
    cancel();
    told.catch(() => undefined);
  }
};

/** The loser says that it is one, and the lane that led away from it gives up its slot, which would hold back its log. */
const retireOldLane = async (s: Settlement): Promise<undefined> => {
  const { tenure } = s.tools;
  await tellLoser(s);
  const lanes = await tenure.act(readLanes);
  for (const phase of s.phases) {
    const lane = lanes.find((l) => l.name === laneName(phase.name, s.record.direction));
    if (lane) await dropSlot(s, s.record.direction, lane.slot);
  }
};

const dropWayBack = async (s: Settlement): Promise<undefined> => {
  const slots = Object.values(s.record.document.reverseSlots);
  for (const slot of slots) await dropSlot(s, opposite(s.record.direction), slot);
};

/**
 * Drops a slot that is no longer needed, if its side can be asked; if not, whoever opens the run next does it. Clients do not
 * wait for it, so it parks nothing.
 */
const dropSlot = async (s: Settlement, direction: Direction, slot: string): Promise<void> => {
  const { context, tenure } = s.tools;
  const { from, to } = sidesOf(direction);
  const guard = guardOn(tenure, from, namesOf(s));
  const guardWritten = guardOn(tenure, to, namesOf(s));
  try {
    await context.engine.retire({ direction, slot, publication: null, guard, guardWritten });
  } catch (error) {
    if (isKind(error, 'deposed')) throw error;
    context.emit({ type: 'note', phase: null, text: `slot ${slot} is still there: ${messageOf(error)}` });
  }
};

const probe = (s: Completion): Effect => ({
  act: async () => {
    const { context, tenure, signal, asksOnce = false } = s.tools;
    const { direction } = s.record;
    s.arrival = await seeArrival({ context, tenure, direction, phases: namesOf(s), signal, asksOnce });
    return arrivalText(s.arrival);
  },
});

/** What is known of the clients is recorded with the states, so that no phase is told to have moved without it. */
const enterAfter = async (s: Completion): Promise<undefined> => {
  const { proof } = arrivalOf(s);
  const record = { ...s.record, document: { ...s.record.document, proof } };
  await enterAll(
    s,
    (_, since) => stateAfter(s.record, since),
    (sql) => writeSwitch(sql, record),
  );
};

type EffectOf<S extends Settlement> = (s: S) => Effect;

/** The order is the protocol's, see `SWITCH_STEPS`. */
const COMPLETING: Readonly<Record<StepName<'completing'>, EffectOf<Completion>>> = {
  lift: liftWinner,
  repoint: (s) => repointing(routingOf(s), sidesOf(s.record.direction).to),
  release: (s) => releasing(routersIn(s)),
  retire: (s) => ({ act: () => retireOldLane(s) }),
  probe,
  states: (s) => ({ act: () => enterAfter(s) }),
};

const UNDOING: Readonly<Record<StepName<'undoing'>, EffectOf<Settlement>>> = {
  'undo fence': (s) => lift(s, sidesOf(s.record.direction).from),
  'undo hold': (s) => releasing(routersIn(s)),
  'undo way back': (s) => ({ act: () => dropWayBack(s) }),
  states: (s) => ({
    act: () => enterAll(s, (phase, since) => s.record.document.before[phase.name] ?? { name: 'following', since }),
  }),
};

const repeatedly = async (s: Settlement, step: string, effect: Effect): Promise<void> => {
  const begun = monotonicMs();
  const { context, tenure } = s.tools;
  for (let attempt = 1; ; attempt++) {
    try {
      return await carryOutEffect(tenure, { where: scopeOf(s), step }, effect);
    } catch (error) {
      if (isKind(error, 'deposed')) throw error;
      if (monotonicMs() - begun > SETTLE_BUDGET_MS || isKind(error, 'refused')) throw parked(s, step, error);
      context.emit({ type: 'note', phase: null, text: `${step}: ${messageOf(error)}; trying again` });
      await sleep(Math.min(100 * 2 ** attempt, 3_000));
    }
  }
};

const parked = (s: Settlement, step: string, cause: unknown): SwitchbackError =>
  new SwitchbackError('parked', `${s.record.id} stands at "${step}": ${messageOf(cause)}`, {
    remedy: `mend the cause, then: switchback resume ${s.tools.context.plan.path}`,
    cause,
  });
