import { messageOf } from '../domain/errors.ts';
import { type Direction, opposite, sidesOf } from '../domain/position.ts';
import { laneDirection } from '../domain/protocol.ts';
import { laneName, readLanes } from '../sidecar/lanes.ts';
import type { RunContext } from './context.ts';
import { guardOn } from './guard.ts';
import type { Phase } from './machine.ts';
import type { Tenure } from './tenure.ts';

/** Who drops slots, and under which lease. */
export interface SlotOwner {
  readonly context: RunContext;
  readonly tenure: Tenure;
}

/**
 * Drops the slot that the sidecar names for a lane which no state of the phase uses: one that a worker left which died before
 * it recorded a switch, or while a side could not be asked. Left alone it would hold back the log for ever (L4).
 *
 * The name is read while the lease is ours. A worker that slept through a take-over would otherwise read the name of the newer
 * worker's slot, and drop the way back of a phase that soaks; no later slot has a name that we may read now.
 */
export const retireUnusedSlot = async (
  { context, tenure }: SlotOwner,
  phase: string,
  direction: Direction,
): Promise<void> => {
  const name = laneName(phase, direction);
  const known = (await tenure.act(readLanes)).find((lane) => lane.name === name);
  if (!known) return;
  const guard = guardOn(tenure, sidesOf(direction).from, [phase]);
  await context.engine.retire({ direction, slot: known.slot, publication: null, guard });
};

/** Drops the slot of the direction that a phase's state does not use. A side that cannot be asked is asked the next time. */
export const retireSlotOfOtherDirection = async (owner: SlotOwner, phase: Phase): Promise<void> => {
  const direction = laneDirection(phase.state);
  if (direction === null) return;
  await retireUnusedSlot(owner, phase.name, opposite(direction)).catch((error: unknown) =>
    owner.context.emit({ type: 'note', phase: phase.name, text: `an old slot is still there: ${messageOf(error)}` }),
  );
};
