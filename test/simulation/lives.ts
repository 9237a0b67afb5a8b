import { expect } from 'vitest';
import type { ClusterRouters } from './cluster.ts';
import { FAULTS } from './faults.ts';
import { type Life, type LifeResult, live, makeStarts, type Starts } from './life.ts';

/** A part of the grid: lives that begin alike. Two of them are run at the same time. */
export interface Shard {
  readonly name: string;
  readonly phases: readonly string[];
  readonly routers?: ClusterRouters;
  readonly kinds: readonly Pick<Life, 'start' | 'command' | 'isUndone'>[];
}

/** The cutover and its undoing; everything else; two phases at once, each with two routers. */
export const SHARDS = {
  cutover: {
    name: 'cutover',
    phases: ['orders'],
    kinds: [
      { start: 'ready', command: 'cutover' },
      { start: 'ready', command: 'cutover', isUndone: true },
    ],
  },
  others: {
    name: 'others',
    phases: ['orders'],
    kinds: [
      { start: 'fresh' },
      { start: 'soaking', command: 'failback' },
      { start: 'soaking', command: 'finalise' },
      { start: 'ready', command: 'abort' },
    ],
  },
  together: {
    name: 'together',
    phases: ['catalog', 'orders'],
    routers: { routers: ['pooler', 'dns'] },
    kinds: [
      { start: 'ready', command: 'cutover' },
      { start: 'soaking', command: 'failback' },
    ],
  },
} as const satisfies Record<string, Shard>;

/** How many seeds both shards run together when nobody says so. */
const SEEDS = process.env.CI === 'true' ? 10_000 : 1_500;

/** Seeds of a shard in this run: `SWITCHBACK_SIMULATION_SEEDS` are shared by two. */
export const seedsPerShard = (): number => Math.ceil(Number(process.env.SWITCHBACK_SIMULATION_SEEDS ?? SEEDS) / 2);

/** A prime that divides no grid's size, so that few seeds are spread over all of it and many visit every cell. */
const STRIDE = 7_919;

/**
 * Every cell of a shard's grid: each point of life that a life without faults passes, with each fault. Points are found by
 * living, so that a new step is in the grid by itself.
 */
export const cellsOf = async (shard: Shard, starts: Starts): Promise<readonly Life[]> => {
  const cells: Life[] = [];
  const known = new Set<string>();
  for (const kind of shard.kinds) {
    const { points, violations } = await live(1, { ...kind, point: null, fault: null }, starts);
    if (violations.length > 0) throw new Error(`a life without faults: ${JSON.stringify(violations)}`);
    for (const point of points.filter((one) => !known.has(one))) {
      known.add(point);
      for (const fault of Object.keys(FAULTS)) cells.push({ ...kind, point, fault });
    }
  }
  return cells;
};

/** The life of a seed: the first faults go through the grid once, at the very moment; later ones come a little after it. */
export const lifeOf = (seed: number, cells: readonly Life[]): Life => ({
  ...(cells[(seed * STRIDE) % cells.length] as Life),
  isExact: seed < cells.length,
});

/** A seed that broke a promise, and how to see it again. */
export interface Broken {
  readonly seed: number;
  readonly life: Life;
  readonly result: LifeResult;
}

/** What a shard's seeds came to. */
export interface ShardResult {
  readonly broken: readonly Broken[];
  /** Cells that no fault has come in. */
  readonly unvisited: readonly string[];
  readonly events: number;
  /** The longest time in milliseconds that a switch kept both sides fenced although nothing was out of order. */
  readonly longestFence: number;
  readonly cells: number;
  /** Processor time that a seed took on average, in milliseconds. */
  readonly seedMs: number;
}

/** Lives a number of seeds, from zero on. Stops after a few that broke something. */
export const runShard = async (shard: Shard, starts: Starts, seeds: number): Promise<ShardResult> => {
  const cells = await cellsOf(shard, starts);
  const unvisited = new Set(cells.map(({ point, fault }) => `${point} | ${fault}`));
  const broken: Broken[] = [];
  const total = unvisited.size;
  let events = 0;
  let longestFence = 0;
  const begun = process.cpuUsage();
  for (let seed = 0; seed < seeds && broken.length < 5; seed++) {
    const life = lifeOf(seed, cells);
    const result = await live(seed, life, starts);
    events += result.events;
    longestFence = Math.max(longestFence, result.longestFence);
    for (const cell of result.cells) unvisited.delete(cell);
    if (result.violations.length > 0) broken.push({ seed, life, result });
  }
  const { user, system } = process.cpuUsage(begun);
  const seedMs = (user + system) / 1000 / seeds;
  return { seedMs, broken, unvisited: [...unvisited], events, longestFence, cells: total };
};

/** What a shard's lives begin with. */
export const startsOf = async ({ phases, routers }: Shard): Promise<Starts> => await makeStarts(phases, routers);

/** Lives the seeds of a shard, and fails with every one that broke a promise, and with every cell that was not visited. */
export const expectUnbroken = async (shard: Shard, { seeds }: { readonly seeds: number }): Promise<void> => {
  const { broken, unvisited, cells, events, longestFence, seedMs } = await runShard(
    shard,
    await startsOf(shard),
    seeds,
  );
  console.log(
    `simulation, ${shard.name}: ${seeds} seeds, ${events} events, ${cells - unvisited.length} of ${cells} cells, no side writable for at most ${longestFence.toFixed(0)} ms without an outage, ${seedMs.toFixed(1)} ms each`,
  );
  expect(broken.map((one) => describeBroken(shard, one)).join('\n')).toBe('');
  // Fewer seeds than cells are for a quick look, and cannot visit all of them.
  if (seeds >= cells) expect(unvisited).toEqual([]);
};

/** A failure as its reader needs it. */
const describeBroken = (shard: Shard, { seed, life, result }: Broken): string =>
  [
    `seed ${seed} (${life.start}, ${result.cells.join(', ')}):`,
    ...result.violations.map(({ id, text, at }) => `  ${id} at ${at.toFixed(1)} ms: ${text}`),
    `  to see it again, event by event: SWITCHBACK_SIMULATION_REPLAY=${shard.name}:${seed} npx vitest run test/simulation/replay.test.ts`,
  ].join('\n');
