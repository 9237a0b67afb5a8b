import { afterEach, describe, expect, test, vi } from 'vitest';
import type { PlaceName } from '../../src/routers/kubernetes/places.ts';
import { describeOnFake } from '../support/kubernetes/describe.ts';
import type { Json } from '../support/kubernetes/json.ts';
import { addWorkload, type SceneOptions, SORTS, sceneOf } from '../support/kubernetes/scene.ts';

/** What is planted, and the findings that it makes, by id and severity. */
type Found = readonly (readonly [id: string, severity: 'blocks' | 'warns'])[];

const label = (name: string, value: string): Json => ({ metadata: { labels: { [name]: value } } });
const owner = {
  apiVersion: 'external-secrets.io/v1',
  kind: 'ExternalSecret',
  name: 'shop',
  uid: 'u',
  controller: true,
};

await describeOnFake('findings of kubernetes', (fake) => {
  afterEach(() => {
    fake.denied.clear();
    for (const plural of ['deployments', 'statefulsets', 'services', 'endpointslices']) fake.store.clear(plural);
  });

  const findings = (of: PlaceName, options: SceneOptions = {}) =>
    sceneOf(fake, SORTS[of], options).open().findings(['orders']);

  const foundOf = async (of: PlaceName, options: SceneOptions = {}): Promise<Found> =>
    (await findings(of, options)).map(({ id, severity }) => [id, severity] as const);

  describe('nothing blocks what is as it should be', () => {
    test.each<[PlaceName, Found]>([
      ['service', [['router/name-cached', 'warns']]],
      ['configmap', []],
      ['secret', []],
    ])('%s', async (of, expected) => {
      expect(await foundOf(of)).toEqual(expected);
    });

    test('endpointslice', async () => {
      fake.store.put('services', 'db', { spec: { ports: [{ port: 5432 }] } });
      expect(await foundOf('endpointslice', { more: label('kubernetes.io/service-name', 'db') })).toEqual([]);
    });

    test('endpoints, but that they are deprecated', async () => {
      const scene = sceneOf(fake, SORTS.endpoints);
      fake.store.put('services', scene.name, { spec: { ports: [{ port: 5432 }] } });
      const found = await scene.open().findings(['orders']);
      expect(found.map(({ id }) => id)).toEqual(['router/endpoints']);
    });
  });

  test('changes nothing, and tries both sides', async () => {
    const scene = sceneOf(fake, SORTS.configmap);
    const before = scene.read();
    fake.asked.length = 0;
    await scene.open().findings(['orders']);
    expect(scene.read()).toEqual(before);
    expect(fake.asked.filter((line) => line.startsWith('patch'))).toEqual([]);
    expect(fake.asked.filter((line) => line.startsWith('try'))).toHaveLength(2);
  });

  describe('an object', () => {
    test.each<[string, PlaceName, Json, readonly string[]]>([
      ['of another type', 'service', { spec: { type: 'ClusterIP' } }, ['router/other-type', 'router/leads-elsewhere']],
      ['that is immutable', 'configmap', { immutable: true }, ['router/immutable']],
      ['without the key', 'configmap', { data: { other: 'x' } }, ['router/leads-elsewhere']],
      ['of Helm', 'configmap', label('app.kubernetes.io/managed-by', 'Helm'), ['router/managed']],
      [
        'of Argo CD',
        'secret',
        { metadata: { annotations: { 'argocd.argoproj.io/tracking-id': 'x' } } },
        ['router/managed'],
      ],
      ['of Flux', 'configmap', label('kustomize.toolkit.fluxcd.io/name', 'shop'), ['router/managed']],
      ['of another object', 'secret', { metadata: { ownerReferences: [owner] } }, ['router/managed']],
      ['of no Service', 'endpointslice', {}, ['router/no-service']],
      [
        'of a controller',
        'endpointslice',
        label('endpointslice.kubernetes.io/managed-by', 'endpointslicemirroring-controller.k8s.io'),
        ['router/undone'],
      ],
      [
        'of the other family',
        'endpointslice',
        { addressType: 'IPv6', endpoints: [{ addresses: ['fd00::5'] }] },
        ['router/other-family', 'router/no-service', 'router/leads-elsewhere'],
      ],
      [
        'that leads to several places',
        'endpointslice',
        { endpoints: [{ addresses: ['10.1.0.5'] }, { addresses: ['10.1.0.7'] }] },
        ['router/no-service', 'router/leads-elsewhere'],
      ],
    ])('%s', async (_, of, more, expected) => {
      expect((await foundOf(of, { more })).map(([id]) => id)).toEqual(expected);
    });

    test('that is not there', async () => {
      const scene = sceneOf(fake, SORTS.configmap);
      fake.store.clear('configmaps');
      expect(await scene.open().findings(['orders'])).toMatchObject([
        { id: 'router/refused', severity: 'blocks', fact: expect.stringMatching(/has no ConfigMap/) },
      ]);
    });

    test('whose sides the API server would not take', async () => {
      const said = { ...SORTS.endpoints.said, target: '127.0.0.1:5432' };
      const scene = sceneOf(fake, { ...SORTS.endpoints, said });
      fake.store.put('services', scene.name, { spec: {} });
      const found = await scene.open().findings(['orders']);
      expect(found.at(-1)).toMatchObject({
        id: 'router/not-taken',
        severity: 'blocks',
        fact: expect.stringMatching(/cannot be led to the target: .*Invalid value: "127.0.0.1"/),
      });
    });

    test('of which a Secret shows no value', async () => {
      const found = await findings('secret', { leads: 'nowhere' });
      expect(found.map(({ id }) => id)).toEqual(['router/leads-elsewhere']);
      expect(JSON.stringify(found)).not.toContain('elsewhere.internal');
    });
  });

  describe('a Service', () => {
    const slice = { 'kubernetes.io/service-name': 'db' };

    test('whose selector would undo every change', async () => {
      fake.store.put('services', 'db', { spec: { selector: { app: 'db' } } });
      expect(await foundOf('endpointslice', { more: { metadata: { labels: slice } } })).toEqual([
        ['router/undone', 'blocks'],
      ]);
    });

    test('that is led by another slice as well', async () => {
      fake.store.put('services', 'db', { spec: {} });
      fake.store.put('endpointslices', 'second', { metadata: { labels: slice }, addressType: 'IPv4', endpoints: [] });
      expect(await foundOf('endpointslice', { more: { metadata: { labels: slice } } })).toEqual([
        ['router/other-slices', 'blocks'],
      ]);
    });

    test('that we may not look at', async () => {
      fake.denied.add('get services').add('list endpointslices');
      expect(await foundOf('endpointslice', { more: { metadata: { labels: slice } } })).toEqual([
        ['router/service-unseen', 'warns'],
        ['router/slices-unseen', 'warns'],
      ]);
    });
  });

  describe('rights', () => {
    test('that are missing, with the rule that gives them', async () => {
      fake.denied.add('patch secrets');
      expect(await findings('secret')).toMatchObject([
        {
          id: 'router/no-right',
          severity: 'blocks',
          fact: 'we may not patch it in namespace shop',
          remedy: expect.stringMatching(/resources: \["secrets"\], .* verbs: \["get", "patch"\]/),
        },
      ]);
    });

    test('that nobody tells us of', async () => {
      fake.denied.add('selfsubjectaccessreviews');
      expect((await foundOf('service')).map(([id]) => id)).toEqual(['router/rights-unseen', 'router/name-cached']);
    });

    test('to restart', async () => {
      addWorkload(fake, { of: 'deployment', name: 'web' });
      fake.denied.add('patch deployments');
      const found = await findings('configmap', { workloads: [{ of: 'deployment', name: 'web' }] });
      expect(found).toMatchObject([{ id: 'router/no-right', subject: 'Deployment web' }]);
    });
  });

  describe('a workload', () => {
    const isFound = async (of: 'deployment' | 'statefulset', spec: Json): Promise<readonly string[]> => {
      addWorkload(fake, { of, name: 'app' }, { spec });
      return (await foundOf('configmap', { workloads: [{ of, name: 'app' } as never] })).map(([id]) => id);
    };

    test('that restarts as a whole', async () => {
      expect(await isFound('deployment', {})).toEqual([]);
      expect(await isFound('statefulset', { updateStrategy: { type: 'RollingUpdate' } })).toEqual([]);
    });

    test('that would not', async () => {
      const partition = { type: 'RollingUpdate', rollingUpdate: { partition: 1 } };
      expect(await isFound('deployment', { paused: true })).toEqual(['router/not-restarted']);
      expect(await isFound('statefulset', { updateStrategy: { type: 'OnDelete' } })).toEqual(['router/not-restarted']);
      expect(await isFound('statefulset', { updateStrategy: partition })).toEqual(['router/not-restarted']);
    });

    test('that is not there', async () => {
      const found = await findings('configmap', { workloads: [{ of: 'deployment', name: 'none' }] });
      expect(found).toMatchObject([{ id: 'router/refused', fact: expect.stringMatching(/has no Deployment none/) }]);
    });
  });

  describe('who reads an object only at its start', () => {
    const container = (more: Json): Json => ({ containers: [{ name: 'app', ...more }] });
    const mounted = (name: string, mount: Json): Json => ({
      ...container({ volumeMounts: [{ name: 'v', mountPath: '/etc/db', ...mount }] }),
      volumes: [{ name: 'v', configMap: { name } }],
    });

    const readersOf = async (pod: (name: string) => Json, restarts = false) => {
      const ref = { of: 'deployment', name: 'web' } as const;
      const scene = sceneOf(fake, SORTS.configmap, { workloads: restarts ? [ref] : [] });
      addWorkload(fake, ref, { pod: pod(scene.name) });
      return (await scene.open().findings(['orders'])).map(({ id, fact }) => `${id}: ${fact}`);
    };

    test.each<[string, (name: string) => Json, RegExp]>([
      ['by envFrom', (name) => container({ envFrom: [{ configMapRef: { name } }] }), /has it in its environment/],
      [
        'by env',
        (name) => container({ env: [{ name: 'DB', valueFrom: { configMapKeyRef: { name, key: 'orders.host' } } }] }),
        /has it in its environment/,
      ],
      ['by subPath', (name) => mounted(name, { subPath: 'orders.host' }), /mounts it by subPath/],
    ])('%s', async (_, pod, fact) => {
      expect(await readersOf(pod)).toEqual([expect.stringMatching(fact)]);
      // Nothing is said of one that is restarted.
      fake.store.clear('deployments');
      expect(await readersOf(pod, true)).toEqual([]);
    });

    test('not by a volume, nor by another key', async () => {
      expect(await readersOf((name) => mounted(name, {}))).toEqual([]);
      fake.store.clear('deployments');
      const other = (name: string) =>
        container({ env: [{ name: 'DB', valueFrom: { configMapKeyRef: { name, key: 'other' } } }] });
      expect(await readersOf(other)).toEqual([]);
    });

    test('whom we may not list', async () => {
      fake.denied.add('list deployments').add('list statefulsets');
      expect((await foundOf('configmap')).map(([id]) => id)).toEqual([
        'router/readers-unseen',
        'router/readers-unseen',
      ]);
    });
  });

  test('an API server that is not verified', async () => {
    const kubeconfig = fake.kubeconfig({
      cluster: { 'insecure-skip-tls-verify': true, 'certificate-authority': undefined },
    });
    expect(await foundOf('configmap', { kubeconfig })).toEqual([['router/unverified', 'warns']]);
  });

  test('an API server that Node is told not to verify', async () => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const found = await findings('configmap').finally(() => vi.unstubAllEnvs());
    expect(found).toMatchObject([
      { id: 'router/unverified', severity: 'warns', fact: expect.stringContaining('NODE_TLS_REJECT_UNAUTHORIZED=0') },
    ]);
  });

  test('throws when it cannot look, nor try', async () => {
    fake.failNext({ verb: 'patch', plural: 'configmaps', status: 503 });
    await expect(findings('configmap')).rejects.toMatchObject({ kind: 'unreachable' });
    const late = findings('configmap', { kubeconfig: fake.kubeconfig({ port: 2 }) });
    await expect(late).rejects.toMatchObject({ kind: 'unreachable' });
  });
});
