import { join } from 'node:path';
import { randomOf } from '../../src/demo/operations.ts';
import { monotonicMs } from '../../src/platform/clock.ts';
import type { Verdict } from './checkers/verdict.ts';
import { violationsIn } from './checkers/verdict.ts';
import { Clients } from './clients.ts';
import { compareSides, judge, resumeAndVerify } from './end.ts';
import { Deck, PLAIN_KINDS } from './faults/deck.ts';
import { Dice, type World } from './faults/fault.ts';
import { History } from './history.ts';
import { countOutcomes } from './look.ts';
import { Prober } from './prober.ts';
import { killAll, type Place } from './program.ts';
import { RunRecord } from './record.ts';
import { playRound } from './round.ts';
import { type OnCall, untilReady } from './settle.ts';
import { makeDirectory, makeServerDirectory, type Stage, setStage, strike, urlOf } from './stage.ts';
import { type Summary, summarise } from './summary.ts';
import { Supervisor } from './supervisor.ts';
import { WORKLOAD_NAMES, type WorkloadName } from './workloads.ts';

/** How a run is asked for. */
export interface ChaosOptions {
  readonly minutes: number;
  readonly seed: number;
  /** Switches that must be committed for the run to count. */
  readonly switches: number;
  readonly clients: number;
  /** Leave servers' data, logs and histories, also when the run was clean. */
  readonly keep: boolean;
  readonly signal: AbortSignal;
  readonly tell: (line: string) => void;
}

/** Runs it all. Everything that it started has ended when it resolves or rejects; files stay after a failed run. */
export const runChaos = async (options: ChaosOptions): Promise<Summary> => {
  const directory = makeDirectory();
  const record = new RunRecord({ path: join(directory, 'chaos.log'), tell: options.tell });
  let stage: Stage | undefined;
  let isClean = false;
  try {
    const serverDirectories = {
      source: makeServerDirectory(directory, 'source'),
      target: makeServerDirectory(directory, 'target'),
    };
    stage = await setStage({ directory, serverDirectories });
    const summary = await play(stage, record, options);
    isClean = summary.ok && !options.keep;
    return isClean ? summary : { ...summary, folder: directory };
  } finally {
    killAll();
    if (stage) await strike(stage, { keep: !isClean });
    if (!isClean) options.tell(`logs and histories are kept in ${directory}`);
  }
};

const play = async (stage: Stage, record: RunRecord, options: ChaosOptions): Promise<Summary> => {
  const begun = monotonicMs();
  const dice = new Dice(randomOf(options.seed));
  const history = new History(join(stage.directory, 'history.jsonl'));
  const place: Place = {
    urls: {
      source: urlOf('127.0.0.1', stage.workerProxies.source),
      target: urlOf('127.0.0.1', stage.workerProxies.target),
    },
    prefix: [],
    environment: {},
  };
  const supervisor = new Supervisor({ stage, place, record });
  const world: World = { stage, supervisor, record };
  const prober = new Prober({ urls: stage.directUrls, onBothWritable: (what) => record.violate(what) });
  const elsewhere: Place = { urls: stage.directUrls, prefix: [], environment: {} };
  const onCall: OnCall = { prober, place: elsewhere, signal: options.signal };
  const clients = new Clients({
    urls: stage.clientUrls,
    routeFile: stage.routeFile,
    history,
    clients: options.clients,
    seed: options.seed,
    onUnexpected: (what) => record.violate(what),
  });
  try {
    const deck = new Deck(PLAIN_KINDS, dice);
    await untilReady(world, onCall);
    // Not before: until it is prepared the target is nobody's, and writable.
    prober.start();
    record.note('copied and followed; switches and faults begin');
    for (let round = 0; monotonicMs() - begun < options.minutes * 60_000 && !options.signal.aborted; round++) {
      await playRound({ world, onCall, dice }, round % 2 === 0 ? undefined : deck.deal(world));
    }
    if (!options.signal.aborted) await untilReady(world, onCall);
  } finally {
    await clients.stop();
  }
  try {
    if (!options.signal.aborted) await resumeAndVerify(world, onCall);
  } finally {
    await supervisor.stop();
    await prober.stop();
    await history.close();
  }
  const judged = options.signal.aborted ? undefined : await judgeAll({ stage, record, history, world });
  const outcomes = options.signal.aborted ? { committed: 0, aborted: 0 } : await countOutcomes(stage);
  return summarise({ options, stage, record, prober, outcomes, judged, seconds: (monotonicMs() - begun) / 1000 });
};

const judgeAll = async (run: {
  readonly stage: Stage;
  readonly record: RunRecord;
  readonly history: History;
  readonly world: World;
}): Promise<Readonly<Record<WorkloadName, Verdict>>> => {
  await compareSides(run.world);
  const judged = await judge(run.stage, run.history.operations());
  for (const name of WORKLOAD_NAMES) {
    const verdict = judged[name];
    if (violationsIn(verdict) > 0) {
      for (const example of verdict.examples) run.record.violate(`${name}: ${example}`);
    }
  }
  return judged;
};
