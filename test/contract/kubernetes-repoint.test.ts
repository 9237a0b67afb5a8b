import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import type { Side } from '../../src/domain/position.ts';
import type { Place } from '../../src/routers/kubernetes/places.ts';
import { KubernetesRouter } from '../../src/routers/kubernetes/router.ts';
import type { Router } from '../../src/routers/router.ts';
import { describeOnFake } from '../support/kubernetes/describe.ts';
import { at } from '../support/kubernetes/json.ts';
import { base64, SORTS, sceneOf } from '../support/kubernetes/scene.ts';

const repointOf = async (router: Router, to: Side, epoch: bigint, phases: readonly string[] = ['orders']) => {
  const expect: Record<string, string> = {};
  for (const phase of phases) expect[phase] = (await router.observe(phase)).version;
  return { phases, to, epoch, expect };
};

await describeOnFake('a repoint of kubernetes', (fake) => {
  test('is one write, with what we keep, and leaves everything else as it is', async () => {
    const more = { metadata: { labels: { team: 'shop' }, annotations: { note: 'of the team' } }, immutable: false };
    const scene = sceneOf(fake, SORTS.configmap, { more });
    const before = scene.read();
    const router = scene.open();
    const repoint = await repointOf(router, 'target', 7n);
    fake.asked.length = 0;
    await router.repoint(repoint);
    expect(fake.asked.filter((line) => line.startsWith('patch'))).toEqual([`patch configmaps/${scene.name}`]);
    const after = scene.read();
    expect(after.data).toEqual({ 'orders.host': 'new.internal', other: 'stays' });
    expect(at(after, 'metadata')).toMatchObject({ labels: { team: 'shop' }, uid: at(before, 'metadata').uid });
    expect(at(after, 'metadata').annotations).toEqual({
      note: 'of the team',
      'switchback/orders.primary': 'target',
      'switchback/orders.epoch': '7',
      'switchback/orders.previous': 'old.internal',
      'switchback/orders.change': at(before, 'metadata').resourceVersion,
    });
  });

  test('of several phases in one object is one write', async () => {
    const scene = sceneOf(fake, SORTS.secret, { phases: ['catalog', 'orders'] });
    const router = scene.open();
    const repoint = await repointOf(router, 'target', 1n, ['catalog', 'orders']);
    fake.asked.length = 0;
    await router.repoint(repoint);
    expect(fake.asked.filter((line) => line.startsWith('patch'))).toHaveLength(1);
    expect(scene.read().data).toEqual({
      'catalog.host': base64('new.internal'),
      'orders.host': base64('new.internal'),
      other: base64('stays'),
    });
  });

  test('keeps name and protocol of a port, and nothing of the old address', async () => {
    const endpoints = [{ addresses: ['10.1.0.5'], zone: 'a', conditions: { ready: true } }];
    const scene = sceneOf(fake, SORTS.endpointslice, { more: { endpoints } });
    const router = scene.open();
    await router.repoint(await repointOf(router, 'target', 1n));
    expect(scene.read()).toMatchObject({ ports: [{ name: 'pg', protocol: 'TCP', port: 5433 }] });
    expect(scene.read().endpoints).toEqual([{ addresses: ['10.1.0.6'], conditions: { ready: true } }]);
  });

  test('keeps nothing of a Secret outside of its data', async () => {
    const scene = sceneOf(fake, SORTS.secret, { leads: 'nowhere' });
    const router = scene.open();
    await router.repoint(await repointOf(router, 'target', 1n));
    expect(at(scene.read(), 'metadata').annotations).toMatchObject({ 'switchback/orders.previous': 'neither side' });
    // Its version is salted with what only those know who may read it.
    const twin = sceneOf(fake, SORTS.secret, { leads: 'nowhere' });
    expect((await twin.open().observe('orders')).version).not.toBe(
      (await sceneOf(fake, SORTS.secret, { leads: 'nowhere' }).open().observe('orders')).version,
    );
  });

  test('is looked at again when another part of the object changed in between', async () => {
    const scene = sceneOf(fake, SORTS.configmap);
    const router = scene.open();
    const repoint = await repointOf(router, 'target', 1n);
    const before = () => fake.store.edit('configmaps', scene.name, { data: { other: 'is new' } });
    fake.failNext({ verb: 'patch', plural: 'configmaps', before });
    await router.repoint(repoint);
    expect(scene.read().data).toEqual({ 'orders.host': 'new.internal', other: 'is new' });
  });

  test('is refused when somebody leads the phase elsewhere between the look and the write', async () => {
    const scene = sceneOf(fake, SORTS.service);
    const router = scene.open();
    const repoint = await repointOf(router, 'target', 1n);
    fake.failNext({ verb: 'patch', plural: 'services', before: () => scene.edit('orders', 'nowhere') });
    await expect(router.repoint(repoint)).rejects.toMatchObject({ kind: 'refused' });
    expect(scene.read().spec).toMatchObject({ externalName: 'elsewhere.internal' });
  });

  test('gives up when others write all the time', async () => {
    const scene = sceneOf(fake, SORTS.configmap);
    const router = scene.open();
    const repoint = await repointOf(router, 'target', 1n);
    for (let time = 1; time <= 20; time++) {
      const before = () => fake.store.edit('configmaps', scene.name, { data: { other: String(time) } });
      fake.failNext({ verb: 'patch', plural: 'configmaps', before });
    }
    await expect(router.repoint(repoint)).rejects.toMatchObject({
      kind: 'unreachable',
      message: `ConfigMap ${scene.name} was changed by others 20 times while we did`,
    });
  });

  test('whose answer is lost is unknown, and its repetition finds it', async () => {
    const scene = sceneOf(fake, SORTS.endpoints);
    const router = scene.open();
    const repoint = await repointOf(router, 'target', 1n);
    fake.failNext({ verb: 'patch', plural: 'endpoints', isDroppedAfter: true });
    await expect(router.repoint(repoint)).rejects.toMatchObject({ kind: 'unknown' });
    const after = scene.read();
    expect(await router.observe('orders')).toMatchObject({ primary: 'target' });
    await scene.open().repoint(repoint);
    expect(scene.read()).toEqual(after);
  });

  test('waits as long as a busy server says', async () => {
    const scene = sceneOf(fake, SORTS.configmap);
    const router = scene.open();
    const repoint = await repointOf(router, 'target', 1n);
    fake.failNext({ verb: 'patch', plural: 'configmaps', status: 429, retryAfterS: 1 });
    fake.asked.length = 0;
    await router.repoint(repoint);
    expect(fake.asked.filter((line) => line.startsWith('patch'))).toHaveLength(2);
  });

  describe('what the API server answers', () => {
    test.each([
      [400, 'refused'],
      [403, 'refused'],
      [404, 'refused'],
      [410, 'unreachable'],
      [418, 'unreachable'],
      [422, 'refused'],
      [500, 'unknown'],
      [503, 'unknown'],
      [504, 'unknown'],
    ])('to a change: %i is %s', async (status, kind) => {
      const scene = sceneOf(fake, SORTS.configmap);
      const router = scene.open();
      const repoint = await repointOf(router, 'target', 1n);
      fake.failNext({ verb: 'patch', plural: 'configmaps', status });
      const message = expect.stringContaining(`planted: ${status}`);
      await expect(router.repoint(repoint)).rejects.toMatchObject({ kind, message });
    });

    test.each([429, 500, 503])('to a look: %i is unreachable', async (status) => {
      const scene = sceneOf(fake, SORTS.configmap);
      // More seconds than a request may take.
      fake.failNext({ verb: 'get', plural: 'configmaps', status, retryAfterS: 30 });
      await expect(scene.open().observe('orders')).rejects.toMatchObject({ kind: 'unreachable' });
    });

    test('names the rule that is missing', async () => {
      const scene = sceneOf(fake, SORTS.endpointslice);
      const router = scene.open();
      const repoint = await repointOf(router, 'target', 1n);
      fake.denied.add('patch endpointslices');
      await expect(router.repoint(repoint)).rejects.toMatchObject({
        kind: 'refused',
        message: expect.stringMatching(/does not let us patch EndpointSlice .* of shop: .*cannot patch resource/),
        remedy: `add to a Role of ours in shop: { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], resourceNames: ["${scene.name}"], verbs: ["patch"] }`,
      });
      fake.denied.clear();
    });

    test('hides the token that it was given', async () => {
      const scene = sceneOf(fake, SORTS.configmap);
      fake.failNext({ verb: 'get', plural: 'configmaps', status: 500, says: `who is ${fake.token}?` });
      await expect(scene.open().observe('orders')).rejects.toThrow(/now: who is \*\*\*\?$/);
    });

    test('shows nothing of a Secret', async () => {
      const scene = sceneOf(fake, SORTS.secret);
      const router = scene.open();
      const repoint = await repointOf(router, 'target', 1n);
      const says = `Invalid value: ${JSON.stringify(scene.read())}`;
      fake.failNext({ verb: 'patch', plural: 'secrets', status: 422, says });
      const error: unknown = await router.repoint(repoint).catch((thrown: unknown) => thrown);
      expect(String(error)).toMatch(/does not take the change to Secret shared-\d+ of shop$/);
    });
  });

  describe('who does not get as far as that', () => {
    test.each([
      ['a wrong token', () => fake.kubeconfig({ token: 'x' }), 'refused', /does not know who we are/],
      [
        'another authority',
        () => fake.kubeconfig({ cluster: { 'certificate-authority': fake.authority('other') } }),
        'refused',
        /is not the one that we trust/,
      ],
      ['nobody at its port', () => fake.kubeconfig({ port: 2 }), 'unreachable', /cannot get ConfigMap .*ECONNREFUSED/],
      ['no kubeconfig', () => join(fake.folder, 'none'), 'refused', /kubeconfig .* cannot be read: ENOENT/],
      ['no pod', () => null, 'refused', /names no kubeconfig, and this is no pod/],
    ])('%s', async (_, kubeconfig, kind, message) => {
      const scene = sceneOf(fake, SORTS.configmap, { kubeconfig: kubeconfig() });
      const late = scene.open().observe('orders');
      await expect(late).rejects.toMatchObject({ kind, message: expect.stringMatching(message) });
    });
  });

  test('does not wait for a program that gives credentials, nor asks when it is over', async () => {
    const [asked, given] = [join(fake.folder, 'asked'), join(fake.folder, 'given')];
    const status = {
      kind: 'ExecCredential',
      apiVersion: 'client.authentication.k8s.io/v1',
      status: { token: fake.token },
    };
    const script = 'while [ ! -e "$0" ]; do sleep 0.05; done; echo "$2"; touch "$1"';
    const args = ['-c', script, asked, given, JSON.stringify(status)];
    const exec = { apiVersion: status.apiVersion, command: 'sh', args };
    const scene = sceneOf(fake, SORTS.configmap, { held: true, kubeconfig: fake.kubeconfig({ user: { exec } }) });
    fake.asked.length = 0;
    await expect(scene.open().hold(['orders'], 100)).rejects.toMatchObject({ kind: 'unreachable' });
    writeFileSync(asked, '');
    await vi.waitUntil(() => existsSync(given), { timeout: 10_000 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(fake.asked).toEqual([]);
    // It is such credentials that a kubeconfig of a cloud has.
    expect(await scene.open().observe('orders')).toMatchObject({ primary: 'source' });
  });

  test('reads a kubeconfig again when it is renewed', async () => {
    const path = fake.kubeconfig({ token: 'outdated' });
    const router = sceneOf(fake, SORTS.configmap, { kubeconfig: path }).open();
    await expect(router.observe('orders')).rejects.toMatchObject({ kind: 'refused' });
    writeFileSync(path, fake.kubeconfigText());
    expect(await router.observe('orders')).toMatchObject({ primary: 'source' });
  });

  test('in a pod is done as its service account', async () => {
    const account = join(fake.folder, 'pod/var/run/secrets/kubernetes.io/serviceaccount/token');
    mkdirSync(dirname(account), { recursive: true });
    writeFileSync(account, fake.token);
    writeFileSync(join(dirname(account), 'ca.crt'), fake.authorityText());
    vi.stubEnv('KUBERNETES_SERVICE_HOST', '127.0.0.1');
    vi.stubEnv('KUBERNETES_SERVICE_PORT', String(fake.port));
    const scene = sceneOf(fake, SORTS.service, { kubeconfig: null, podRoot: join(fake.folder, 'pod') });
    const router = scene.open();
    await router.repoint(await repointOf(router, 'target', 1n));
    vi.unstubAllEnvs();
    expect(scene.read().spec).toMatchObject({ externalName: 'new.internal' });
  });

  test('a release lets go on whoever it can reach, and then says what failed first', async () => {
    const objects = [
      ['orders', 'secret', 'secrets'],
      ['catalog', 'configmap', 'configmaps'],
    ] as const;
    const places = objects.map(([phase, of, plural]): [string, Place] => {
      fake.store.put(plural, 'apart', { data: { host: of === 'secret' ? base64('a') : 'a' } });
      return [phase, { ref: { of, name: 'apart' }, key: 'host', held: 'host_HELD' }];
    });
    const url = 'postgresql://me@db.example/shop';
    const router = new KubernetesRouter({
      kubeconfig: fake.kubeconfig(),
      context: null,
      podRoot: '',
      namespace: 'shop',
      places: new Map(places),
      sides: { source: { url, said: 'a' }, target: { url, said: 'b' } },
      workloads: [],
      restartWithinMs: 0,
    });
    await router.hold(['orders', 'catalog'], 5_000);
    fake.failNext({ verb: 'patch', plural: 'secrets', status: 422 });
    await expect(router.release(['orders', 'catalog'])).rejects.toMatchObject({ kind: 'refused' });
    expect(fake.store.get('configmaps', 'apart').data).toMatchObject({ host_HELD: '0' });
    expect(fake.store.get('secrets', 'apart').data).toMatchObject({ host_HELD: base64('1') });
  });

  test('a hold that is given up holds nobody after the release', async () => {
    const scene = sceneOf(fake, SORTS.configmap, { held: true });
    const router = scene.open();
    await router.release(['orders']);
    fake.failNext({ verb: 'patch', plural: 'configmaps', delayMs: 600 });
    await expect(router.hold(['orders'], 300)).rejects.toMatchObject({ kind: 'unknown' });
    await router.release(['orders']);
    // What was on its way has arrived by now.
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(scene.read().data).toMatchObject({ 'orders.host_HELD': '0' });
  });
});
