import type { Direction } from '../domain/position.ts';
import { laneName, readLanes } from '../sidecar/lanes.ts';
import type { RunContext } from './context.ts';
import type { Tenure } from './tenure.ts';

/**
 * Drops the slot that the sidecar names for a lane which no state of the phase uses: one that a worker left which died before
 * it recorded a switch, or while a side could not be asked. Left alone it would hold back the log for ever (L4).
 *
 * The name is read while the lease is ours. A worker that slept through a take-over would otherwise read the name of the newer
 * worker's slot, and drop the way back of a phase that soaks; no later slot has a name that we may read now.
 */
export const retireUnusedSlot = async (
  { context, tenure }: { readonly context: RunContext; readonly tenure: Tenure },
  phase: string,
  direction: Direction,
): Promise<void> => {
  const name = laneName(phase, direction);
  const known = (await tenure.act(readLanes)).find((lane) => lane.name === name);
  if (known) await context.engine.retire({ direction, slot: known.slot, publication: null });
};
