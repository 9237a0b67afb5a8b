import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { randomOf } from '../../src/demo/operations.ts';
import { monotonicMs } from '../../src/platform/clock.ts';
import { judge } from './checkers/judge.ts';
import { plantAll } from './checkers/plant.ts';
import { plantInRouting, routingProblems } from './checkers/routing.ts';
import { violationsIn } from './checkers/verdict.ts';
import { Clients } from './clients.ts';
import { compareSides, readEnds, readRouting, resumeAndVerify } from './end.ts';
import { type Equipment, equip } from './equipment.ts';
import { Deck } from './faults/deck.ts';
import { Dice, type World } from './faults/fault.ts';
import { History } from './history.ts';
import { countOutcomes } from './look.ts';
import { Prober } from './prober.ts';
import { killAll, type Place } from './program.ts';
import { Readers } from './readers.ts';
import { RunRecord } from './record.ts';
import { playRound } from './round.ts';
import { type OnCall, untilReady } from './settle.ts';
import { type Engine, makeDirectory, type Routers, type Stage, setStage, strike, urlOf } from './stage.ts';
import { type Judged, type Summary, summarise } from './summary.ts';
import { Supervisor } from './supervisor.ts';
import { WORKLOAD_NAMES } from './workloads.ts';

/** How a run is asked for. */
export interface ChaosOptions {
  readonly minutes: number;
  readonly seed: number;
  /** Switches that must be committed for the run to count. */
  readonly switches: number;
  readonly clients: number;
  readonly engine: Engine;
  readonly routers: Routers;
  /** Leave logs and histories also when the run was clean. */
  readonly keep: boolean;
  readonly signal: AbortSignal;
  readonly tell: (line: string) => void;
}

/** Every so many rounds one has no fault, so that switches that succeed are among those that are disturbed. */
const CALM_EVERY = 2;
/** A slow machine gets so much more time for the switches that were asked for, then without faults. */
const LONGEST = 1.5;

/**
 * Runs it all. Everything that it started has ended when it resolves or rejects, and its files are removed; those of a run
 * that failed stay, without the servers' data.
 */
export const runChaos = async (options: ChaosOptions): Promise<Summary> => {
  const directory = makeDirectory();
  const record = new RunRecord({ path: join(directory, 'chaos.log'), tell: options.tell });
  let isClean = false;
  try {
    const summary = await withEquipment(directory, record, options);
    const isInterrupted = options.signal.aborted && summary.violations.length === 0;
    isClean = (summary.ok || isInterrupted) && !options.keep;
    return isClean ? summary : { ...summary, folder: directory };
  } finally {
    for (const path of isClean ? [directory] : [join(directory, 'source'), join(directory, 'target')]) {
      rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    }
    if (!isClean) options.tell(`logs and histories are kept in ${directory}`);
  }
};

const withEquipment = async (directory: string, record: RunRecord, options: ChaosOptions): Promise<Summary> => {
  const equipment = await equip(directory, (line) => record.note(line));
  let stage: Stage | undefined;
  try {
    const { clocks, serverDirectories } = equipment;
    const environments = {
      source: clocks?.environment('source') ?? {},
      target: clocks?.environment('target') ?? {},
    };
    const { engine, routers } = options;
    stage = await setStage({ directory, serverDirectories, environments, engine, routers });
    return await play({ stage, record, equipment, options });
  } finally {
    killAll();
    if (stage) await strike(stage);
    await equipment.remove();
  }
};

interface Run {
  readonly stage: Stage;
  readonly record: RunRecord;
  readonly equipment: Equipment;
  readonly options: ChaosOptions;
}

/** Where the worker runs: in the namespace if there is one, and always through its proxies. */
const workerPlace = async ({ stage, equipment }: Run): Promise<Place> => {
  const { namespace, clocks } = equipment;
  const proxies = stage.workerProxies;
  const host = namespace?.host ?? '127.0.0.1';
  if (namespace) for (const proxy of [proxies.source, proxies.target]) await proxy.listen(host, proxy.port);
  return {
    urls: { source: urlOf(host, proxies.source), target: urlOf(host, proxies.target) },
    prefix: namespace?.prefix ?? [],
    environment: clocks?.environment('worker') ?? {},
  };
};

