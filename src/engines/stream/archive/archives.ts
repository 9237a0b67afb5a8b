import type { ArchiveOptions, ArchivePlace } from '../../archive.ts';
import type { Archives } from '../../engine.ts';
import { assertContinuous, type Chain, readChain } from './chain.ts';
import { countSince, firstNeeded, reachedBy, summaryOf } from './cover.ts';
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
    const { items } = await readChain(place);
    return items.slice(0, firstNeeded(items, reachedBy(base))).map(({ key, bytes }) => ({ key, bytes }));
  },

  async verify(place, options) {
    return summaryOf((await verifyChain(place, options, 1)).items);
  },

  async replay(place, into, options) {
    const chain = await verifyChain(place, options, 2);
    return await replayChain(chain, { place, into }, options);
  },
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
