import { SwitchbackError } from '../../domain/errors.ts';
import type { PhaseState } from '../../domain/phase.ts';
import { sidesOf } from '../../domain/position.ts';
import { after, monotonicMs } from '../../platform/clock.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { ownershipGuard } from '../../sidecar/ownership.ts';
import { decideOutcome, readSwitch, writeSwitch } from '../../sidecar/switches.ts';
import type { Phase } from '../machine.ts';
import { routersOf } from '../routes.ts';
import { carryOutEffect } from '../saga.ts';
import { type Arrival, arrivalText } from './arrival.ts';
import { checkAsRestored } from './as-restored.ts';
import { giveUp } from './give-up.ts';
import { assertLanes, assertStates, checkBeforeWindow, commandOf } from './guards.ts';
import { recordRoutes } from './routing.ts';
import { completeSwitch, settleSwitch } from './settle.ts';
import { windowSteps } from './steps.ts';
import { type AsRestored, recordOf, type Switch, type SwitchResult, type SwitchTools, scopeOfSwitch } from './types.ts';

/**
 * Moves the application's writes of the phases from one side to the other (DESIGN 6). Forward it is a cutover, in reverse
 * a failback: the same steps with the direction swapped. Before the commit record any failure undoes everything and throws
 * kind `aborted`; after it the switch is completed, now or by `resume`. Several phases switch together: one fence, one
 * window, one commit record.
 *
 * The order is Vitess' switchWrites with the way back proven before the point of no return; `test/model` checks it.
 */
export const runSwitch = async (
  tools: SwitchTools,
  options: {
    readonly direction: Switch['direction'];
    readonly phases: readonly Phase[];
    readonly all: readonly Phase[];
    readonly asRestored?: boolean;
  },
): Promise<SwitchResult> => {
  assertStates(options.phases, { ...options, context: tools.context });
  if (!options.asRestored) assertLanes(options.phases);
  const s = newSwitch(tools, options);
  let intended = false;
  let windowBegan = 0;
  try {
    await tools.tenure.step(scopeOfSwitch(s), 'checks', () =>
      s.asRestored ? checkAsRestored(s) : checkBeforeWindow(s),
    );
    await describe(s);
    tools.signal.throwIfAborted();
    await tools.tenure.raise();
    failpoint(`acted ${commandOf(s.direction)}/raise`);
    intended = true;
    await intend(s);
    failpoint(`acted ${commandOf(s.direction)}/intent`);
    windowBegan = monotonicMs();
    await runWindow(s);
    await commit(s);
  } catch (error) {
    return await giveUp(s, { error, intended, windowBegan, complete: () => complete(s, windowBegan) });
  }
  return await complete(s, windowBegan);
};

const newSwitch = (tools: SwitchTools, options: Parameters<typeof runSwitch>[1]): Switch => {
  const state: { deadline: number } = { deadline: Number.POSITIVE_INFINITY };
  const asRestored: AsRestored | null = options.asRestored ? { comparisonMs: 0, losses: [] } : null;
  return {
    // The epoch that the intent will raise to, so that no two switches of a run, recorded or not, share an outcome.
    id: `${commandOf(options.direction)}-${tools.tenure.epoch + 1n}`,
    direction: options.direction,
    phases: options.phases,
    tools,
    document: { before: {}, routes: {}, reverseSlots: {} },
    wayBack: new Map(),
    asRestored,
    left: () => timeLeft(tools, state.deadline),
    startWindow: () => {
      const { windowMs } = tools.context.plan.switch;
      state.deadline = monotonicMs() + windowMs + (asRestored?.comparisonMs ?? 0);
    },
  };
};

const timeLeft = (tools: SwitchTools, deadline: number): number => {
  if (tools.signal.aborted) throw new SwitchbackError('aborted', 'interrupted');
  const left = deadline - monotonicMs();
  if (left <= 0) throw windowSpent(tools);
  return left;
};

const windowSpent = ({ context: { plan } }: SwitchTools): SwitchbackError =>
  new SwitchbackError('aborted', `the window of ${plan.switch.windowMs} ms has run out`, {
    remedy: `see which step took long: switchback status ${plan.path} --json; or raise switch.window`,
  });

/** What undoing will need: states, routes and slots as they are now. */
const describe = async (s: Switch): Promise<void> => {
  const { context } = s.tools;
  const before: Record<string, PhaseState> = {};
  for (const phase of s.phases) before[phase.name] = phase.state;
  const phases = s.phases.map((phase) => phase.name);
  const routes = await recordRoutes(routersOf(context, phases));
  const reverseSlots = Object.fromEntries([...s.wayBack].map(([phase, runner]) => [phase, runner.slot]));
  s.document = { before, routes, reverseSlots };
};

