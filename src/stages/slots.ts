import { isKind, messageOf } from '../domain/errors.ts';
import { type Direction, opposite, type Side, sidesOf } from '../domain/position.ts';
import { laneDirection } from '../domain/protocol.ts';
import { sidecarExists } from '../sidecar/install.ts';
import { laneName, readLanes, type StoredLane } from '../sidecar/lanes.ts';
import type { RunContext } from './context.ts';
import { guardOn } from './guard.ts';
import type { Phase } from './machine.ts';
import { slotPrefix } from './names.ts';
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
  const { from, to } = sidesOf(direction);
  const guard = guardOn(tenure, from, [phase]);
  const guardWritten = guardOn(tenure, to, [phase]);
  await context.engine.retire({ direction, slot: known.slot, publication: null, guard, guardWritten });
};

/** Drops the slot of the direction that a phase's state does not use. A side that cannot be asked is asked the next time. */
export const retireSlotOfOtherDirection = async (owner: SlotOwner, phase: Phase): Promise<void> => {
  const direction = laneDirection(phase.state);
  if (direction === null) return;
  await retireUnusedSlot(owner, phase.name, opposite(direction)).catch((error: unknown) =>
    owner.context.emit({ type: 'note', phase: phase.name, text: `an old slot is still there: ${messageOf(error)}` }),
  );
};

/** A slot of ours that no lane of the run reads. It holds back the log of its server for as long as it is there (L4). */
export interface OrphanSlot {
  readonly phase: string;
  readonly side: Side;
  readonly slot: string;
  /** What drops it. */
  readonly remedy: string;
}

const DIRECTIONS = ['forward', 'reverse'] as const satisfies readonly Direction[];

const orphansOf = async (
  context: RunContext,
  lanes: readonly StoredLane[],
  { phase, direction }: { readonly phase: string; readonly direction: Direction },
): Promise<readonly string[]> => {
  const known = new Set(lanes.map(({ slot }) => slot));
  const there = await context.traces.slots(direction, slotPrefix(context, phase, direction));
  return there.map(({ name }) => name).filter((name) => !known.has(name));
};

/**
 * Slots of the plan's phases that no lane of the run knows, also when there is no run any more: what a worker made that slept
 * until others had settled its switch, and died before it learnt of that. Throws kind `unreachable` when the source does not
 * answer; a target that does not is left out.
 */
export const findOrphanSlots = async (context: RunContext): Promise<readonly OrphanSlot[]> => {
  const { path, phases } = context.plan;
  const isRun = await sidecarExists(context.source.sql);
  const lanes = isRun ? await readLanes(context.source.sql) : [];
  const found: OrphanSlot[] = [];
  for (const { name: phase } of phases) {
    for (const direction of DIRECTIONS) {
      const side = sidesOf(direction).from;
      const slots = orphansOf(context, lanes, { phase, direction });
      for (const slot of side === 'source' ? await slots : await slots.catch(() => [])) {
        const remedy = isRun
          ? `switchback resume ${path}`
          : `there is no run any more: call pg_drop_replication_slot on the ${side} for ${slot}`;
        found.push({ phase, side, slot, remedy });
      }
    }
  }
  return found;
};

/**
 * Drops the phase's slots that no lane knows. The lanes are read before the slots are, and under the lease, so a slot that is
 * being made is either not there yet or known; in the middle of a switch nothing is touched. A side that cannot be asked is
 * asked the next time.
 */
export const sweepSlots = async ({ context, tenure }: SlotOwner, phase: Phase): Promise<void> => {
  if (phase.state.name === 'switching') return;
  const lanes = await tenure.act(readLanes);
  for (const direction of DIRECTIONS) {
    const { from, to } = sidesOf(direction);
    try {
      for (const slot of await orphansOf(context, lanes, { phase: phase.name, direction })) {
        const guard = guardOn(tenure, from, [phase.name]);
        const guardWritten = guardOn(tenure, to, [phase.name]);
        await context.engine.retire({ direction, slot, publication: null, guard, guardWritten });
        context.emit({
          type: 'note',
          phase: phase.name,
          text: `dropped slot ${slot} on the ${from}, which no lane reads`,
        });
      }
    } catch (error) {
      if (isKind(error, 'deposed')) throw error;
      const text = `slots on the ${from} that no lane reads may still be there: ${messageOf(error)}`;
      context.emit({ type: 'note', phase: phase.name, text });
    }
  }
};
