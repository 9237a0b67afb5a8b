import { SwitchbackError } from '../domain/errors.ts';
import type { Repoint } from './router.ts';

/** What a router that remembers epochs in its entry of a phase finds there. */
export interface FoundEntry {
  readonly phase: string;
  /** Whether it leads where the repoint wants it. */
  readonly isThere: boolean;
  /** Whether its version is the one that was recorded before the repoint. */
  readonly isAsObserved: boolean;
  /** Of the last repoint. */
  readonly epoch: bigint;
  /** For whoever reads that somebody changed it: where to look, and where it leads now. */
  readonly remedy: string;
}

/** An entry that somebody has led elsewhere since it was observed. */
export const changedBySomebody = (phase: string, remedy: string): SwitchbackError =>
  new SwitchbackError('refused', `the route of phase ${phase} was changed by somebody since it was looked at`, {
    remedy,
  });

/** Whether the entry is to be changed. Throws kind `refused` for an older epoch or a version that has moved on. */
export const isToChange = (repoint: Repoint, found: FoundEntry): boolean => {
  const { phase, isThere, isAsObserved, epoch } = found;
  // As for a file: a higher epoch that was there before the switch is an earlier run's; one that has come since is a
  // newer worker's.
  if (repoint.epoch < epoch && !isAsObserved) {
    if (isThere) return false;
    throw new SwitchbackError(
      'refused',
      `phase ${phase} was repointed by epoch ${epoch}, and this is ${repoint.epoch}`,
      {
        remedy: 'stop this worker: a newer one is at work',
      },
    );
  }
  if (!isThere && !isAsObserved) throw changedBySomebody(phase, found.remedy);
  return !isThere || epoch !== repoint.epoch;
};
