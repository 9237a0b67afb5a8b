import type { RequestResult } from '../sidecar/requests.ts';
import type { RunContext } from './context.ts';
import type { Phase } from './machine.ts';
import { lossText } from './snapshots/loss.ts';
import { answerTo } from './switch/arrival.ts';
import { runSwitch } from './switch/switch.ts';
import type { SwitchTools } from './switch/types.ts';

/** What a change of the primary needs of the worker. */
export interface Changer {
  readonly context: RunContext;
  readonly phases: readonly Phase[];
  readonly signal: AbortSignal;
  ensureLane(phase: Phase): Promise<void>;
  switchTools(signal: AbortSignal): SwitchTools;
}

/** A cutover or a failback, as a command asks for it. */
export const change = async (
  worker: Changer,
  direction: 'forward' | 'reverse',
  phases: readonly Phase[],
): Promise<RequestResult> => {
  for (const phase of phases) await worker.ensureLane(phase);
  const tools = worker.switchTools(worker.signal);
  const result = await runSwitch(tools, { direction, phases, all: worker.phases });
  const names = phases.map((phase) => phase.name).join(', ');
  const to = direction === 'forward' ? 'target' : 'source';
  const message = `${names} is on the ${to} now (${result.switchId}, window ${Math.round(result.windowMs)} ms)`;
  return answerTo({ message, data: result }, worker.context.plan.path);
};

/** Option of a failback that gives up what the target has beyond a restored source. */
export const AS_RESTORED = 'as-restored';

/** A failback to the source exactly as it was restored. No lane is opened: it would bring what is given up. */
export const changeAsRestored = async (worker: Changer, phases: readonly Phase[]): Promise<RequestResult> => {
  const tools = worker.switchTools(worker.signal);
  const result = await runSwitch(tools, { direction: 'reverse', phases, all: worker.phases, asRestored: true });
  const names = phases.map((phase) => phase.name).join(', ');
  const message = `${names} is on the source now, as that was restored (${result.switchId}, window ${Math.round(result.windowMs)} ms); ${lossText(result.losses ?? [])}`;
  return answerTo({ message, data: result }, worker.context.plan.path);
};
