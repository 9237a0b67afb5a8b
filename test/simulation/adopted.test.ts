import { expect, test, vi } from 'vitest';
import type { Event } from '../../src/domain/event.ts';
import { raiseSide } from '../../src/sidecar/ownership.ts';
import { Cluster, type Mutant, type Running } from './cluster.ts';
import { makeStarts, pointOf } from './life.ts';
import { answerOf, judge } from './recovery.ts';
import type { Process } from './world.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

/**
 * A failback that has committed on the source, and whose worker sleeps right before the source is lifted. What may have happened
 * meanwhile: that nobody else reached that server any more, and that a restored one was adopted in its place.
 */
const asleepBeforeLift = async () => {
  const { soaking } = await makeStarts(['orders']);
  if (!soaking) throw new Error('there is no soaking phase to begin with');
  let asleep: Process | null = null;
  const sleepAtLift: NonNullable<Mutant['ports']> = (context, { processes, world }) => ({
    ...context,
    emit: (event: Event) => {
      context.emit(event);
      if (pointOf(event) !== 'failback: lift' || asleep !== null) return;
      asleep = processes.find(({ holder }) => holder === context.holder) ?? null;
      if (asleep) world.pause(asleep);
    },
  });
  const cluster = new Cluster({ seed: 3, from: soaking, mutant: { ports: sleepAtLift } });
  const failback = cluster.startCommand('failback');
  expect(await cluster.world.until(() => asleep !== null, cluster.world.now + 30_000)).toBe(true);
  return { cluster, failback, process: asleep as unknown as Process };
};

const ended = async ({ world }: Cluster, running: Running<unknown>): Promise<string> => {
  await world.until(() => running.done !== null, world.now + 60_000);
  return answerOf(running);
};

test('a failback that slept through the adoption of a restored source lifts nothing', async () => {
  const { cluster, failback, process } = await asleepBeforeLift();
  // As `claimSource` does it, which changes nothing else that this worker looks at.
  const adopting = cluster.start('adoption', ({ target }) => target.sql.transaction((sql) => raiseSide(sql, 1_000n)));
  await ended(cluster, adopting);
  cluster.world.wake(process);
  expect(await ended(cluster, failback)).toContain('taken over');
  expect(cluster.servers.source.get('fence', 'public.orders_account')).toBe('on');
});

test('a failback is completed although the target does not answer any more', async () => {
  const { cluster, failback, process } = await asleepBeforeLift();
  const { world, servers } = cluster;
  cluster.network.setLink(process, 'target', 'silent');
  const since = world.now;
  world.wake(process);
  const isLifted = () => servers.source.get('fence', 'public.orders_account') !== 'on';
  expect(await world.until(isLifted, world.now + 30_000)).toBe(true);
  expect(world.now - since).toBeLessThan(3_000);
  cluster.network.setLink(process, 'target', 'open');
  expect(await ended(cluster, failback)).toContain('orders is on the source now');
  await judge(cluster, { hasLied: false });
  expect(world.violations).toEqual([]);
});
