// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references to the environment are what is tested
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SwitchbackError } from '../../src/domain/errors.ts';
import { type Plan, parsePlan } from '../../src/plan/load.ts';

const ENV = { APP_URL: 'postgresql://shop:c4nary-p4ssw0rd@new.internal/shop' };

/** A plan of some phases with a Kubernetes router that says this besides its kind. */
const planOf = (settings: string, phases: readonly string[] = ['orders']): Plan => {
  const lines = [
    'version: 1',
    'name: shop',
    'source: { url: "postgresql://me@old.internal/shop" }',
    'target: { url: "postgresql://me@new.internal/shop" }',
    'phases:',
    ...phases.map((name) => `  - { name: ${name}, tables: [public.${name}*], router: app }`),
    `routers: { app: { kind: kubernetes, ${settings} } }`,
  ];
  return parsePlan(new TextEncoder().encode(`${lines.join('\n')}\n`), 'plans/p.yaml', ENV);
};

const problemsOf = (settings: string, phases?: readonly string[]): string => {
  try {
    planOf(settings, phases);
    return '';
  } catch (error) {
    if (!(error instanceof SwitchbackError)) throw error;
    return error.message;
  }
};

test('a Kubernetes router has its objects by phase, absolute paths and milliseconds', () => {
  const objects = '{ catalog: configmap/db/CATALOG, orders: secret/db/orders.url }';
  const restart = '{ workloads: [deployment/web, statefulset/jobs], within: 90s }';
  const more = `source: a, target: "\${APP_URL}", restart: ${restart}`;
  const plan = planOf(`kubeconfig: config, context: prod, namespace: shop, objects: ${objects}, ${more}`, [
    'catalog',
    'orders',
  ]);
  expect(plan.routers.get('app')).toEqual({
    kind: 'kubernetes',
    kubeconfig: join(process.cwd(), 'plans/config'),
    context: 'prod',
    namespace: 'shop',
    places: new Map([
      ['catalog', { ref: { of: 'configmap', name: 'db' }, key: 'CATALOG', held: null }],
      ['orders', { ref: { of: 'secret', name: 'db' }, key: 'orders.url', held: null }],
    ]),
    said: { source: 'a', target: ENV.APP_URL },
    workloads: [
      { of: 'deployment', name: 'web' },
      { of: 'statefulset', name: 'jobs' },
    ],
    restartWithinMs: 90_000,
  });
});

test('a Kubernetes router tells clients to wait by a key of its own', () => {
  const router = planOf('namespace: shop, object: secret/db/orders.url, held: true, source: a, target: b').routers;
  expect(router.get('app')).toMatchObject({
    places: new Map([['orders', { ref: { of: 'secret', name: 'db' }, key: 'orders.url', held: 'orders.url_HELD' }]]),
  });
});

test('a Kubernetes router needs little where URLs and the pod say the rest', () => {
  expect(planOf('namespace: shop, object: service/db').routers.get('app')).toEqual({
    kind: 'kubernetes',
    kubeconfig: null,
    context: null,
    namespace: 'shop',
    places: new Map([['orders', { ref: { of: 'service', name: 'db' }, key: '', held: null }]]),
    said: { source: null, target: null },
    workloads: [],
    restartWithinMs: 0,
  });
});

test.each([
  ['object: service/db', 'routers.app.namespace is missing'],
  ['namespace: Shop, object: service/db', 'is no name of a namespace: value "Shop"; use a-z, 0-9 and -'],
  ['namespace: shop', 'needs exactly one of `object` and `objects`'],
  ['namespace: shop, object: pod/db', 'routers.app.object is no object: value "pod/db"; write service/NAME'],
  ['namespace: shop, object: configmap/db', 'is no object: value "configmap/db"'],
  ['namespace: shop, object: service/db/key', 'is no object: value "service/db/key"'],
  ['namespace: shop, object: configmap/db/HOST, source: a', 'leads by a key; write its value for each side'],
  ['namespace: shop, object: service/db, held: true', 'says `held`, and leads by no key'],
  [
    'namespace: shop, object: configmap/db/H, source: a, target: b, held: true, restart: { workloads: [deployment/web] }',
    'plans/p.yaml:7:17: routers.app says `held` and `restart`: what reads only when it starts would wait for ever; take',
  ],
  [
    'namespace: shop, object: service/db, context: prod',
    'routers.app says `context`, and no `kubeconfig` that has it; add `kubeconfig`, or take `context` out',
  ],
  [
    'namespace: shop, object: service/db, restart: { workloads: [web] }',
    'is no workload: value "web"; write deployment/NAME',
  ],
  ['namespace: shop, object: service/db, restart: { workloads: [] }', 'is an empty list'],
  [
    'namespace: shop, object: secret/db/u, source: a, target: "postgresql://a:b@c/d"',
    'routers.app.target holds a password',
  ],
  [
    'namespace: shop, objects: { order: service/db }',
    'names a phase that the router does not lead: value "order"; did you mean orders',
  ],
])('a Kubernetes router is refused: %s', (settings, problem) => {
  expect(problemsOf(settings)).toContain(problem);
});

test('two phases do not share an object, but may share one that has keys', () => {
  const both = ['catalog', 'orders'];
  expect(problemsOf('namespace: shop, object: service/db', both)).toContain(
    'would be led by the same object as phase catalog',
  );
  const objects = (orders: string) =>
    `namespace: shop, source: a, target: b, held: true, objects: { catalog: configmap/db/A, orders: ${orders} }`;
  expect(problemsOf(objects('configmap/db/B'), both)).toBe('');
  expect(problemsOf(objects('configmap/db/A'), both)).toContain('would be led by the same object');
  expect(problemsOf(objects('configmap/db/A_HELD'), both)).toContain('would tell clients of another one to wait');
});
