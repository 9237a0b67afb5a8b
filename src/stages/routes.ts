import { messageOf, SwitchbackError } from '../domain/errors.ts';
import type { PhaseState } from '../domain/phase.ts';
import type { Side } from '../domain/position.ts';
import { primarySide } from '../domain/protocol.ts';
import type { Router } from '../routers/router.ts';
import type { RunContext } from './context.ts';

/** A router, its name in the plan, and the phases that it leads. */
export interface RouterOfPhases {
  readonly name: string;
  readonly router: Router;
  readonly phases: readonly string[];
}

/** The router of a phase. */
export const routerOf = (context: RunContext, phase: string): { readonly name: string; readonly router: Router } => {
  const name = context.plan.phases.find((p) => p.name === phase)?.router ?? '';
  const router = context.routers.get(name);
  if (!router) throw new SwitchbackError('internal', `phase ${phase} has no router "${name}"`);
  return { name, router };
};

/** The routers of several phases, each once. */
export const routersOf = (context: RunContext, phases: readonly string[]): readonly RouterOfPhases[] => {
  const found = new Map<string, RouterOfPhases>();
  for (const phase of phases) {
    const { name, router } = routerOf(context, phase);
    found.set(name, { name, router, phases: [...(found.get(name)?.phases ?? []), phase] });
  }
  return [...found.values()];
};

/** Where a phase's clients are led, as its router says now. */
export interface ObservedRoute {
  readonly phase: string;
  /** Null when the router does not know, or could not be asked. */
  readonly primary: Side | null;
  readonly held: boolean;
  /** What is not as it should be while no switch is under way, and the command for it; null when all is well. */
  readonly trouble: { readonly fact: string; readonly remedy: string } | null;
}

/** Asks the routers of phases that are in no switch. One that cannot be asked is told of and stops nothing. */
export const observeRoutes = async (
  context: RunContext,
  phases: readonly { readonly name: string; readonly state: PhaseState }[],
): Promise<readonly ObservedRoute[]> =>
  await Promise.all(
    phases
      .filter(({ state }) => state.name !== 'switching' && state.name !== 'aborted')
      .map(async ({ name, state }) => {
        try {
          const { primary, held } = await routerOf(context, name).router.observe(name);
          return { phase: name, primary, held, trouble: troubleOf(context, { name, state, primary, held }) };
        } catch (error) {
          const fact = `its router cannot be asked: ${messageOf(error)}`;
          const remedy = `mend the router, then look again: switchback status ${context.plan.path}`;
          return { phase: name, primary: null, held: false, trouble: { fact, remedy } };
        }
      }),
  );

const troubleOf = (
  context: RunContext,
  phase: { readonly name: string; readonly state: PhaseState; readonly primary: Side | null; readonly held: boolean },
): ObservedRoute['trouble'] => {
  if (phase.held) {
    // A worker that slept through a take-over can still reach its router before a database tells it.
    return {
      fact: 'its router keeps clients waiting, and no switch is under way',
      remedy: `switchback resume ${context.plan.path} ${phase.name}`,
    };
  }
  const right = primarySide(phase.state);
  if (phase.primary === null || phase.primary === right) return null;
  return {
    fact: `its router leads clients to the ${phase.primary}, and the ${right} is the primary: their writes are refused`,
    remedy: `find out who changed the router, lead it to the ${right}, and look again: switchback status ${context.plan.path}`,
  };
};
