import { beforeAll, expect, test, vi } from 'vitest';
import type { RunContext } from '../../src/stages/context.ts';
import { Cluster, type Mutant, type Running } from './cluster.ts';
import { type Life, live, makeStarts, type Starts } from './life.ts';
import { answerOf, judge } from './recovery.ts';
import type { Process } from './world.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

// What the simulation has found in the product, each with the lives in which it was seen.

let starts: Starts;

beforeAll(async () => {
  starts = await makeStarts(['orders']);
});

const expectUnbroken = async (life: Omit<Life, 'start' | 'command'>, seeds: number): Promise<void> => {
  for (let seed = 0; seed < seeds; seed++) {
    const { violations, cells } = await live(seed, { start: 'ready', command: 'cutover', ...life }, starts);
    expect({ seed, violations }).toEqual({ seed, violations: [] });
    expect(cells[0]).toBe(`${life.point} | ${life.fault}`);
  }
};

// Its session held the lease's row, and nobody could take over before the server's keepalive had noticed, after two hours.
test('a machine that is lost in the middle of an act keeps nobody from taking over', async () => {
  await expectUnbroken({ point: 'cutover: hold', fault: 'machine lost', isExact: true }, 3);
  await expectUnbroken({ point: 'cutover: fence', fault: 'machine lost', isExact: true }, 3);
});

