import { SwitchbackError } from '../domain/errors.ts';
import { readPhases } from '../sidecar/phases.ts';
import { readSwitch } from '../sidecar/switches.ts';
import type { RunContext } from './context.ts';

/**
 * Refuses a changed plan that calls routers of a phase otherwise in the middle of a switch: what is recorded of them, which is the
 * condition of their repoint, goes by their names, so that one of another name could not be led anywhere. One that the plan
 * has no more is told of and let go, as the way out where it is gone for good. Reads the source; throws kind `refused`.
 */
export const assertRoutersRecorded = async (context: RunContext): Promise<void> => {
  const { plan, source } = context;
  for (const { name, state } of await readPhases(source.sql)) {
    if (state.name !== 'switching') continue;
    const recorded = (await readSwitch(source.sql, state.switchId))?.document.routes[name];
    // Before a phase could have several, the one was recorded without its name.
    if (recorded === undefined || typeof recorded === 'string') continue;
    const known = Object.keys(recorded);
    const named = plan.phases.find((phase) => phase.name === name)?.routers ?? [];
    assertKnown(context, { phase: name, switchId: state.switchId, known, named });
    for (const router of known.filter((one) => !named.includes(one))) {
      const finding = {
        id: 'router/left-out',
        severity: 'warns',
        subject: `router ${router}`,
        fact: `${state.switchId} is half done, and it is no router of phase ${name} any more: its clients are neither led anywhere nor let go on`,
        remedy: `see where it leads and whether it keeps clients waiting, and lead it by hand to where the others do: switchback status ${plan.path}`,
      } as const;
      context.emit({ type: 'finding', phase: name, finding });
    }
  }
};

const assertKnown = (
  { plan }: RunContext,
  at: {
    readonly phase: string;
    readonly switchId: string;
    readonly known: readonly string[];
    readonly named: readonly string[];
  },
): void => {
  const { phase, switchId, known, named } = at;
  const strange = named.filter((router) => !known.includes(router));
  if (strange.length === 0) return;
  throw new SwitchbackError(
    'refused',
    `${switchId} is half done, and knows phase ${phase} by its routers ${known.join(', ')}, not by ${strange.join(', ')}`,
    {
      remedy: `call them as before in ${plan.path}, then: switchback resume ${plan.path}; rename or add routers when that is done. One that is gone for good may be left out`,
    },
  );
};