const play = async (run: Run): Promise<Summary> => {
  const { stage, record, equipment, options } = run;
  const begun = monotonicMs();
  const history = new History(join(stage.directory, 'history.jsonl'));
  const supervisor = new Supervisor({ stage, place: await workerPlace(run), record });
  const world: World = { stage, supervisor, record, signal: options.signal };
  const prober = new Prober({ urls: stage.directUrls, onBothWritable: (what) => record.violate(what) });
  // Another machine: no proxy, no namespace, and the right time.
  const onCall: OnCall = { prober, place: { urls: stage.directUrls, prefix: [], environment: {} } };
  const clients = new Clients({
    urls: stage.clientUrls,
    routeFiles: stage.routeFiles.writers,
    history,
    clients: options.clients,
    seed: options.seed,
    onUnexpected: (what) => record.violate(what),
  });
  const readers = readersOf(stage, record);
  try {
    if (await untilReady(world, onCall)) {
      // Not before: until it is prepared the target is nobody's, and writable.
      prober.start();
      readers?.start();
      record.note('copied and followed; switches and faults begin');
      await playRounds({ world, onCall, equipment }, options);
    }
    await clients.stop();
    await supervisor.stop();
    if (!options.signal.aborted) await resumeAndVerify(world, onCall);
  } finally {
    await clients.stop();
    await supervisor.stop();
    await prober.stop();
    await readers?.stop();
    await history.close();
  }
  const isOver = options.signal.aborted;
  const judged = isOver ? undefined : await judgeAll(world, { history, readers });
  const outcomes = isOver ? { committed: 0, aborted: 0 } : await countOutcomes(stage);
  const seconds = (monotonicMs() - begun) / 1000;
  return summarise({ options, stage, record, prober, readers, outcomes, judged, seconds, skipped: equipment.skipped });
};

const readersOf = (stage: Stage, record: RunRecord): Readers | undefined => {
  const { readers } = stage.routeFiles;
  if (readers === undefined) return undefined;
  return new Readers({ urls: stage.directUrls, routeFile: readers, onProblem: (what) => record.violate(what) });
};

const playRounds = async (
  { world, onCall, equipment }: { readonly world: World; readonly onCall: OnCall; readonly equipment: Equipment },
  { minutes, seed, signal, switches }: ChaosOptions,
): Promise<void> => {
  const begun = monotonicMs();
  const isTime = (factor: number) => monotonicMs() - begun < minutes * 60_000 * factor && !signal.aborted;
  const dice = new Dice(randomOf(seed));
  const deck = new Deck(equipment.kinds, dice);
  const round = { world, onCall, dice };
  let goesOn = true;
  for (let n = 0; goesOn && isTime(1); n++) {
    goesOn = await playRound(round, n % CALM_EVERY === 0 ? undefined : deck.deal(world));
  }
  while (goesOn && isTime(LONGEST) && (await countOutcomes(world.stage)).committed < switches) {
    goesOn = await playRound(round, undefined);
  }
  if (goesOn && !signal.aborted) await untilReady(world, onCall);
};

/** Judges the histories, and then the checkers: faults that are planted in a copy of what they saw must all be reported. */
const judgeAll = async (
  world: World,
  { history, readers }: { readonly history: History; readonly readers: Readers | undefined },
): Promise<Judged> => {
  await compareSides(world);
  const operations = history.operations();
  const ends = await readEnds(world.stage);
  const verdicts = judge(operations, ends);
  for (const name of WORKLOAD_NAMES) {
    if (violationsIn(verdicts[name]) === 0) continue;
    for (const example of verdicts[name].examples) world.record.violate(`${name}: ${example}`);
  }
  const routing = await readRouting(world.stage);
  for (const problem of routingProblems(routing)) world.record.violate(problem);
  const planted = plantAll(operations, ends, verdicts);
  const controls = [...planted, ...plantInRouting(routing, readers?.seen.values() ?? [])];
  for (const { what, isReported } of controls) {
    if (!isReported) world.record.violate(`negative control: ${what} was planted and not reported`);
  }
  return { verdicts, controls: controls.length };
};
