import type { PhaseStateName } from '../domain/phase.ts';
import { readPhases } from '../sidecar/phases.ts';
import type { CheckInput, RunContext, RunScope } from './context.ts';
import type { RunRows } from './open.ts';
import { readScope } from './scope.ts';

/** States in which a phase's indexes and foreign keys are put off on the target. */
const COPYING: ReadonlySet<PhaseStateName> = new Set(['prepared', 'copying']);

/** Nothing of these is left to check. */
const OVER: ReadonlySet<PhaseStateName> = new Set(['finalised', 'aborted']);

/** Reads what preflight has to look at as things stand: phases that have begun are judged by other rules than new ones. */
export const readCheckInput = async (
  context: RunContext,
  runs: RunRows,
): Promise<CheckInput & { readonly scope: RunScope }> => {
  const states = runs.source ? await readPhases(context.source.sql) : [];
  const named = (wanted: (state: PhaseStateName) => boolean) =>
    new Set(states.filter(({ state }) => wanted(state.name)).map(({ name }) => name));
  const over = named((state) => OVER.has(state));
  const scope = await readScope(context);
  return {
    scope: { ...scope, phases: new Map([...scope.phases].filter(([name]) => !over.has(name))) },
    begun: named((state) => state !== 'planned'),
    copying: named((state) => COPYING.has(state)),
    schemaReady: context.plan.schema.from === 'existing' || runs.target?.facts.schemaReady === true,
  };
};
