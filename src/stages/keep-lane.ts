import { SwitchbackError } from '../domain/errors.ts';
import type { Direction } from '../domain/position.ts';
import { laneDirection } from '../domain/protocol.ts';
import { laneName, readLanes } from '../sidecar/lanes.ts';
import type { RunContext } from './context.ts';
import type { LaneRunner } from './lane-runner.ts';
import type { Phase } from './machine.ts';

/**
 * Opens and starts the lane of the phase's state, unless it runs. One that is halted, or that the engine says cannot go on,
 * is left halted and told of. Kinds as {@link LaneRunner.open}, but for `halted`.
 */
export const ensureLane = async (
  context: RunContext,
  phase: Phase,
  runnerFor: (direction: Direction, slot: string) => LaneRunner,
): Promise<void> => {
  const direction = laneDirection(phase.state);
  if (direction === null) return;
  // While a phase copies, the copy stage decides when its lane may begin to follow.
  const follows = phase.state.name !== 'copying';
  if (phase.runner?.direction === direction) {
    if (follows) phase.runner.start();
    return;
  }
  await phase.runner?.close();
  const name = laneName(phase.name, direction);
  const stored = (await readLanes(context.source.sql)).find((lane) => lane.name === name);
  if (!stored) throw new SwitchbackError('internal', `lane ${name} is not in the sidecar`);
  const runner = runnerFor(direction, stored.slot);
  phase.runner = runner;
  try {
    await runner.open({ kind: 'resume' });
    // Open all the same: what halted it may be a row that `verify --repair` mends.
    if (stored.halt) return await runner.haltWith(stored.halt.finding);
  } catch (error) {
    if (error instanceof SwitchbackError && error.kind === 'halted' && error.findings[0]) {
      return await runner.haltWith(error.findings[0]);
    }
    phase.runner = null;
    throw error;
  }
  if (follows) runner.start();
};
