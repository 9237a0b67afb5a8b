import type { Direction } from '../domain/position.ts';
import { laneName, readLanes } from '../sidecar/lanes.ts';
import type { RunContext } from './context.ts';

/**
 * Drops the slot that the sidecar names for a lane which no state of the phase uses: one that a worker left which died before
 * it recorded a switch, or while a side could not be asked. Left alone it would hold back the log for ever (L4).
 */
export const retireUnusedSlot = async (context: RunContext, phase: string, direction: Direction): Promise<void> => {
  const name = laneName(phase, direction);
  const known = (await readLanes(context.source.sql)).find((lane) => lane.name === name);
  if (known) await context.engine.retire({ direction, slot: known.slot, publication: null });
};
