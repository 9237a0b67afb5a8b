import { isKind, messageOf } from '../domain/errors.ts';
import { type Direction, type Side, sidesOf } from '../domain/position.ts';
import { laneDirection } from '../domain/protocol.ts';
import { sidecarExists } from '../sidecar/install.ts';
import { laneName, readLanes, type StoredLane } from '../sidecar/lanes.ts';
import type { RunContext } from './context.ts';
import { guardOn } from './guard.ts';
import type { Phase } from './machine.ts';
import { SLOTS_OF_OURS, slotPrefix } from './names.ts';
import type { Tenure } from './tenure.ts';

const DIRECTIONS = ['forward', 'reverse'] as const satisfies readonly Direction[];

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
  await context.engine.retire({
    direction,
    slot: known.slot,
    publication: null,
    ...guardsOf(tenure, direction, phase),
  });
};

/** The guards of what is removed on either side of a lane. */
const guardsOf = (tenure: Tenure, direction: Direction, phase: string) => {
  const { from, to } = sidesOf(direction);
  return { guard: guardOn(tenure, from, [phase]), guardWritten: guardOn(tenure, to, [phase]) };
};

/**
 * Drops the slots of the directions that the phases' states do not use. A side that cannot be asked is asked the next time.
 * Names are read once for all phases, and as {@link retireUnusedSlot} reads them.
 */
export const retireSlotsOfOtherDirections = async (owner: SlotOwner, phases: readonly Phase[]): Promise<void> => {
  const { context, tenure } = owner;
  const slots = new Map((await tenure.act(readLanes)).map(({ name, slot }) => [name, slot]));
  for (const direction of DIRECTIONS) {
    try {
      const there = new Set((await context.traces.slots(direction, SLOTS_OF_OURS)).map(({ name }) => name));
      for (const { name: phase, state } of phases) {
        const used = laneDirection(state);
        const slot = slots.get(laneName(phase, direction));
        if (used === null || used === direction || slot === undefined || !there.has(slot)) continue;
        await context.engine.retire({ direction, slot, publication: null, ...guardsOf(tenure, direction, phase) });
      }
    } catch (error) {
      context.emit({ type: 'note', phase: null, text: `an old slot is still there: ${messageOf(error)}` });
    }
  }
};

/** A slot of ours that no lane of the run reads. It holds back the log of its server for as long as it is there (L4). */
export interface OrphanSlot {
  readonly phase: string;
  readonly side: Side;
  readonly slot: string;
  /** What drops it. */
  readonly remedy: string;
}

/** Names of all slots of ours on the sides that lanes read from; of a side that cannot be asked, why. */
const readSlotNames = async (context: RunContext): Promise<ReadonlyMap<Direction, readonly string[] | Error>> => {
  const read = async (direction: Direction): Promise<readonly string[] | Error> => {
    try {
      return (await context.traces.slots(direction, SLOTS_OF_OURS)).map(({ name }) => name);
    } catch (error) {
      return error instanceof Error ? error : new Error(messageOf(error));
    }
  };
  return new Map(await Promise.all(DIRECTIONS.map(async (direction) => [direction, await read(direction)] as const)));
};

/** Which of the slots are a phase's and no lane's. */
const orphansAmong = (
  slots: readonly string[],
  lanes: readonly StoredLane[],
  of: { readonly context: RunContext; readonly phases: readonly string[]; readonly direction: Direction },
): readonly { readonly phase: string; readonly slot: string }[] => {
  const known = new Set(lanes.map(({ slot }) => slot));
  const unknown = slots.filter((slot) => !known.has(slot));
  if (unknown.length === 0) return [];
  return of.phases.flatMap((phase) => {
    const prefix = slotPrefix(of.context, phase, of.direction);
    return unknown.filter((slot) => slot.startsWith(prefix)).map((slot) => ({ phase, slot }));
  });
};

/**
 * Slots of the plan's phases that no lane of the run knows, also when there is no run any more: what a worker made that slept
 * until others had settled its switch, and died before it learnt of that. Throws kind `unreachable` when the source does not
 * answer; a target that does not is left out.
 */
export const findOrphanSlots = async (context: RunContext): Promise<readonly OrphanSlot[]> => {
  const { path, phases } = context.plan;
  const slots = await readSlotNames(context);
  const isRun = await sidecarExists(context.source.sql);
  const lanes = isRun ? await readLanes(context.source.sql) : [];
  const names = phases.map(({ name }) => name);
  return DIRECTIONS.flatMap((direction) => {
    const side = sidesOf(direction).from;
    const there = slots.get(direction) ?? [];
    if (there instanceof Error) {
      if (side === 'source') throw there;
      return [];
    }
    return orphansAmong(there, lanes, { context, phases: names, direction }).map(({ phase, slot }) => ({
      phase,
      side,
      slot,
      remedy: isRun
        ? `switchback resume ${path}`
        : `there is no run any more: call pg_drop_replication_slot on the ${side} for ${slot}`,
    }));
  });
};

/**
 * Drops the phases' slots that no lane knows. A lane's slot is recorded before it is made, and never under a name that was
 * there before. So the slots are read first, and the lanes then, under the lease: whatever is a lane's among them is known by
 * now, or was given up since. Phases in the middle of a switch are not touched. A side that cannot be asked is asked the next
 * time.
 */
export const sweepSlots = async ({ context, tenure }: SlotOwner, phases: readonly Phase[]): Promise<void> => {
  const names = phases.filter(({ state }) => state.name !== 'switching').map(({ name }) => name);
  if (names.length === 0) return;
  const slots = await readSlotNames(context);
  const lanes = await tenure.act(readLanes);
  for (const direction of DIRECTIONS) {
    const { from } = sidesOf(direction);
    try {
      const there = slots.get(direction) ?? [];
      if (there instanceof Error) throw there;
      for (const { phase, slot } of orphansAmong(there, lanes, { context, phases: names, direction })) {
        await context.engine.retire({ direction, slot, publication: null, ...guardsOf(tenure, direction, phase) });
        context.emit({ type: 'note', phase, text: `dropped slot ${slot} on the ${from}, which no lane reads` });
      }
    } catch (error) {
      if (isKind(error, 'deposed')) throw error;
      const text = `slots on the ${from} that no lane reads may still be there: ${messageOf(error)}`;
      context.emit({ type: 'note', phase: null, text });
    }
  }
};
