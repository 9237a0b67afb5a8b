import { displayName } from '../../domain/table.ts';
import type { LaneObserver } from '../engine.ts';
import type { NativeContext } from './context.ts';
import { changesMissing, promoted, subscriptionLost } from './halt.ts';
import { missingMarker } from './marker.ts';
import { readRemembered, timelineOf } from './remembered.ts';
import { dissolve, readSubscription } from './subscription.ts';

/**
 * Makes sure that the written side is still the one whose worker has told the slot what is on disk (S14): the slot does not send
 * that again, and what the subscription says of its position is as old as the side is. Throws kind `halted`.
 *
 * A side that went back to an earlier state has a hole among the markers that arrive; that is for good. One that was promoted
 * may have lost what came after the last marker, and may have lost nothing, as when its replica was a synchronous one; nobody can
 * tell. So its rows count as changed, every one of them, until a verification has compared them; the lane is halted once, and
 * from then on the new server is the one that is known.
 */
export const assertSameHistory = async (
  context: NativeContext,
  observer: Pick<LaneObserver, 'applied'>,
): Promise<void> => {
  const { spec, to } = context;
  const missing = await missingMarker(to, spec);
  if (missing !== null) throw changesMissing(context, missing);
  const remembered = await readRemembered(to, spec);
  if (remembered?.slot !== spec.slot) return;
  if ((await readSubscription(to, spec.slot)) === null) throw subscriptionLost(context);
  if (remembered.timeline === (await timelineOf(to))) return;
  await dissolve(context);
  const progress = await spec.store.progress(to);
  const touched = spec.tables.map((table) => ({ table: displayName(table), keys: 'all' as const }));
  if (progress !== null) observer.applied({ position: progress.position, changes: 0, touched });
  throw promoted(context);
};
