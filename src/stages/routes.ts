import { SwitchbackError } from '../domain/errors.ts';
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
