import { messageOf } from '../domain/errors.ts';
import { laneDirection } from '../domain/phase.ts';
import { type Direction, opposite } from '../domain/position.ts';
import { laneName, readLanes } from '../sidecar/lanes.ts';
import type { RunContext } from './context.ts';
import type { Phase } from './machine.ts';

/**
 * Drops the slot that the sidecar names for a lane which no state of the phase uses: one that a worker left which died before
 * it recorded a switch, or while a side could not be asked. Left alone it would hold back the log for ever (L4).
 */
export const retireUnusedSlot = async (context: RunContext, phase: string, direction: Direction): Promise<void> => {
  const name = laneName(phase, direction);
  const known = (await readLanes(context.source.sql)).find((lane) => lane.name === name);
  if (known) await context.engine.retire({ direction, slot: known.slot, publication: null });
};

/** Drops the slot of the direction that a phase's state does not use. A side that cannot be asked is asked the next time. */
export const retireSlotOfOtherDirection = async (context: RunContext, phase: Phase): Promise<void> => {
  const direction = laneDirection(phase.state);
  if (direction === null) return;
  await retireUnusedSlot(context, phase.name, opposite(direction)).catch((error: unknown) =>
    context.emit({ type: 'note', phase: phase.name, text: `an old slot is still there: ${messageOf(error)}` }),
  );
};
