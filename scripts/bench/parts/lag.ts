import { sleep } from '../../../src/platform/clock.ts';
import { makeBacklog } from '../backlog.ts';
import { type FiguresPart, figuresOf, figuresPart } from '../figures.ts';
import { LaneProcess } from '../lane/lane-process.ts';
import { WRITE_FUNCTION_SQL, type WriteOrder, WriteProcess } from '../lane/write-process.ts';
import type { Load } from '../loads.ts';
import type { BenchOptions, Figure, Pair, Part } from '../part.ts';
import { ACCOUNTS_PER_BRANCH, makePgbench } from '../pgbench.ts';
import { Probe } from '../probe.ts';
import { cpuSecondsOf, cpuSecondsUnder } from '../processor.ts';
import { medianOf, quantileOf } from '../rounds.ts';
import { checkpoint, runSql } from '../servers.ts';
import { checkRows } from '../sides.ts';

const SIZES = {
  full: { branches: 10, clients: 4, calibrateMs: 8_000, warmMs: 4_000, roundMs: 12_000 },
  small: { branches: 1, clients: 2, calibrateMs: 500, warmMs: 200, roundMs: 1_500 },
} as const;
type Size = (typeof SIZES)[keyof typeof SIZES];

const SHARE = 0.8;
const REACH_MS = 1_000;

/** `lag`: from a commit on the source until it is visible on the target, while the source is busy. */
export const lag: Part = figuresPart<Size>({
  name: 'lag',
  description: "end-to-end lag while clients write at 80% of the source's top rate",
  sizes: SIZES,
  measure: async (pair, size, options) => await measure(pair, size, options),
  notes: (size) => [
    `${size.clients} clients write TPC-B transactions (scale ${size.branches}, four changes in one statement, one commit each): first alone, then while the lane follows, both times as fast as they can, then at ${SHARE * 100}% of what they reached while it followed`,
    `the source's top rate is that while the lane follows: both servers, the lane and the clients share the machine, and what they reach alone is the rate of one that has nothing else to do; rounds of ${size.roundMs / 1000} s follow each other without a pause`,
    "lag: 20 rows a second carry the source's clock_timestamp() and are looked for on the target every 5 ms; it includes the source's own commit",
  ],
});

/** pgbench's tables and the probe's, with nothing written before the lane follows. */
const loadOf = ({ branches }: Size): Load => ({
  name: 'lag',
  text: 'pgbench',
  note: '',
  changes: 0,
  make: async (url) => {
    await makePgbench(url, { accounts: branches * ACCOUNTS_PER_BRANCH });
    await runSql(url, `${WRITE_FUNCTION_SQL}; ${Probe.TABLE_SQL}`);
  },
  write: async () => undefined,
});

const measure: FiguresPart<Size>['measure'] = async (pair, size, options) => {
  const what = `${pair.name}, pgbench`;
  const backlog = await makeBacklog(pair, loadOf(size), { slots: 1, seed: options.seed });
  const urls = { source: backlog.sourceUrl, target: pair.target.urlFor(backlog.template) };
  const { clients, branches } = size;
  const order = { url: urls.source, accounts: branches * ACCOUNTS_PER_BRANCH, branches, clients, seed: options.seed };
  const alone = await topRate(order, size);
  options.tell(`${what}: ${clients} clients alone write ${Math.round(alone)} transactions a second`);
  // The lane begins behind what the calibration wrote; that it catches up is not what is measured here.
  const [slot] = backlog.slots;
  if (slot === undefined) throw new RangeError('no slot was made');
  const { publication } = backlog;
  const lane = await LaneProcess.open({ urls, slot: slot.name, publication, position: slot.position });
  const probe = await Probe.open(urls);
  let writers: WriteProcess | undefined;
  try {
    lane.follow();
    await Promise.race([probe.untilArrived(), lane.failed()]);
    probe.take();
    const top = await Promise.race([topRate(order, size), lane.failed()]);
    const atTop = probe.take();
    options.tell(`${what}: ${Math.round(top)} while the lane follows`);
    await Promise.race([probe.untilArrived(), lane.failed()]);
    await checkpoint(pair);
    writers = new WriteProcess({ ...order, perSecond: SHARE * top });
    await sleep(size.warmMs, options.signal);
    const before = Object.values(spentBy(pair, { lane, writers }));
    const rounds = await Promise.race([watch(probe, size, options), lane.failed()]);
    const spent = spentBy(pair, { lane, writers });
    const seconds = (size.roundMs * options.rounds) / 1000;
    const cores = Object.entries(spent).map(
      ([who, after], at) => [who, (after - (before[at] ?? 0)) / seconds] as const,
    );
    const rate = await writers.stop();
    await Promise.race([probe.finish(), lane.failed()]);
    const { peakBytes } = await lane.stop();
    const check = await checkRows({ case: what, by: 'after it' }, urls);
    const figures = figuresFrom(what, { alone, top, atTop, rate, rounds, cores, peakBytes });
    return { figures, checks: [check] };
  } finally {
    writers?.kill();
    await probe.close();
    lane.kill();
  }
};

