import { type Direction, opposite } from '../../../domain/position.ts';
import type { ArchivePlace } from '../../archive.ts';
import { damaged, type Item, prefixOf, readKey } from './item.ts';

/** The objects of a phase that follow one another up to the newest. */
export interface Chain {
  /** In order. Without the first ones where they have been removed as no longer needed. */
  readonly items: readonly Item[];
  /** What is missing between objects that are there; null when nothing is. */
  readonly hole: string | null;
}

/**
 * Reads which objects there are, and which of them are the chain. A worker that slept may have put an object beside one of
 * its successor's, and an attempt whose answer was lost one beside what was written instead: the chain is the one that ends
 * with the newest epoch, or is longer, or reaches further, and what stands beside it is no part of it. All of these hold the
 * same transactions, since they come from the same log; that decides only which of them is continued.
 */
export const readChain = async (place: ArchivePlace): Promise<Chain> => chainOf(await readItems(place));

/** Reads which objects there are, of the chain and beside it. */
export const readItems = async (place: ArchivePlace): Promise<readonly Item[]> => {
  const all: Item[] = [];
  for await (const entry of place.objects.list(prefixOf(place))) all.push(readKey(entry, place));
  return all;
};

/** The chain among these objects; see {@link readChain}. */
export const chainOf = (all: readonly Item[]): Chain => {
  const named = new Map(all.map((item) => [nameOf(item.seq, item.hash), item]));
  const continued = new Set(all.map((item) => nameOf(item.seq - 1, item.previous ?? '')));
  const tips = all.filter((item) => !continued.has(nameOf(item.seq, item.hash)));
  const tip = tips.toSorted(byRank).at(-1);
  const items: Item[] = [];
  for (let item = tip; item !== undefined; item = named.get(nameOf(item.seq - 1, item.previous ?? '')))
    items.push(item);
  items.reverse();
  const first = items[0];
  const isCut = first !== undefined && all.some((item) => item.seq < first.seq);
  return { items, hole: isCut ? `what comes before ${first.key} is missing, and older objects are there` : null };
};

const nameOf = (seq: number, hash: string): string => `${seq} ${hash}`;

const byRank = (a: Item, b: Item): number => compare(a.epoch, b.epoch) || a.seq - b.seq || compare(a.until, b.until);

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * The newest object of a direction since the archive began anew, among the first `count` objects; undefined when its lane has written
 * nothing. It looks no further back than that object: an archive has as many of them as the run had half minutes.
 */
export const lastOf = (items: readonly Item[], direction: Direction, count = items.length): Item | undefined => {
  for (let at = count - 1; at >= 0; at--) {
    const item = items[at];
    if (item?.direction === direction) return item;
    if (item?.kind === 'link' && item.ended === null) return undefined;
  }
  return undefined;
};

/** Proves that each object goes on where the one before it ended. Throws kind `refused` with what {@link flawOf} says. */
export const assertContinuous = (place: ArchivePlace, chain: Chain): void => {
  const flaw = flawOf(chain);
  if (flaw !== null) throw damaged(place, flaw);
};

/**
 * Where an object does not go on where the one before it ended, for people: a hole, or objects that do not fit together, which no
 * lane of ours writes. Null when each does. From the keys alone.
 */
export const flawOf = ({ items, hole }: Chain): string | null => {
  if (hole !== null) return hole;
  for (const [at, item] of items.entries()) {
    const fact = breakBefore(items, at, item);
    if (fact !== null) return `${item.key} ${fact}`;
    if (item.until < item.from) return `${item.key} ends before it begins`;
  }
  return null;
};

const breakBefore = (items: readonly Item[], at: number, item: Item): string | null => {
  const before = items[at - 1];
  if (before === undefined) return null;
  if (item.epoch < before.epoch) return 'is of an older epoch than the one before it';
  if (item.kind === 'segment') {
    const fits = before.direction === item.direction && before.until === item.from;
    return fits ? null : 'does not begin where the one before it ended';
  }
  if (item.ended === null) return null;
  const other = lastOf(items, opposite(item.direction), at);
  if (other !== undefined && other.until < item.ended) return 'begins after more than the other lane had brought';
  const own = lastOf(items, item.direction, at);
  return own !== undefined && item.from < own.until ? 'begins before its lane had ended' : null;
};
