import type { ObservedRoute } from '../stages/routes.ts';
import type { RunStatus } from '../stages/status.ts';
import { color, say, table } from './render.ts';

/**
 * Where routers lead: of every phase that has several, or readers by themselves, or is in the middle of a switch; and whatever is
 * not as it should be.
 */
export const printRoutes = (routes: readonly ObservedRoute[], { phases }: Pick<RunStatus, 'phases'>): void => {
  const switching = new Set(phases.filter(({ state }) => state.name === 'switching').map(({ name }) => name));
  const isShown = (name: string): boolean =>
    switching.has(name) || routes.some(({ phase, label }) => phase === name && label !== phase);
  const shown = routes.filter(({ phase }) => isShown(phase));
  if (shown.length > 0) {
    say();
    say(table([['router', 'phase', 'leads', 'to', 'clients'], ...shown.map((route) => row(route))]));
  }
  for (const { label, trouble } of routes) {
    if (trouble) say(`${color.red('router')} ${label}: ${trouble.fact}\n        remedy: ${trouble.remedy}`);
  }
};

const row = ({ router, phase, led, primary, due, held }: ObservedRoute): readonly string[] => [
  router,
  phase,
  led,
  leadsText(primary, due),
  held ? 'wait' : 'go on',
];

const leadsText = (primary: ObservedRoute['primary'], due: ObservedRoute['due']): string => {
  const now = primary ?? 'not known';
  return primary === null || due === null || primary === due ? now : `${now}, not yet the ${due}`;
};
