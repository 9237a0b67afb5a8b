import { messageOf, SwitchbackError } from '../domain/errors.ts';
import type { PhaseState } from '../domain/phase.ts';
import { type Side, sidesOf } from '../domain/position.ts';
import { primarySide } from '../domain/protocol.ts';
import { oneOrder } from '../domain/router-order.ts';
import type { Router } from '../routers/router.ts';
import type { RunContext } from './context.ts';

/** A router, its name in the plan, and the phases that it leads. */
export interface RouterOfPhases {
  readonly name: string;
  readonly router: Router;
  readonly phases: readonly string[];
}

/** Whose clients a router leads: those of the plan's `router` and those of its `reads`. */
export type Led = 'writers' | 'readers';

/** The routers of several phases, each once, in the order in which they act; the plan has made sure that there is one. */
export const routersOf = (
  context: RunContext,
  phases: readonly string[],
  led: Led = 'writers',
): readonly RouterOfPhases[] => {
  const lists = phases.map((phase) => namesOf(context, phase, led));
  const order = oneOrder(lists);
  if (order === null) throw new SwitchbackError('internal', `the routers of ${phases.join(', ')} have no order`);
  return order.map((name) => {
    const router = context.routers.get(name);
    if (!router) throw new SwitchbackError('internal', `there is no router "${name}"`);
    return { name, router, phases: phases.filter((_, index) => lists[index]?.includes(name)) };
  });
};

const namesOf = ({ plan }: RunContext, phase: string, led: Led): readonly string[] => {
  const planned = plan.phases.find(({ name }) => name === phase);
  return (led === 'writers' ? planned?.routers : planned?.readers) ?? [];
};

/** Where a router leads a phase's clients, as it says now. */
export interface ObservedRoute {
  readonly phase: string;
  readonly router: string;
  readonly led: Led;
  /** The phase for people, with the router where it has several: `orders (dns)`. */
  readonly label: string;
  /** Null when the router does not know, or could not be asked. */
  readonly primary: Side | null;
  readonly held: boolean;
  /** Where it has to lead; null within a switch whose outcome is not known, and for readers whose move has ended. */
  readonly due: Side | null;
  /** What is not as it should be while no switch is under way, and the command for it; null when all is well. */
  readonly trouble: { readonly fact: string; readonly remedy: string } | null;
}

/** A phase whose routers are looked at. */
export interface LedPhase {
  readonly name: string;
  readonly state: PhaseState;
}

/** What is recorded of a switch, as far as it is known to whoever looks at routers. */
export type OutcomeOf = (switchId: string) => string | null;

/** A router's answer, or why there is none. */
export type Answer = Pick<ObservedRoute, 'router' | 'primary' | 'held'> & { readonly error: unknown };

/** Asks all routers of phases that are not aborted. One that cannot be asked is told of and stops nothing. */
export const observeRoutes = async (
  context: RunContext,
  phases: readonly LedPhase[],
  outcomeOf: OutcomeOf = () => null,
): Promise<readonly ObservedRoute[]> => {
  const led = phases.filter(({ state }) => state.name !== 'aborted');
  const observed = await Promise.all(
    led.map(async (phase) => {
      const due = dueOf(phase.state, outcomeOf);
      const answers = await askRouters(context, phase.name, 'writers');
      return answers.map((answer) => ({
        phase: phase.name,
        router: answer.router,
        led: 'writers' as const,
        label: answers.length === 1 ? phase.name : `${phase.name} (${answer.router})`,
        primary: answer.primary,
        held: answer.held,
        due,
        trouble: phase.state.name === 'switching' ? null : troubleOf(context, { phase, due, answer, answers }),
      }));
    }),
  );
  return observed.flat();
};

/** What each router of a phase says, in the order in which they act. */
export const askRouters = async (context: RunContext, phase: string, led: Led): Promise<readonly Answer[]> =>
  await Promise.all(routersOf(context, [phase], led).map((one) => ask(one, phase)));

const ask = async ({ name, router }: RouterOfPhases, phase: string): Promise<Answer> => {
  try {
    const { primary, held } = await router.observe(phase);
    return { router: name, primary, held, error: null };
  } catch (error) {
    return { router: name, primary: null, held: false, error };
  }
};

const dueOf = (state: PhaseState, outcomeOf: OutcomeOf): Side | null => {
  if (state.name !== 'switching') return primarySide(state);
  const { from, to } = sidesOf(state.direction);
  const outcome = outcomeOf(state.switchId);
  return outcome === null ? null : outcome === 'committed' ? to : from;
};

interface Looked {
  readonly phase: LedPhase;
  readonly due: Side | null;
  readonly answer: Answer;
  /** Of all the phase's routers. */
  readonly answers: readonly Answer[];
}

const troubleOf = (context: RunContext, { phase, due, answer, answers }: Looked): ObservedRoute['trouble'] => {
  const look = `switchback status ${context.plan.path}`;
  const faulty = faultOf(context, phase.name, answer);
  if (faulty !== null) return faulty;
  if (answer.primary === null || answer.primary === due) return null;
  return {
    fact: `its router leads clients to the ${answer.primary}, and the ${due} is the primary: their writes are refused${disagreement(answers)}`,
    remedy: `find out who changed the router, lead it to the ${due}, and look again: ${look}`,
  };
};

/** What is wrong with a router wherever it leads. */
export const faultOf = ({ plan }: RunContext, phase: string, answer: Answer): ObservedRoute['trouble'] => {
  if (answer.error !== null) {
    const fact = `its router cannot be asked: ${messageOf(answer.error)}`;
    return { fact, remedy: `mend the router, then look again: switchback status ${plan.path}` };
  }
  if (!answer.held) return null;
  // A worker that slept through a take-over can still reach its router before a database tells it.
  const fact = 'its router keeps clients waiting, and no switch is under way';
  return { fact, remedy: `switchback resume ${plan.path} ${phase}` };
};

/** Where each of a phase's routers leads, when they lead to different sides. */
export const disagreement = (answers: readonly Answer[]): string => {
  const told = answers.filter(({ primary }) => primary !== null);
  if (new Set(told.map(({ primary }) => primary)).size < 2) return '';
  return `; its routers do not agree: ${told.map(({ router, primary }) => `${router} leads to the ${primary}`).join(', ')}`;
};
