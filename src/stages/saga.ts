import { failpoint } from '../platform/failpoint.ts';
import { type Effect, look, untilKnown } from './effect.ts';
import { scopeKind } from './journal-writer.ts';
import type { StepScope, Tenure } from './tenure.ts';

/** Where an effect stands in the journal. */
export interface EffectPlace {
  readonly where: StepScope;
  readonly step: string;
}

/**
 * Intend, probe, act, record: one step of a saga. A restart comes here again and finds by the probe what an earlier process
 * has done, or does it once more where the act finds that better than a probe ({@link Effect.actsAnyway}). Throws what the
 * act throws when it has failed for certain; an unknown outcome is probed, and kind `parked` is thrown when it cannot be.
 *
 * @see Garcia-Molina and Salem, Sagas (1987), for undoing by compensation; the probe is ours.
 */
export const carryOutEffect = async (tenure: Tenure, place: EffectPlace, effect: Effect): Promise<void> => {
  const { where, step } = place;
  const work = async (): Promise<string | undefined> => {
    const stood = effect.actsAnyway === true ? null : await look(effect);
    if (stood !== null) return stood === '' ? 'stood already' : `stood already: ${stood}`;
    const said = await untilKnown(effect);
    failpoint(`acted ${scopeKind(where.scope)}/${step}`);
    return said;
  };
  await (effect.changesNothing === true ? tenure.lookingStep(where, step, work) : tenure.step(where, step, work));
};
