import { createHash } from 'node:crypto';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import type { Repoint } from '../router.ts';
import { isHeld, leadPatch, leadsTo, type PatchBody, type Place, type PlaceName } from './places.ts';
import { type Objects, refText } from './resources.ts';

/** Where each side is, in the spelling of `leadsTo`. */
export type Destinations = Readonly<Record<Side, string>>;

/** A phase with what leads it. */
export interface Led {
  readonly phase: string;
  readonly place: Place;
  readonly destinations: Destinations;
}

/** One phase's route as its object has it. */
export interface StoredRoute {
  /** Where the object leads; null when nowhere, or to several places. */
  readonly leads: string | null;
  /** The side that this is. */
  readonly side: Side | null;
  readonly held: boolean;
  /** Of the last repoint; 0 before the first. */
  readonly epoch: bigint;
  /** Where the last repoint led, and what it is called: what has to be restarted after it is marked with that. */
  readonly told: Side | null;
  readonly change: string | null;
  /** The change for which everything has been restarted. */
  readonly restarted: string | null;
  readonly version: string;
}

/** What we keep of a phase in the annotations of its object. A name is at most 63 characters behind the slash. */
export const annotation = (
  phase: string,
  what: 'primary' | 'epoch' | 'previous' | 'change' | 'restarted' | 'released',
) => `switchback/${phase}.${what}`;

const epochIn = (object: Objects[PlaceName], place: Place, phase: string): bigint => {
  const name = annotation(phase, 'epoch');
  const text = object.metadata?.annotations?.[name] ?? '0';
  if (/^\d{1,19}$/.test(text)) return BigInt(text);
  throw new SwitchbackError('refused', `the annotation ${name} of ${refText(place.ref)} is not a whole number`, {
    remedy: 'remove it when no switch is under way, and run the command again',
  });
};

/**
 * The route of a phase. Its version is salted with the object's uid, so that what is recorded of it tells nothing of a
 * Secret's value.
 */
export const storedRoute = <N extends PlaceName>(
  place: Place<N>,
  object: Objects[N],
  of: { readonly phase: string; readonly destinations: Destinations },
): StoredRoute => {
  const { phase, destinations } = of;
  const annotations = object.metadata?.annotations ?? {};
  const leads = leadsTo(place, object);
  const epoch = epochIn(object, place, phase);
  const told = annotations[annotation(phase, 'primary')];
  return {
    leads,
    side: leads === destinations.source ? 'source' : leads === destinations.target ? 'target' : null,
    held: isHeld(place, object),
    epoch,
    told: told === 'source' || told === 'target' ? told : null,
    change: annotations[annotation(phase, 'change')] ?? null,
    restarted: annotations[annotation(phase, 'restarted')] ?? null,
    version: createHash('sha256')
      .update(JSON.stringify([object.metadata?.uid, leads, String(epoch)]))
      .digest('hex'),
  };
};

/** What a repoint makes of a route: nothing, only another epoch, or another destination. */
export type Change = 'none' | 'epoch' | 'lead';

/** Throws kind `refused` for an older epoch or a version that has moved on. */
export const changeOf = (repoint: Repoint, phase: string, route: StoredRoute): Change => {
  const { to, epoch, expect } = repoint;
  const isAsObserved = expect[phase] === route.version;
  const isThere = route.side === to;
  // As for a file: a higher epoch that was there before the switch is an earlier run's, which began to count anew; one that
  // has come since is a newer worker's.
  if (epoch < route.epoch && !isAsObserved) {
    if (isThere) return 'none';
    throw new SwitchbackError('refused', `phase ${phase} was repointed by epoch ${route.epoch}, and this is ${epoch}`, {
      remedy: 'stop this worker: a newer one is at work',
    });
  }
  if (!isThere && !isAsObserved) {
    throw new SwitchbackError('refused', `the route of phase ${phase} was changed by somebody since it was looked at`, {
      remedy: `see who edits the object; it leads ${phase} to ${route.side ?? 'neither side'} now`,
    });
  }
  // Led there by hand: nobody knows whether what reads it has been restarted since. One that was there before the switch, and
  // was never told, is what everything has read.
  if (!isThere || (route.told !== to && (route.told !== null || !isAsObserved))) return 'lead';
  return epoch === route.epoch ? 'none' : 'epoch';
};

/**
 * What is written into the object in the same instant as where it leads. A change is called by the version of the object
 * that it takes the place of, which no other has: epochs begin anew with a new run. Of a Secret it is only kept whose its
 * value was, since annotations are shown to whoever describes it.
 */
const annotated = <N extends PlaceName>(
  place: Place<N>,
  object: Objects[N],
  at: { readonly phase: string; readonly route: StoredRoute; readonly repoint: Repoint },
): Readonly<Record<string, string>> => {
  const { phase, route, repoint } = at;
  const previous = place.ref.of === 'secret' ? (route.side ?? 'neither side') : (route.leads ?? '');
  return {
    [annotation(phase, 'primary')]: repoint.to,
    [annotation(phase, 'epoch')]: String(repoint.epoch),
    [annotation(phase, 'previous')]: previous,
    [annotation(phase, 'change')]: object.metadata?.resourceVersion ?? '',
  };
};

/** The merge patch of a repoint of one phase; null when nothing changes. Throws as `changeOf` does. */
export const repointPatch = <N extends PlaceName>(
  place: Place<N>,
  object: Objects[N],
  at: { readonly phase: string; readonly destinations: Destinations; readonly repoint: Repoint },
): { readonly body: PatchBody; readonly annotations: Readonly<Record<string, string>> } | null => {
  const { phase, destinations, repoint } = at;
  const route = storedRoute(place, object, { phase, destinations });
  const change = changeOf(repoint, phase, route);
  if (change === 'none') return null;
  if (change === 'epoch') {
    const primary = { [annotation(phase, 'primary')]: repoint.to };
    return { body: {}, annotations: { ...primary, [annotation(phase, 'epoch')]: String(repoint.epoch) } };
  }
  const body = leadPatch(place, object, destinations[repoint.to]);
  return { body, annotations: annotated(place, object, { phase, route, repoint }) };
};
