import { isKind } from '../../domain/errors.ts';
import { fillRemedy } from '../../domain/remedy.ts';
import type { Phase } from '../machine.ts';
import { resumeSwitch } from './switch.ts';
import type { SwitchTools } from './types.ts';

/**
 * Completes or undoes whatever switch of these phases an earlier process left half done; resolves with what became of each.
 * Throws kind `parked` when one can neither be completed nor undone now, and kind `deposed`.
 */
export const settleHalfDone = async (tools: SwitchTools, phases: readonly Phase[]): Promise<readonly string[]> => {
  const ids = new Set(phases.flatMap(({ state }) => (state.name === 'switching' ? [state.switchId] : [])));
  const said: string[] = [];
  // Each is tried: one that cannot be settled must not keep another fenced.
  let failure: unknown = null;
  for (const id of ids) {
    try {
      const text = await resumeSwitch(tools, phases, id);
      said.push(text);
      tools.context.emit({ type: 'note', phase: null, text });
    } catch (error) {
      if (isKind(error, 'deposed')) throw error;
      failure ??= error;
    }
  }
  if (failure !== null) throw failure;
  return said;
};

/**
 * As {@link settleHalfDone}, by a worker that has other phases to go on with: one that cannot be settled now is told and left
 * `switching`, and clients' paths are asked once and not waited for.
 */
export const settleWhatCanBe = async (tools: SwitchTools, phases: readonly Phase[]): Promise<void> => {
  try {
    await settleHalfDone({ ...tools, asksOnce: true }, phases);
  } catch (error) {
    if (!isKind(error, 'parked')) throw error;
    const plan = tools.context.plan.path;
    const remedy = fillRemedy(error.remedy ?? 'switchback resume PLAN', { plan });
    tools.context.emit({ type: 'note', phase: null, text: `parked: ${error.message}; what to do: ${remedy}` });
  }
};
