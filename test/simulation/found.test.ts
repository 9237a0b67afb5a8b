import { beforeAll, expect, test, vi } from 'vitest';
import { Cluster } from './cluster.ts';
import { type Life, live, makeStarts, type Starts } from './life.ts';
import { answerOf } from './recovery.ts';

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
  const ask = async (command: 'failback' | 'abort'): Promise<string> => {
    const asked = cluster.startCommand(command);
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
  expect(await ask('abort')).toContain('nothing of ours remains');
  expect(world.violations).toEqual([]);
});
