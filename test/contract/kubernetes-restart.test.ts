import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { Side } from '../../src/domain/position.ts';
import type { WorkloadRef } from '../../src/routers/kubernetes/rollout.ts';
import type { Router } from '../../src/routers/router.ts';
import { describeOnFake } from '../support/kubernetes/describe.ts';
import { at } from '../support/kubernetes/json.ts';
import { addWorkload, type SceneOptions, SORTS, sceneOf } from '../support/kubernetes/scene.ts';

const switchTo = async (router: Router, to: Side, epoch: bigint, phases: readonly string[] = ['orders']) => {
  const expected: Record<string, string> = {};
  for (const phase of phases) expected[phase] = (await router.observe(phase)).version;
  const repoint = { phases, to, epoch, expect: expected };
  const again = (by: Router = router): Promise<void> => by.repoint(repoint);
  return { done: again(), again };
};

/** A worker that dies as by kill -9 at a failpoint; without one it does its work. Resolves to how it ended. */
const workerOf = async (failpoint: string, args: readonly string[]): Promise<unknown> => {
  const program = fileURLToPath(new URL('../support/kubernetes/repoint-program.ts', import.meta.url));
  const env = { ...process.env, SWITCHBACK_FAILPOINT: failpoint };
  const child = spawn(process.execPath, [program, ...args], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  const [code, signal] = await once(child, 'exit');
  return signal ?? code;
};

let made = 0;

await describeOnFake('a restart by kubernetes', (fake) => {
  const withWorkloads = (options: SceneOptions = {}) => {
    made += 1;
    const workloads: readonly WorkloadRef[] = [
      { of: 'deployment', name: `web-${made}` },
      { of: 'statefulset', name: `jobs-${made}` },
    ];
    for (const ref of workloads) addWorkload(fake, ref);
    const names = [`deployments/web-${made}`, `statefulsets/jobs-${made}`];
    return {
      ...sceneOf(fake, SORTS.configmap, { ...options, workloads }),
      web: `web-${made}`,
      restarts: () => names.map((name) => fake.controllers.rollouts.get(name) ?? 0),
    };
  };

  test('is done once, and waited for until all pods are new', async () => {
    const scene = withWorkloads();
    const router = scene.open();
    await (await switchTo(router, 'target', 1n)).done;
    expect(scene.restarts()).toEqual([1, 1]);
    const web = fake.store.get('deployments', scene.web);
    expect(web.status).toMatchObject({ observedGeneration: 2, updatedReplicas: 2, availableReplicas: 2, replicas: 2 });
    const annotations = at(web, 'spec', 'template', 'metadata', 'annotations');
    expect(annotations['kubectl.kubernetes.io/restartedAt']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(annotations['switchback/orders.change']).toBe(
      at(scene.read(), 'metadata', 'annotations')['switchback/orders.restarted'],
    );
    expect(await router.observe('orders')).toMatchObject({ primary: 'target' });
  });

  test('is done again on the way back, and by a new run that has the same epoch', async () => {
    const scene = withWorkloads();
    await (await switchTo(scene.open(), 'target', 1n)).done;
    await (await switchTo(scene.open(), 'source', 1n)).done;
    expect(scene.restarts()).toEqual([2, 2]);
  });

  test('is done once for several phases', async () => {
    const scene = withWorkloads({ phases: ['catalog', 'orders'] });
    await (await switchTo(scene.open(), 'target', 1n, ['catalog', 'orders'])).done;
    expect(scene.restarts()).toEqual([1, 1]);
  });

  test('that was not begun when the worker died is begun by the next', async () => {
    const scene = withWorkloads();
    fake.failNext({ verb: 'patch', plural: 'deployments', status: 403 });
    const { done, again } = await switchTo(scene.open(), 'target', 1n);
    await expect(done).rejects.toMatchObject({ kind: 'refused' });
    expect(scene.read().data).toMatchObject({ 'orders.host': 'new.internal' });
    // It leads nobody anywhere yet: what runs has read the old value.
    expect(await scene.open().observe('orders')).toMatchObject({ primary: null });
    await again(scene.open());
    expect(scene.restarts()).toEqual([1, 1]);
    expect(await scene.open().observe('orders')).toMatchObject({ primary: 'target' });
  });

  test('that was begun when the worker died is not begun again', async () => {
    const scene = withWorkloads();
    fake.failNext({ verb: 'patch', plural: 'deployments', isDroppedAfter: true });
    const { done, again } = await switchTo(scene.open(), 'target', 1n);
    await expect(done).rejects.toMatchObject({ kind: 'unknown' });
    expect(await scene.open().observe('orders')).toMatchObject({ primary: null });
    await again(scene.open());
    expect(scene.restarts()).toEqual([1, 1]);
  });

  test('that is over and was not recorded is recorded by the next', async () => {
    const scene = withWorkloads();
    const { done, again } = await switchTo(scene.open(), 'target', 1n);
    const late = { verb: 'patch', plural: 'configmaps', status: 503 } as const;
    // The first patch is that of the repoint.
    fake.failNext({ verb: 'patch', plural: 'statefulsets', before: () => fake.failNext(late) });
    await expect(done).rejects.toMatchObject({ kind: 'unknown' });
    await again(scene.open());
    expect(scene.restarts()).toEqual([1, 1]);
    expect(await scene.open().observe('orders')).toMatchObject({ primary: 'target' });
  });

  test('that is late says how far it is, and is waited for by the next', async () => {
    const scene = withWorkloads({ restartWithinMs: 600 });
    fake.controllers.options.rollouts = 'stand still';
    const { done, again } = await switchTo(scene.open(), 'target', 1n);
    await expect(done).rejects.toMatchObject({
      kind: 'unreachable',
      message: `Deployment ${scene.web} is not restarted within 1 s: 1 of 2 pods are new`,
    });
    fake.controllers.options.rollouts = 'complete';
    const settled = { updatedReplicas: 2, replicas: 2, availableReplicas: 2, observedGeneration: 2 };
    fake.store.setStatus('deployments', scene.web, settled);
    fake.store.setStatus('statefulsets', scene.web.replace('web', 'jobs'), settled);
    await again(scene.open());
    expect(scene.restarts()).toEqual([1, 1]);
  });

  test('that is stuck is refused', async () => {
    const scene = withWorkloads();
    fake.controllers.options.rollouts = 'give up';
    const { done } = await switchTo(scene.open(), 'target', 1n);
    await expect(done).rejects.toMatchObject({ kind: 'refused', message: expect.stringMatching(/progressDeadline/) });
    fake.controllers.options.rollouts = 'complete';
  });

  test.each(['never', 'once'])(
    'is done where a person has led the object there, which was told %s before',
    async (told) => {
      const scene = withWorkloads();
      const router = scene.open();
      if (told === 'once') await (await switchTo(router, 'target', 1n)).done;
      if (told === 'once') await (await switchTo(router, 'source', 2n)).done;
      const before = scene.restarts();
      const expected = { orders: (await router.observe('orders')).version };
      scene.edit('orders', 'target');
      const repoint = { phases: ['orders'], to: 'target', epoch: 3n, expect: expected } as const;
      await router.repoint(repoint);
      expect(scene.restarts()).toEqual(before.map((count) => count + 1));
      await scene.open().repoint(repoint);
      expect(scene.restarts()).toEqual(before.map((count) => count + 1));
    },
  );

  test('is not done for a repoint that changes nothing', async () => {
    const scene = withWorkloads();
    await (await switchTo(scene.open(), 'source', 1n)).done;
    expect(scene.restarts()).toEqual([0, 0]);
  });

  test.each(['kubernetes:written', 'kubernetes:restarted'])(
    'a worker that is killed at %s is completed',
    async (at) => {
      const scene = withWorkloads();
      const args = [fake.kubeconfig(), scene.name, scene.web];
      expect(await workerOf(`${at}:kill`, args)).toBe('SIGKILL');
      expect(await scene.open().observe('orders')).toMatchObject({ primary: null });
      expect(await workerOf('', args)).toBe(0);
      expect(fake.controllers.rollouts.get(`deployments/${scene.web}`)).toBe(1);
      expect(await scene.open().observe('orders')).toMatchObject({ primary: 'target' });
    },
  );
});
