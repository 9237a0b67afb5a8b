import type { Side } from '../../src/domain/position.ts';
import type { Lane } from '../../src/engines/engine.ts';
import type { RunContext, SidePorts } from '../../src/stages/context.ts';
import { type StepScope, Tenure } from '../../src/stages/tenure.ts';
import type { Ledger, Operation, PhaseTables } from './clients.ts';
import { sleep } from './clock.ts';
import type { Cluster, Mutant } from './cluster.ts';
import type { Life } from './life.ts';

/** A bug that is put in on purpose, where it shows, and what has to be seen. */
export interface Control {
  readonly name: string;
  readonly mutant: Mutant;
  /** What is lived, by seed. */
  readonly life: (seed: number) => Life;
  /** Every invariant that is seen broken in the first life that breaks any, in the order in which they are seen. */
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

/** Whether a side lacks a write that was acknowledged, because it was made on the other one and has not come yet. */
const isBehind = ({ servers, ledger, phases }: Cluster, side: Side): boolean =>
  phases.some(({ appended, inserted }) =>
    [appended, inserted].some((table) =>
      ledger.acknowledged(table).some(({ key, id }) => {
        const value = servers[side].get(`rows:${table}`, key) as string | undefined;
        return !value?.split(' ').includes(id);
      }),
    ),
  );

/** When the timer first goes off, and how soon again for as long as nobody would lose by it. */
const TIMER_MS = { first: 400, next: 1 };

/** A dead man's switch: after a while the fence is lifted by whatever still runs, because nobody may be left fenced. */
const liftByTimer = (cluster: Cluster, ports: SidePorts): SidePorts => ({
  ...ports,
  database: {
    ...ports.database,
    fence: async (act) => {
      await ports.database.fence(act);
      const server = cluster.servers[ports.side];
      const goOff = (): void => {
        if (!server.isUp) return;
        // A moment of harm, whatever else the life's events are like.
        if (!isBehind(cluster, ports.side)) {
          cluster.world.schedule(null, TIMER_MS.next, 'the timer goes on', goOff);
          return;
        }
        const session = server.connect('timer');
        const transaction = server.begin(session);
        for (const { appended, inserted } of cluster.phases) {
          for (const table of [appended, inserted]) server.write(transaction, 'fence', table, 'off');
        }
        server.commit(transaction, { flush: true });
        server.end(session, 'done');
      };
      cluster.world.schedule(null, TIMER_MS.first, 'the timer lifts the fence', goOff);
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

/** The journal is written when the act is over, as a log of what was done would be. */
const intentAfterAct = (): (() => void) => {
  const { step } = Tenure.prototype;
  Tenure.prototype.step = async function <T>(this: Tenure, where: StepScope, name: string, act: () => Promise<T>) {
    const result = await act();
    return (await step.call(this, where, name, async () => result)) as T;
  };
  return () => {
    Tenure.prototype.step = step;
  };
};

/** A drain that waits as long as it takes, on a lane that is slow. */
const endlessDrain = (context: RunContext): RunContext => ({
  ...context,
  engine: {
    ...context.engine,
    openLane: async (spec, start) => {
      const lane = await context.engine.openLane(spec, start);
      const drainTo: Lane['drainTo'] = (position, { signal }) =>
        lane.drainTo(position, { budgetMs: 3_600_000, signal });
      return new Proxy(lane, {
        get: (target, key) => {
          if (key === 'drainTo') return drainTo;
          const found: unknown = Reflect.get(target, key, target);
          return typeof found === 'function' ? (found as () => unknown).bind(target) : found;
        },
      });
    },
  },
});

/** Changes a row of the first phase on both sides alike, so that nothing but the clients' history can tell. */
const rewrite =
  (change: (words: readonly string[], ledger: Ledger) => readonly string[]) =>
  (cluster: Cluster): void => {
    const { servers, ledger, invariants } = cluster;
    const [phase] = cluster.phases as [PhaseTables];
    const store = `rows:${phase.appended}`;
    const [primary = 'source'] = invariants.writable(phase);
    const words = change(String(servers[primary].get(store, 'a')).split(' '), ledger);
    for (const server of Object.values(servers)) {
      const session = server.connect('planted');
      const transaction = server.begin(session);
      server.write(transaction, store, 'a', words.join(' '));
      server.commit(transaction, { flush: true });
      server.end(session, 'done');
    }
  };

/** The last operation on the row that {@link rewrite} changes which ended like this, if there is one. */
const operationOf = ({ operations }: Ledger, outcome: Operation['outcome']): Operation | undefined =>
  operations.findLast((one) => one.outcome === outcome && one.key === 'a');

/** A write that failed, where it would stand if it had not. */
const withFailed = (words: readonly string[], ledger: Ledger): readonly string[] => {
  const failed = operationOf(ledger, 'failed');
  if (!failed) return words;
  const later = (id: string): boolean => ledger.operations.some((one) => one.id === id && one.beganAt > failed.beganAt);
  const at = words.findIndex(later);
  return at < 0 ? [...words, failed.id] : words.toSpliced(at, 0, failed.id);
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
    expected: ['S10'],
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
    expected: ['S7'],
    seeds: 40,
  },
  {
    name: 'lift by timer',
    mutant: { ports: (context, cluster) => withSide(context, 'source', (ports) => liftByTimer(cluster, ports)) },
    life: () => CUTOVER,
    // Nobody intended it, no row guards it, it lacks what was written elsewhere since, no lane leads away from there any more, and
    // it leaves two writable sides.
    expected: ['S12', 'S7', 'S2', 'S8', 'S1'],
    seeds: 10,
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
  {
    name: 'intent after the act',
    mutant: { product: intentAfterAct },
    life: () => CUTOVER,
    expected: ['S12'],
    seeds: 3,
  },
  {
    name: 'indexes dropped without a guard',
    mutant: {
      ports: (context) => ({
        ...context,
        schema: { ...context.schema, drop: (items) => context.schema.drop(items, async () => undefined) },
      }),
    },
    life: (seed) => ({
      start: 'fresh',
      point: null,
      fault: null,
      strikes: [{ index: seed, moment: 'replied', how: 'sleep' }],
      recovery: 'sleeper wakes',
    }),
    expected: ['S7'],
    seeds: 60,
  },
  {
    name: 'no fence stays after a finalise',
    mutant: { request: (request) => ({ ...request, options: { ...request.options, unfence: true } }) },
    life: () => ({ start: 'soaking', command: 'finalise', point: null, fault: null }),
    expected: ['S1'],
    seeds: 3,
  },
  {
    name: 'a window without an end',
    mutant: {
      plant: ({ conditions, onEvent }) => {
        onEvent.push((event) => {
          if (event.type === 'step' && event.step === 'fence') conditions.applyMs = 6_000;
        });
      },
      ports: endlessDrain,
    },
    life: () => CUTOVER,
    expected: ['L1'],
    seeds: 3,
  },
  {
    name: 'a repoint is believed',
    mutant: { ports: (context) => ({ ...context, probes: () => ({ paths: [], withinMs: 0 }) }) },
    life: () => ({ ...CUTOVER, point: 'cutover: repoint', fault: 'router lies', isExact: true }),
    expected: ['L3'],
    seeds: 20,
  },
  {
    name: 'a record is skipped',
    mutant: {
      plant: ({ conditions }) => {
        conditions.sends = (records) => records.slice(records.length > 1 ? 1 : 0);
      },
    },
    life: () => CUTOVER,
    expected: ['S14'],
    seeds: 20,
  },
  {
    name: 'records are sent in another order',
    mutant: {
      plant: ({ conditions }) => {
        conditions.sends = (records) => records.toReversed();
      },
    },
    life: () => CUTOVER,
    expected: ['S5'],
    seeds: 20,
  },
  {
    name: 'an acknowledged write is lost',
    mutant: {
      history: rewrite((words, ledger) => words.filter((word) => word !== operationOf(ledger, 'acknowledged')?.id)),
    },
    life: () => CUTOVER,
    expected: ['S3'],
    seeds: 1,
  },
  {
    name: 'a write is there twice',
    mutant: { history: rewrite((words) => [...words, words.at(-1) ?? '']) },
    life: () => CUTOVER,
    expected: ['S3'],
    seeds: 1,
  },
  {
    name: 'a failed write is there',
    mutant: { history: rewrite(withFailed) },
    life: () => ({ ...CUTOVER, point: 'cutover: hold', fault: 'blocker' }),
    expected: ['S3'],
    seeds: 20,
  },
  {
    name: 'a write that nobody did is there',
    mutant: { history: rewrite((words) => [...words, 'nobody.1']) },
    life: () => CUTOVER,
    expected: ['S4'],
    seeds: 1,
  },
  {
    name: 'writes are there in another order',
    mutant: { history: rewrite((words) => words.toReversed()) },
    life: () => CUTOVER,
    expected: ['S4'],
    seeds: 1,
  },
];
