import type { ArchiveOptions, ArchivePlace } from '../../archive.ts';
import type { Archives } from '../../engine.ts';
import { assertContinuous, type Chain, chainOf, readChain, readItems } from './chain.ts';
import { countSince, firstNeeded, reachedBy, summaryOf } from './cover.ts';
import type { Item } from './item.ts';
import { verifyItem } from './read.ts';
import { replayChain } from './replay.ts';

/** The archives of the stream engine's lanes; see {@link Archives}. */
export const streamArchives: Archives = {
  async summary(place) {
    const chain = await readChain(place);
    assertContinuous(place, chain);
    return summaryOf(chain.items);
  },

  async since(place, base) {
    return countSince(await readChain(place), base);
  },

  async unneeded(place, base) {
    const all = await readItems(place);
    const { items } = chainOf(all);
    const needed = items[firstNeeded(items, reachedBy(base))];
    return before(all, items, needed).map(({ key, bytes }) => ({ key, bytes }));
  },

  async verify(place, options) {
    return summaryOf((await verifyChain(place, options, 1)).items);
  },

  async replay(place, into, options) {
    const chain = await verifyChain(place, options, 2);
    return await replayChain(chain, { place, into }, options);
  },
};

/**
 * Objects before one, the oldest first; all where there is none. Also those that stand beside the chain: one that stayed without its
 * neighbours would show a hole. Of two in one place it goes first, for the same reason.
 */
const before = (all: readonly Item[], items: readonly Item[], needed: Item | undefined): readonly Item[] => {
  const chained = new Set(items);
  const older = needed === undefined ? all : all.filter((item) => item.seq < needed.seq);
  return older.toSorted((a, b) => a.seq - b.seq || Number(chained.has(a)) - Number(chained.has(b)));
};

/** Reads the whole archive. Objects are read `times` in all, so far as progress is concerned. */
const verifyChain = async (place: ArchivePlace, options: ArchiveOptions, times: number): Promise<Chain> => {
  const chain = await readChain(place);
  assertContinuous(place, chain);
  const of = chain.items.length * times;
  for (const [at, item] of chain.items.entries()) {
    options.signal.throwIfAborted();
    await verifyItem(place, item);
    options.progress({ done: at + 1, of });
  }
  return chain;
};
