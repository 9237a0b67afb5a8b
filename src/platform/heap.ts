import { setFlagsFromString } from 'node:v8';

/** By how much of what is alive the heap grows, in percent, before V8 looks for garbage in all of it. */
const GROWING_PERCENT = 100;

/**
 * Keeps the garbage of this process to about as much as it has alive. V8 by itself lets four times that lie where the
 * machine has much memory, and a large transaction makes garbage that its small collections miss: a batch lives longer
 * than they are apart. A limit of the heap (`--max-old-space-size`) has the same effect, but a worker with very many tables
 * would die of it; this is no limit. Called once, before there is much to collect.
 */
export const boundGarbage = (): void => setFlagsFromString(`--heap-growing-percent=${GROWING_PERCENT}`);
