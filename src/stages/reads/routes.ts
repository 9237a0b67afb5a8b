import type { RunContext } from '../context.ts';
import { type ObservedRoute, observeRoutes } from '../routes.ts';
import type { RunStatus } from '../status.ts';
import { observeReaders } from './observe.ts';

/** Where all routers of a run lead, writers' and readers', as they say now. */
export const readRoutes = async (
  context: RunContext,
  status: Pick<RunStatus, 'phases' | 'worker' | 'lastSwitch'>,
): Promise<readonly ObservedRoute[]> => {
  const { phases, lastSwitch } = status;
  const outcomeOf = (id: string): string | null => (lastSwitch?.id === id ? lastSwitch.outcome : null);
  const both = [observeRoutes(context, phases, outcomeOf), observeReaders(context, status)];
  return (await Promise.all(both)).flat();
};