/** Step 1, under the epoch just raised: what undoing needs is durable, and the phases are `switching`, before any effect. */
const intend = async (s: Switch): Promise<void> => {
  const { tenure } = s.tools;
  const state = { name: 'switching', switchId: s.id, direction: s.direction } as const;
  await tenure.act(async (sql) => {
    await writeSwitch(sql, { ...recordOf(s), document: s.document });
    for (const phase of s.phases) await phase.store(sql, state);
  });
  for (const phase of s.phases) phase.entered(state);
};

const runWindow = async (s: Switch): Promise<void> => {
  s.startWindow();
  for (const step of windowSteps(s)) {
    const act = () => (step.isBounded === true ? step.act(s) : within(s, () => step.act(s)));
    const place = { where: scopeOfSwitch(s), step: step.name };
    const { changesNothing } = step;
    await carryOutEffect(s.tools.tenure, place, { act, ...(changesNothing ? { changesNothing } : {}) });
    s.left();
  }
};

/**
 * A step that does not end by itself when its server falls silent ends with the window. What it was still waiting for
 * only reads; steps ask for the time that is left before they do anything after it.
 */
const within = async <T>(s: Switch, begin: () => Promise<T>): Promise<T> => {
  const { promise: late, reject } = Promise.withResolvers<never>();
  // Asked first: writing the intent may have taken the rest of the window, and then nothing may begin.
  const leftMs = s.left();
  const act = begin();
  const cancel = after(leftMs, () => {
    try {
      s.left();
      // A timer may fire a moment before its time.
      reject(windowSpent(s.tools));
    } catch (error) {
      reject(error);
    }
  });
  try {
    return await Promise.race([act, late]);
  } finally {
    cancel();
    act.catch(() => undefined);
  }
};

/** Step 9. The outcome and the source's ownership are one transaction on the source; the states follow when all is done. */
const commit = async (s: Switch): Promise<void> => {
  const { context, tenure } = s.tools;
  const act = async () => {
    await tenure.act(async (sql) => {
      const outcome = await decideOutcome(sql, { switchId: s.id, epoch: tenure.epoch, outcome: 'committed' });
      if (outcome !== 'committed') throw new SwitchbackError('aborted', 'another worker has recorded an abort');
      const role = sidesOf(s.direction).to === 'source' ? 'primary' : 'replica';
      const phases = s.phases.map((phase) => phase.name);
      await ownershipGuard({ phases, epoch: tenure.epoch, role, fenced: true, by: context.holder })(sql);
    });
    return undefined;
  };
  await carryOutEffect(tenure, { where: scopeOfSwitch(s), step: 'commit' }, { act });
};

const complete = async (s: Switch, windowBegan: number): Promise<SwitchResult> => {
  let windowMs = 0;
  let arrival: Arrival;
  try {
    arrival = await completeSwitch({ record: recordOf(s), phases: s.phases, tools: s.tools }, async () => {
      windowMs = monotonicMs() - windowBegan;
      await adoptWayBack(s);
    });
  } catch (error) {
    // Parked: `resume` goes on with these lanes, and must not open others on the same slots.
    await adoptWayBack(s);
    throw error;
  }
  s.tools.context.emit({
    type: 'switched',
    switchId: s.id,
    phases: s.phases.map((phase) => phase.name),
    direction: s.direction,
    windowMs,
  });
  return { switchId: s.id, windowMs, arrival, ...(s.asRestored ? { losses: s.asRestored.losses } : {}) };
};

/** The lanes B→A are the phases' lanes from now on. */
const adoptWayBack = async (s: Switch): Promise<void> => {
  for (const phase of s.phases) {
    const old = phase.runner;
    const next = s.wayBack.get(phase.name);
    if (!next || old === next) continue;
    phase.runner = next;
    await old?.close().catch(() => undefined);
  }
};

/** Completes or undoes a switch that an earlier process left. */
export const resumeSwitch = async (tools: SwitchTools, phases: readonly Phase[], switchId: string): Promise<string> => {
  const record = await readSwitch(tools.context.source.sql, switchId);
  if (!record)
    throw new SwitchbackError('parked', `the journal has no switch ${switchId}`, {
      remedy: `switchback resume ${tools.context.plan.path} --rebuild`,
    });
  const settled = await settleSwitch({
    record,
    // A phase that has moved on since is not the old switch's business any more.
    phases: phases.filter(({ state }) => state.name === 'switching' && state.switchId === switchId),
    tools,
  });
  if (settled.outcome === 'aborted') return `${switchId} was undone`;
  return `${switchId} was completed; ${arrivalText(settled.arrival)}`;
};