/** Processor time so far of everybody who shares the machine, in seconds. */
const spentBy = (
  pair: Pair,
  { lane, writers }: { readonly lane: LaneProcess; readonly writers: WriteProcess },
): Readonly<Record<string, number>> => ({
  'the source': cpuSecondsUnder(pair.source.pid ?? 0),
  'the target': cpuSecondsUnder(pair.target.pid ?? 0),
  'the lane': cpuSecondsOf(lane.pid ?? 0),
  'the clients': cpuSecondsOf(writers.pid ?? 0),
});

/** What the clients reach when nothing holds them back, in transactions a second. */
const topRate = async (order: Omit<WriteOrder, 'perSecond'>, size: Size): Promise<number> => {
  const writers = new WriteProcess({ ...order, perSecond: null });
  try {
    await sleep(size.calibrateMs);
    return await writers.stop();
  } finally {
    writers.kill();
  }
};

/** Lags of each round, in milliseconds. */
const watch = async (probe: Probe, size: Size, options: BenchOptions): Promise<readonly (readonly number[])[]> => {
  const rounds: (readonly number[])[] = [];
  probe.take();
  for (let round = 1; round <= options.rounds; round++) {
    await sleep(size.roundMs, options.signal);
    const lags = probe.take();
    options.tell(`round ${round}: ${lags.length} rows, p99 ${Math.round(quantileOf(lags, 0.99))} ms`);
    rounds.push(lags);
  }
  return rounds;
};

const figuresFrom = (
  what: string,
  found: {
    readonly alone: number;
    readonly top: number;
    /** Lags while the clients wrote as fast as they could. */
    readonly atTop: readonly number[];
    readonly rate: number;
    readonly rounds: readonly (readonly number[])[];
    readonly cores: readonly (readonly [string, number])[];
    readonly peakBytes: number;
  },
): readonly Figure[] => {
  const figure = figuresOf(what);
  const all = found.rounds.flat();
  const p99 = found.rounds.map((lags) => quantileOf(lags, 0.99));
  return [
    figure('what the clients write alone', 'transactions/s', { value: found.alone }),
    figure("the source's top rate, the lane following", 'transactions/s', { value: found.top }),
    figure('lag p99 at the top rate', 'ms', { value: quantileOf(found.atTop, 0.99) }),
    figure('rate that was held', 'transactions/s', { value: found.rate }),
    figure('share of the top rate', 'ratio', { value: found.rate / found.top }),
    figure('lag p50', 'ms', { value: quantileOf(all, 0.5) }),
    figure('lag p95', 'ms', { value: quantileOf(all, 0.95) }),
    figure('lag p99', 'ms', { value: quantileOf(all, 0.99), atMost: REACH_MS }),
    figure('lag p99, median of the rounds', 'ms', { value: medianOf(p99) }),
    figure('lag p99, worst round', 'ms', { value: Math.max(...p99) }),
    figure('longest lag', 'ms', { value: Math.max(...all) }),
    ...found.cores.map(([who, cores]) => figure(`cores that ${who} used`, 'ratio', { value: cores })),
    figure("the lane's memory at most", 'bytes', { value: found.peakBytes }),
  ];
};
