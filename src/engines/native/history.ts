import { displayName } from '../../domain/table.ts';
import type { LaneObserver } from '../engine.ts';
import type { NativeContext } from './context.ts';
import { changesMissing, promoted, subscriptionLost } from './halt.ts';
import { forgetArrivals, missingMarker } from './marker.ts';
import { readRemembered, timelineOf } from './remembered.ts';
import { dissolve, laneGuard, readSubscription } from './subscription.ts';

/**
 * Makes sure that the written side is still the one whose worker has told the slot what is on disk (S14): the slot does not send
 * that again, and what the subscription says of its position is as old as the side is. Throws kind `halted`.
 *
 * A side that was put back to an earlier state has a hole among the markers that arrive; that is for good. One that was promoted
 * may have lost no more than came after the last marker, or nothing, as when its replica was a synchronous one; nobody can tell.
 * So its rows count as changed, every one of them, until a verification has compared them; the lane is halted once, and from
 * then on the new server is the one that is known.
 */
export const assertSameHistory = async (
  context: NativeContext,
  observer: Pick<LaneObserver, 'applied'>,
): Promise<void> => {
  const { spec, to } = context;
  const remembered = await readRemembered(to, spec);
  if (remembered?.slot !== spec.slot) return;
  if ((await readSubscription(to, spec.slot)) === null) throw subscriptionLost(context);
  // One that was not noted may be this one; from the next start on it is.
  if (remembered.timeline === null || remembered.timeline === (await timelineOf(to))) {
    const missing = await missingMarker(to, spec);
    if (missing !== null) throw changesMissing(context, missing);
    return;
  }
  const progress = await spec.store.progress(to);
  const touched = spec.tables.map((table) => ({ table: displayName(table), keys: 'all' as const }));
  if (progress !== null) observer.applied({ position: progress.position, changes: 0, touched });
  // First of all, so that whoever dies in between is not told that what the new server lacks is missing for good.
  await forgetArrivals(to, spec, laneGuard(context.held));
  // The next one is made on the new timeline, and remembered with it.
  await dissolve(context);
  throw promoted(context);
};
