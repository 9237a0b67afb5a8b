import { beforeAll, describe, expect, test, vi } from 'vitest';
import { Cluster, type Running } from './cluster.ts';
import { makeStarts, type Starts } from './life.ts';
import { answerOf } from './recovery.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

// Fault 67: the source's clock is set an hour ahead or back. Who lives and who does not is no matter of that clock.

const HOUR_MS = 3_600_000;
let starts: Starts;

beforeAll(async () => {
  starts = await makeStarts(['orders']);
});

const makeCluster = (seed: number): Cluster => {
  const cluster = new Cluster({ seed, ...(starts.ready ? { from: starts.ready } : {}) });
  cluster.startClients();
  return cluster;
};

const pass = async ({ world }: Cluster, ms: number): Promise<void> =>
  void (await world.until(() => false, world.now + ms));

const end = async ({ world }: Cluster, running: Running<unknown>, ms = 60_000): Promise<string> => {
  await world.until(() => running.done !== null, world.now + ms);
  return answerOf(running);
};

const holderOf = ({ servers }: Cluster): string =>
  ([...servers.source.store('sidecar:lease').values()][0] as { readonly holder: string }).holder;

/** Milliseconds until another process holds the lease. */
const timeToTake = async (cluster: Cluster): Promise<number> => {
  const { world } = cluster;
  const former = holderOf(cluster);
  const begun = world.now;
  const heir = cluster.startWorker();
  const isTaken = (): boolean => heir.done !== null || ![former, ''].includes(holderOf(cluster));
  await world.until(isTaken, begun + 60_000);
  expect(answerOf(heir)).toBe('no answer');
  return world.now - begun;
};

describe.each([HOUR_MS, -HOUR_MS])('a jump of the source’s clock by %i ms', (jumpMs) => {
  test('in the middle of a switch: whoever asked hears how it ends', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const cluster = makeCluster(seed);
      cluster.startWorker();
      await pass(cluster, 2_500);
      // Slow enough that whoever asked looks for the worker before its next heartbeat.
      cluster.conditions.applyMs = 500;
      cluster.onEvent.push((event) => {
        if (event.type === 'step' && event.step === 'hold') cluster.servers.source.clockAheadMs = jumpMs;
      });
      const said = await end(cluster, cluster.startCommand('cutover'));
      // Done, or undone when the slow lane has used up the window: the worker's own answer.
      expect(said).toMatch(/"exitCode":[05],.*"here":false/);
      expect(cluster.servers.source.clockAheadMs).toBe(jumpMs);
      expect(cluster.world.violations).toEqual([]);
    }
  });

  test('a worker that lives is not taken over', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const cluster = makeCluster(seed);
      const worker = cluster.startWorker();
      await pass(cluster, 2_000 + seed * 200);
      cluster.servers.source.clockAheadMs = jumpMs;
      expect(await end(cluster, cluster.startWorker())).toMatch(/holds the lease \(its heartbeat was seen\)/);
      expect(worker.done).toBe(null);
    }
  });

  test('a machine that was lost is taken over all the same', async () => {
    const cluster = makeCluster(1);
    const { process } = cluster.startWorker();
    await pass(cluster, 2_500);
    for (const side of ['source', 'target'] as const) cluster.network.setLink(process, side, 'silent');
    cluster.world.kill(process);
    cluster.servers.source.clockAheadMs = jumpMs;
    expect(await timeToTake(cluster)).toBeLessThan(5_000);
  });

  test('a worker whose session has gone is taken over at once', async () => {
    const cluster = makeCluster(1);
    const { process } = cluster.startWorker();
    await pass(cluster, 2_500);
    cluster.servers.source.clockAheadMs = jumpMs;
    cluster.world.kill(process);
    await pass(cluster, 10);
    expect(await timeToTake(cluster)).toBeLessThan(100);
  });
});

describe('without a jump', () => {
  test('a worker whose session has gone is taken over at once, also when its heartbeat is old', async () => {
    for (const waitMs of [10, 60_000]) {
      const cluster = makeCluster(1);
      const { process } = cluster.startWorker();
      await pass(cluster, 2_500);
      cluster.world.kill(process);
      await pass(cluster, waitMs);
      expect(await timeToTake(cluster)).toBeLessThan(100);
    }
  });

  test('a machine that was lost is taken over once its heartbeat is old, and not before', async () => {
    const cluster = makeCluster(1);
    const { process } = cluster.startWorker();
    await pass(cluster, 2_500);
    for (const side of ['source', 'target'] as const) cluster.network.setLink(process, side, 'silent');
    cluster.world.kill(process);
    await pass(cluster, 10_000);
    expect(await end(cluster, cluster.startWorker())).toMatch(/holds the lease \(heartbeat 1\d s ago\)/);
    await pass(cluster, 6_000);
    expect(await timeToTake(cluster)).toBeLessThan(5_000);
  });

  test('a command that was handed to a machine that is lost then observes its heartbeat once, and does the work', async () => {
    const cluster = makeCluster(1);
    const { process } = cluster.startWorker();
    await pass(cluster, 2_500);
    for (const side of ['source', 'target'] as const) cluster.network.setLink(process, side, 'silent');
    cluster.world.kill(process);
    const begun = cluster.world.now;
    const said = await end(cluster, cluster.startCommand('verify'));
    expect(said).toMatch(/"exitCode":0,.*"here":true/);
    expect(cluster.world.now - begun).toBeLessThan(15_000 + 3_000 + 2_000);
  });
});
