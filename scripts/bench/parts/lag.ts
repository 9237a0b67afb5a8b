import { sleep } from '../../../src/platform/clock.ts';
import { makeBacklog } from '../backlog.ts';
import { LaneProcess } from '../lane/lane-process.ts';
import { WRITE_FUNCTION_SQL, type WriteOrder, WriteProcess } from '../lane/write-process.ts';
import type { Load } from '../loads.ts';
import type { BenchOptions, Figure, Pair, Part, PartResult } from '../part.ts';
import { ACCOUNTS_PER_BRANCH, makePgbench } from '../pgbench.ts';
import { Probe } from '../probe.ts';
import { cpuSecondsOf } from '../processor.ts';
import { medianOf, quantileOf } from '../rounds.ts';
import { checkpoint, runSql, withPair } from '../servers.ts';
import { checkRows } from '../sides.ts';

const SIZES = {
  full: { branches: 10, clients: 4, calibrateMs: 8_000, warmMs: 4_000, roundMs: 12_000 },
  small: { branches: 1, clients: 2, calibrateMs: 500, warmMs: 200, roundMs: 1_500 },
} as const;
type Size = (typeof SIZES)[keyof typeof SIZES];

const SHARE = 0.8;
const REACH_MS = 1_000;

/** `lag`: from a commit on the source until it is visible on the target, while the source is busy. */
export const lag: Part = {
  name: 'lag',
  description: "end-to-end lag while clients write at 80% of the source's top rate",
  run: async (options) => {
    const size = options.small ? SIZES.small : SIZES.full;
    const results: PartResult[] = [];
    for (const name of options.pairs) results.push(await withPair(name, (pair) => measure(pair, size, options)));
    return {
      rows: [],
      figures: results.flatMap(({ figures }) => figures),
      checks: results.flatMap(({ checks }) => checks),
      notes: [
        `${size.clients} clients write TPC-B transactions (scale ${size.branches}, four changes in one statement, one commit each), first alone and as fast as they can, then at ${SHARE * 100}% of that while the lane follows`,
        `both servers, the lane and the clients share the machine; rounds of ${size.roundMs / 1000} s follow each other without a pause`,
        "lag: 20 rows a second carry the source's clock_timestamp() and are looked for on the target every 5 ms; it includes the source's own commit",
      ],
    };
  },
};

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

const measure = async (pair: Pair, size: Size, options: BenchOptions): Promise<PartResult> => {
  const what = `${pair.name}, pgbench`;
  const backlog = await makeBacklog(pair, loadOf(size), { slots: 1, seed: options.seed });
  const urls = { source: backlog.sourceUrl, target: pair.target.urlFor(backlog.template) };
  const { clients, branches } = size;
  const order = { url: urls.source, accounts: branches * ACCOUNTS_PER_BRANCH, branches, clients, seed: options.seed };
  const top = await topRate(order, size);
  options.tell(`${what}: ${clients} clients alone write ${Math.round(top)} transactions a second`);
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
    await checkpoint(pair);
    writers = new WriteProcess({ ...order, perSecond: SHARE * top });
    await sleep(size.warmMs, options.signal);
    const before = cpuSecondsOf(lane.pid ?? 0);
    const rounds = await Promise.race([watch(probe, size, options), lane.failed()]);
    const cores = (cpuSecondsOf(lane.pid ?? 0) - before) / ((size.roundMs * options.rounds) / 1000);
    const rate = await writers.stop();
    await Promise.race([probe.finish(), lane.failed()]);
    const { peakBytes } = await lane.stop();
    const check = await checkRows({ case: what, by: 'after it' }, urls);
    const figures = figuresOf(what, { top, rate, rounds, lane: { cores, peakBytes } });
    return { rows: [], figures, checks: [check], notes: [] };
  } finally {
    writers?.kill();
    await probe.close();
    lane.kill();
  }
};

/** What the clients reach without anybody following, in transactions a second. */
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

const figuresOf = (
  what: string,
  found: {
    readonly top: number;
    readonly rate: number;
    readonly rounds: readonly (readonly number[])[];
    readonly lane: { readonly cores: number; readonly peakBytes: number };
  },
): readonly Figure[] => {
  const all = found.rounds.flat();
  const p99 = found.rounds.map((lags) => quantileOf(lags, 0.99));
  const figure = (name: string, unit: Figure['unit'], value: number): Figure => ({
    case: what,
    name,
    unit,
    value,
    reach: null,
  });
  return [
    figure("the source's top rate, nobody following", 'transactions/s', found.top),
    figure('rate while the lane follows', 'transactions/s', found.rate),
    figure('lag p50', 'ms', quantileOf(all, 0.5)),
    figure('lag p95', 'ms', quantileOf(all, 0.95)),
    { ...figure('lag p99', 'ms', quantileOf(all, 0.99)), reach: { atMost: REACH_MS } },
    figure('lag p99, median of the rounds', 'ms', medianOf(p99)),
    figure('lag p99, worst round', 'ms', Math.max(...p99)),
    figure('longest lag', 'ms', Math.max(...all)),
    figure("processor time of the lane's process, of one core", 'ratio', found.lane.cores),
    figure("the lane's memory at most", 'bytes', found.lane.peakBytes),
  ];
};
