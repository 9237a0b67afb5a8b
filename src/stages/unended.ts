import type { Finding } from '../domain/finding.ts';
import type { PhaseState } from '../domain/phase.ts';
import { isOver } from '../domain/protocol.ts';
import { sidecarExists } from '../sidecar/install.ts';
import type { RunContext } from './context.ts';

/**
 * What is said of a run whose phases are all at their end while something is left that should have gone with the last of
 * them, or null: whoever was to remove it died before, and no phase tells of it.
 */
export const findUnended = async (
  context: RunContext,
  phases: readonly { readonly state: PhaseState; readonly source: { readonly fenced: boolean } | null }[],
): Promise<Finding | null> => {
  if (phases.length === 0 || !phases.every(({ state }) => isOver(state))) return null;
  const keepsFence = phases.some(({ state, source }) => state.name === 'finalised' && source?.fenced === true);
  // The fence that a finalised phase keeps needs the source's sidecar, and only that.
  if (keepsFence && !(await sidecarExists(context.target.sql).catch(() => false))) return null;
  return {
    id: 'run/unended',
    severity: 'blocks',
    subject: 'run',
    fact: 'every phase is at its end, and what should have gone with the last one is still there',
    remedy: `to remove it: switchback resume ${context.plan.path}`,
  };
};
