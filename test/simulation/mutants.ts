import type { Side } from '../../src/domain/position.ts';
import type { Lane } from '../../src/engines/engine.ts';
import type { RunContext, SidePorts } from '../../src/stages/context.ts';
import { sleep } from './clock.ts';
import type { Cluster, Mutant } from './cluster.ts';
import type { Life } from './life.ts';

/** A bug that is put in on purpose, where it shows, and what has to be seen. */
export interface Control {
  readonly name: string;
  readonly mutant: Mutant;
  /** What is lived, by seed. */
  readonly life: (seed: number) => Life;
  /** Any of these invariants; another one would mean that the simulation misunderstands what happens. */
  readonly expected: readonly string[];
  /** It is found within so many seeds. */
  readonly seeds: number;
}

const CUTOVER: Life = { start: 'ready', command: 'cutover', point: null, fault: null };

const withSide = (context: RunContext, side: Side, change: (ports: SidePorts) => SidePorts): RunContext => ({
  ...context,
  [side]: change(context[side]),
});

/** The position to drain is read some time before the fence, so what commits in between is not waited for. */
const earlyPosition = (ports: SidePorts): SidePorts => {
  let early: Awaited<ReturnType<SidePorts['database']['head']>> | null = null;
  const { database } = ports;
  return {
    ...ports,
    database: {
      ...database,
      fence: async (act) => {
        early = await database.head();
        await sleep(60);
        await database.fence(act);
      },
      head: async () => {
        const head = early ?? (await database.head());
        early = null;
        return head;
      },
    },
  };
};

/** A dead man's switch: after a while the fence is lifted by whatever still runs, because nobody may be left fenced. */
const liftByTimer = (cluster: Cluster, ports: SidePorts): SidePorts => ({
  ...ports,
  database: {
    ...ports.database,
    fence: async (act) => {
      await ports.database.fence(act);
      const server = cluster.servers[ports.side];
      cluster.world.schedule(null, 400, 'the timer lifts the fence', () => {
        if (!server.isUp) return;
        const session = server.connect('timer');
        const transaction = server.begin(session);
        for (const { appended, inserted } of cluster.phases) {
          for (const table of [appended, inserted]) server.write(transaction, 'fence', table, 'off');
        }
        server.commit(transaction, { flush: true });
        server.end(session, 'done');
      });
    },
  },
});

/** The way back is not started before the switch is over: until then a lane that does nothing stands in for it. */
const lateReverse = (context: RunContext): RunContext => {
  const later: Lane = {
    copy: async () => undefined,
    follow: ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true })),
    drainTo: async () => undefined,
    applied: async () => ({ position: '0' as never, strictFrom: null, marker: 0n }),
    close: async () => undefined,
  };
  return {
    ...context,
    engine: {
      ...context.engine,
      openLane: (spec, start) =>
        spec.direction === 'reverse' && start.kind !== 'resume'
          ? Promise.resolve(later)
          : context.engine.openLane(spec, start),
    },
  };
};

/** The negative controls of notes/faults.md and of the model, planted in what the simulation lends to the product. */
export const CONTROLS: readonly Control[] = [
  {
    name: 'acknowledge early',
    mutant: {
      plant: ({ conditions }) => {
        conditions.acknowledgesEarly = true;
      },
    },
    life: () => CUTOVER,
    expected: ['S6'],
    seeds: 3,
  },
  {
    // Hidden thrice: the marker that is written after the fence holds the drain back as well, the proof compares rows that
    // changed before, and the lane stops only after the batch in hand. So the marker goes, rows are new, and batches short.
    name: 'drain position before the fence',
    mutant: {
      plant: (cluster) => {
        const { conditions } = cluster;
        cluster.insertShare = 1;
        conditions.drainsWithoutMarkers = true;
        conditions.applyMs = 12;
        conditions.batch = 1;
      },
      ports: (context) => withSide(context, 'source', earlyPosition),
    },
    life: () => CUTOVER,
    expected: ['S10', 'S2'],
    seeds: 400,
  },
  {
    name: 'reverse start after lifting',
    mutant: { ports: lateReverse },
    life: () => CUTOVER,
    expected: ['S8'],
    seeds: 3,
  },
  {
    name: 'no epoch check',
    mutant: {
      plant: ({ network }) => {
        network.ignoresEpochs = true;
      },
    },
    life: (seed) => ({
      start: 'ready',
      command: 'cutover',
      point: ['cutover: fence', 'cutover: drain', 'cutover: lift', 'cutover: commit'][seed % 4] ?? '',
      fault: 'sleeper deposed',
    }),
    expected: ['S1', 'S2', 'S7', 'S10', 'S11'],
    seeds: 40,
  },
  {
    name: 'lift by timer',
    mutant: { ports: (context, cluster) => withSide(context, 'source', (ports) => liftByTimer(cluster, ports)) },
    life: () => CUTOVER,
    expected: ['S1'],
    seeds: 3,
  },
  {
    name: 'abort without record',
    mutant: {
      plant: ({ network }) => {
        network.forgetsAborts = true;
      },
    },
    life: () => ({ start: 'ready', command: 'cutover', point: 'cutover: commit', fault: 'commit reply lost' }),
    expected: ['S11'],
    seeds: 100,
  },
];
