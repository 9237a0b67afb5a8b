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

/**
 * How Node is started for a process that carries rows, as the package's binary starts it (scripts/switchback.js): flags, and
 * variables over those that are there. A small young generation frees the buffers of rows early. And glibc gives what large
 * rows were read into back to the system when it is freed. By itself it raises the size from which it does so with the first
 * large buffer, keeps these in its heap, and fills that with holes: a worker held 70 MiB more after rows of a megabyte, of
 * which nothing was in use, and for good. Not from 64 KiB on: a lane's own blocks are of 256 KiB, and to map and unmap each took
 * the worker 5 to 17% more processor time (both measured). Other C libraries do not know the variable.
 */
export const ROWS_PROCESS = {
  flags: ['--max-semi-space-size=4'],
  variables: { MALLOC_MMAP_THRESHOLD_: '524288' },
} as const;