// The step had begun by then, went on beside the undo, and its failure was an unhandled rejection, which ends the process.
test('a step whose intent has used the window up does nothing', async () => {
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on('unhandledRejection', note);
  try {
    for (const step of ['hold', 'position', 'prove', 'sequences', 'way back']) {
      await expectUnbroken({ point: `cutover: ${step}`, fault: 'source silent', isExact: true }, 6);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  } finally {
    process.off('unhandledRejection', note);
  }
  expect(unhandled).toEqual([]);
});

// After a failback whose router had lied, abort took the target's fence away, and clients wrote where nobody looks any more.
test('abort is refused while a router leads clients to the target', async () => {
  const from = starts.soaking;
  if (!from) throw new Error('there is no soaking phase to begin with');
  const cluster = new Cluster({ seed: 1, from });
  const { world, routes } = cluster;
  const ask = async (command: 'failback' | 'abort' | 'resume', options = {}): Promise<string> => {
    const asked = cluster.startCommand(command, options);
    await world.until(() => asked.done !== null, world.now + 30_000);
    return answerOf(asked);
  };
  cluster.startClients();
  routes.fault = 'lies';
  expect(await ask('failback')).toContain('orders is on the source now');
  routes.fault = null;
  expect(await ask('abort')).toMatch(/"exitCode":4.*leads clients to the target/);
  expect(cluster.servers.target.get('fence', 'public.orders_account')).toBe('on');
  routes.correct('orders', 'source');
  // Nor as long as a client may still have its address, which nobody but a person can know.
  expect(await ask('abort')).toMatch(/"exitCode":4.*has been on the target/);
  expect(cluster.servers.target.get('fence', 'public.orders_account')).toBe('on');
  // Somebody says so, and the path that clients take was last seen to lead there.
  expect(await ask('abort', { unfence: true })).toMatch(/"exitCode":4.*not seen to arrive/);
  expect(cluster.servers.target.get('fence', 'public.orders_account')).toBe('on');
  expect(await ask('resume')).toMatch(/"exitCode":0.*proven by/);
  expect(await ask('abort', { unfence: true })).toContain('nothing of ours remains');
  expect(world.violations).toEqual([]);
});

/** A promise that a test lets go on. */
interface Gate {
  readonly reached: () => boolean;
  readonly ports: NonNullable<Mutant['ports']>;
}

/** The first process whose name begins like this sleeps right before its call of the port; nothing else of it happens until it wakes. */
const sleepBefore = (
  holder: string,
  wrap: (context: RunContext, sleepNow: () => Promise<void>) => RunContext,
): Gate => {
  let isReached = false;
  return {
    reached: () => isReached,
    ports: (context, { world, processes }) => {
      const process = processes.find((one) => one.holder === context.holder);
      if (!process?.holder.startsWith(holder)) return context;
      return wrap(context, async () => {
        if (isReached) return;
        isReached = true;
        world.pause(process);
        await new Promise<void>((resolve) => world.schedule(process, 0, `${process.holder} goes on`, resolve));
      });
    },
  };
};

/** Everything of an abort that takes something away from the target or the source. */
const ACTS: Readonly<Record<string, (context: RunContext, sleepNow: () => Promise<void>) => RunContext>> = {
  'lanes and publications': (context, sleepNow) => ({
    ...context,
    engine: { ...context.engine, retire: async (what) => await sleepNow().then(() => context.engine.retire(what)) },
  }),
  rows: (context, sleepNow) => ({
    ...context,
    schema: {
      ...context.schema,
      empty: async (tables, guard) => await sleepNow().then(() => context.schema.empty(tables, guard)),
    },
  }),
  schema: (context, sleepNow) => ({
    ...context,
    schema: {
      ...context.schema,
      undo: async (created, guard) => await sleepNow().then(() => context.schema.undo(created, guard)),
    },
  }),
  sidecars: (context, sleepNow) => ({
    ...context,
    schema: {
      ...context.schema,
      undo: async (created, guard) => {
        const remains = await context.schema.undo(created, guard);
        await sleepNow();
        return remains;
      },
    },
  }),
};

/** What stands on both servers of a run that has been cut over, apart from what changes by itself. */
const standing = ({ servers }: Cluster): unknown =>
  (['source', 'target'] as const).map((side) => {
    const names = [
      'publication',
      'fence',
      'schema',
      'sidecar:run',
      'sidecar:phase',
      'sidecar:ownership',
      'sidecar:lane',
      'dropped index',
    ];
    const stores = names.map((name) => [name, Object.fromEntries(servers[side].store(name))]);
    return {
      stores,
      slots: [...servers[side].slots.keys()],
      lanes: [...servers[side].store('sidecar:progress').keys()],
    };
  });

// Epochs began at one again with every run, and most of an abort was done without asking for any: a worker that had slept
// through the end of one run and the cutover of the next emptied the tables of the new primary.
test.each(Object.keys(ACTS))(
  'an abort that slept through the next run’s cutover takes nothing away: %s',
  async (act) => {
    const from = starts.ready;
    if (!from) throw new Error('there is no ready phase to begin with');
    const gate = sleepBefore('abort', ACTS[act] ?? ((context) => context));
    const cluster = new Cluster({ seed: 5, from, mutant: { ports: gate.ports } });
    const { world } = cluster;
    const answered = async (asked: Running<unknown>): Promise<string> => {
      await world.until(() => asked.done !== null, world.now + 60_000);
      return answerOf(asked);
    };
    cluster.startClients();
    const asleep = cluster.startCommand('abort');
    expect(await world.until(gate.reached, world.now + 30_000)).toBe(true);
    await world.until(() => false, world.now + 16_000);
    expect(await answered(cluster.startCommand('resume'))).toContain('nothing of ours remains');
    cluster.startWorker();
    expect(await world.until(() => cluster.areIn('ready'), world.now + 60_000)).toBe(true);
    expect(await answered(cluster.startCommand('cutover'))).toContain('orders is on the target now');
    const before = standing(cluster);
    const rows = cluster.servers.target.store('rows:public.orders_account').size;
    world.wake(asleep.process);
    expect(await answered(asleep)).toMatch(/taken over|belongs to run|cannot be reached/);
    expect(standing(cluster)).toEqual(before);
    expect(cluster.servers.target.store('rows:public.orders_account').size).toBe(rows);
    expect(await answered(cluster.startCommand('failback'))).toContain('orders is on the source now');
    await judge(cluster, { hasLied: false });
    expect(world.violations).toEqual([]);
  },
);

// It would have dropped the keys of the new primary.
test('a worker that slept in the middle of prepare drops no index of what has been cut over meanwhile', async () => {
  const gate = sleepBefore('worker0', (context, sleepNow) => ({
    ...context,
    schema: {
      ...context.schema,
      drop: async (items, guard) => await sleepNow().then(() => context.schema.drop(items, guard)),
    },
  }));
  const cluster = new Cluster({ seed: 6, phases: ['orders'], mutant: { ports: gate.ports } });
  const { world } = cluster;
  cluster.startClients();
  const asleep = cluster.startWorker();
  expect(await world.until(gate.reached, world.now + 30_000)).toBe(true);
  await world.until(() => false, world.now + 16_000);
  cluster.startWorker();
  expect(await world.until(() => cluster.areIn('ready'), world.now + 60_000)).toBe(true);
  const cutover = cluster.startCommand('cutover');
  await world.until(() => cutover.done !== null, world.now + 60_000);
  expect(answerOf(cutover)).toContain('orders is on the target now');
  const before = standing(cluster);
  world.wake(asleep.process);
  await world.until(() => asleep.done !== null, world.now + 60_000);
  expect(answerOf(asleep)).toContain('taken over');
  expect(standing(cluster)).toEqual(before);
  expect(world.violations).toEqual([]);
});

// After an abort it left one behind that nobody knew of.
test('a worker that slept in the middle of prepare makes no publication', async () => {
  const gate = sleepBefore('worker0', (context, sleepNow) => ({
    ...context,
    engine: { ...context.engine, publish: async (spec) => await sleepNow().then(() => context.engine.publish(spec)) },
  }));
  const cluster = new Cluster({ seed: 8, phases: ['orders'], mutant: { ports: gate.ports } });
  const { world, servers } = cluster;
  const asleep = cluster.startWorker();
  expect(await world.until(gate.reached, world.now + 30_000)).toBe(true);
  await world.until(() => false, world.now + 16_000);
  const abort = cluster.startCommand('abort');
  await world.until(() => abort.done !== null, world.now + 60_000);
  expect(answerOf(abort)).toContain('nothing of ours remains');
  world.wake(asleep.process);
  await world.until(() => asleep.done !== null, world.now + 60_000);
  expect(servers.source.store('publication').size).toBe(0);
  expect(servers.target.store('publication').size).toBe(0);
  expect(world.violations).toEqual([]);
});

// The name was that of the newer worker's slot, whose copy went on from a start that was gone.
test('a worker that slept before it made the slot of a copy leaves that of a newer copy alone', async () => {
  const cluster = new Cluster({ seed: 9, phases: ['orders'] });
  const { world, servers } = cluster;
  let asleep: Process | null = null;
  cluster.onEffect = ({ process, label }, moment) => {
    if (label !== 'source create slot' || moment !== 'before' || asleep !== null) return 'go';
    asleep = process;
    world.pause(process);
    return 'hold';
  };
  cluster.startClients();
  cluster.startWorker();
  expect(await world.until(() => asleep !== null, world.now + 30_000)).toBe(true);
  await world.until(() => false, world.now + 16_000);
  cluster.startWorker();
  expect(await world.until(() => cluster.areIn('copying'), world.now + 60_000)).toBe(true);
  const [slot] = servers.source.slots.keys();
  world.wake(asleep as unknown as Process);
  expect(await world.until(() => cluster.areIn('ready'), world.now + 60_000)).toBe(true);
  expect(servers.source.slots.has(slot ?? '')).toBe(true);
  expect(world.violations).toEqual([]);
});

// The lane's progress was gone with the finalise, so the batch in hand made a new one, and wrote to the fenced source.
test('a lane that slept through a finalise applies nothing any more', async () => {
  for (let index = 0; index < 8; index++) {
    const strikes = [{ index, moment: 'replied', how: 'sleep' }] as const;
    const life = { start: 'soaking', command: 'finalise', point: null, fault: null, strikes } as const;
    const { violations, struck } = await live(11, { ...life, recovery: 'sleeper wakes' }, starts);
    expect({ index, struck: struck.length, violations }).toEqual({ index, struck: 1, violations: [] });
  }
});

// It had the name of a switch that was settled long ago, so nobody looked for it: the log was kept until the disk was full.
test('a slot that a sleeper makes right before it dies is dropped by the worker that runs', async () => {
  const from = starts.ready;
  if (!from) throw new Error('there is no ready phase to begin with');
  const cluster = new Cluster({ seed: 7, from });
  const { world, servers } = cluster;
  let asleep: Process | null = null;
  cluster.onEffect = ({ process, label }, moment) => {
    if (label !== 'target create slot') return 'go';
    if (asleep === null && moment === 'before') {
      asleep = process;
      world.pause(process);
      return 'hold';
    }
    if (process !== asleep || moment !== 'after') return 'go';
    world.kill(process);
    return 'die';
  };
  cluster.startClients();
  cluster.startCommand('cutover');
  expect(await world.until(() => asleep !== null, world.now + 30_000)).toBe(true);
  await world.until(() => false, world.now + 16_000);
  cluster.startWorker();
  await world.until(() => false, world.now + 5_000);
  const again = cluster.startCommand('cutover');
  await world.until(() => again.done !== null, world.now + 30_000);
  expect(answerOf(again)).toContain('orders is on the target now');
  const [slot, ...more] = servers.target.slots.keys();
  expect(more).toEqual([]);
  world.wake(asleep as unknown as Process);
  expect(await world.until(() => servers.target.slots.size === 2, world.now + 10_000)).toBe(true);
  await world.until(() => servers.target.slots.size === 1, world.now + 65_000);
  expect([...servers.target.slots.keys()]).toEqual([slot]);
  expect(world.violations).toEqual([]);
});
