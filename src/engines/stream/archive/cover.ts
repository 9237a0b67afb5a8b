import { Lsn } from '../../../platform/postgres/lsn.ts';
import type { ArchiveBase, ArchivedSince, ArchiveSummary, Count, Stretch } from '../../archive.ts';
import { type Chain, flawOf } from './chain.ts';
import type { Item } from './item.ts';

/** How far a state has come in the history of each side, as far as lanes carry it. */
export interface Reached {
  /** Of the source's own writes: everything before the first is in the state, nothing from the second on. */
  readonly forward: { readonly atLeast: bigint; readonly atMost: bigint };
  /** Of the target's writes; null when none have been applied there. */
  readonly reverse: bigint | null;
}

/** What a state has reached. */
export const reachedBy = ({ source, reverse }: ArchiveBase): Reached => ({
  forward: { atLeast: Lsn.parse(source.atLeast), atMost: Lsn.parse(source.atMost) },
  reverse: reverse === null ? null : Lsn.parse(reverse),
});

/** How far all of an item's direction is in a state. */
const reachedOf = (reached: Reached, { direction }: Item): bigint =>
  direction === 'forward' ? reached.forward.atLeast : (reached.reverse ?? 0n);

/** Whether a state lacks something of an item, or needs it to be led on. */
const isNeeded = (item: Item, reached: Reached): boolean => item.until > reachedOf(reached, item);

/** Where the items begin that a replay on a state needs; their number when it needs none. */
export const firstNeeded = (items: readonly Item[], reached: Reached): number => {
  const at = items.findIndex((item) => isNeeded(item, reached));
  return at < 0 ? items.length : at;
};

/** What is missing between a state and the end of the archive, for people; null when nothing is. */
export const missingAfter = (chain: Chain, reached: Reached): string | null => {
  const flaw = flawOf(chain);
  if (flaw !== null) return flaw;
  const { items } = chain;
  if (items.length === 0) return 'the archive is empty';
  const at = firstNeeded(items, reached);
  const anew = items.findIndex((item, i) => i > 0 && i >= at && item.kind === 'link' && item.ended === null);
  if (anew >= 0) return `the archive begins anew with ${items[anew]?.key}, after the state that is to be led on`;
  const first = items[at];
  if (first === undefined) return null;
  const own = reachedOf(reached, first);
  if (first.kind === 'segment' || first.ended === null) return first.from <= own ? null : between(own, first.from);
  const other = first.direction === 'reverse' ? reached.forward.atLeast : (reached.reverse ?? 0n);
  return first.from <= own || other >= first.ended ? null : between(other, first.ended);
};

const between = (from: bigint, until: bigint): string =>
  `what was written between ${Lsn.format(from)} and ${Lsn.format(until)} is not in the archive`;

/** What has come after a state, counted from the listing. */
export const countSince = (chain: Chain, base: ArchiveBase): ArchivedSince => {
  const reached = reachedBy(base);
  const items = chain.items.slice(firstNeeded(chain.items, reached)).filter((item) => isNeeded(item, reached));
  const tail = chain.items.at(-1);
  return {
    missing: missingAfter(chain, reached),
    transactions: count(items, reached, (item) => item.transactions),
    changes: count(items, reached, (item) => item.changes),
    end: tail === undefined ? null : { direction: tail.direction, position: Lsn.format(tail.until) },
  };
};

/** Of an item that the state has a part of, only the whole is known. */
const count = (items: readonly Item[], reached: Reached, of: (item: Item) => number): Count => {
  let atLeast = 0;
  let atMost = 0;
  for (const item of items) {
    atMost += of(item);
    const begun = item.direction === 'forward' ? reached.forward.atMost : (reached.reverse ?? 0n);
    if (item.from >= begun) atLeast += of(item);
  }
  return { atLeast, atMost };
};

/** What a chain holds. */
export const summaryOf = (items: readonly Item[]): ArchiveSummary => {
  const newestMs = items.findLast((item) => item.transactions > 0)?.newestMs;
  const sum = (of: (item: Item) => number): number => items.reduce((total, item) => total + of(item), 0);
  return {
    stretches: stretchesOf(items),
    objects: items.length,
    bytes: sum((item) => item.bytes),
    transactions: sum((item) => item.transactions),
    changes: sum((item) => item.changes),
    newestAt: newestMs === undefined ? null : new Date(newestMs).toISOString(),
  };
};

const stretchesOf = (items: readonly Item[]): readonly Stretch[] => {
  const stretches: Stretch[] = [];
  for (const item of items) {
    const last = stretches.at(-1);
    const until = Lsn.format(item.until);
    if (item.kind === 'segment' && last !== undefined) stretches[stretches.length - 1] = { ...last, until };
    else {
      const ended = item.ended === null ? null : Lsn.format(item.ended);
      stretches.push({ direction: item.direction, ended, from: Lsn.format(item.from), until });
    }
  }
  return stretches;
};
