import type { Side } from '../../../src/domain/position.ts';
import type { Place, PlaceName } from '../../../src/routers/kubernetes/places.ts';
import { RESOURCES } from '../../../src/routers/kubernetes/resources.ts';
import type { WorkloadRef } from '../../../src/routers/kubernetes/rollout.ts';
import { KubernetesRouter } from '../../../src/routers/kubernetes/router.ts';
import { at, type Json } from './json.ts';
import type { FakeKubernetes } from './server.ts';

/** One sort of objects with what it says of the sides, and of somewhere else. */
export interface Sort {
  readonly of: PlaceName;
  readonly said: Readonly<Record<Side | 'nowhere', string>>;
  /** Part of an object that leads a phase there. */
  readonly object: (phase: string, to: string) => Json;
}

const HOSTS = { source: 'old.internal', target: 'new.internal', nowhere: 'elsewhere.internal' };
const ADDRESSES = { source: '10.1.0.5:5432', target: '10.1.0.6:5433', nowhere: '10.1.0.9:5432' };
const ipOf = (to: string): string => to.split(':')[0] ?? '';
const portsOf = (to: string): readonly Json[] => [{ name: 'pg', protocol: 'TCP', port: Number(to.split(':')[1]) }];

/** As `data` of a Secret has it. */
export const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** Whether one object can lead several phases. */
export const hasKeys = (of: PlaceName): boolean => of === 'configmap' || of === 'secret';

/** All sorts of objects. Those with keys have one that nobody asked us to touch. */
export const SORTS: Readonly<Record<PlaceName, Sort>> = {
  service: { of: 'service', said: HOSTS, object: (_, to) => ({ spec: { type: 'ExternalName', externalName: to } }) },
  endpointslice: {
    of: 'endpointslice',
    said: ADDRESSES,
    object: (_, to) => ({ addressType: 'IPv4', endpoints: [{ addresses: [ipOf(to)] }], ports: portsOf(to) }),
  },
  endpoints: {
    of: 'endpoints',
    said: ADDRESSES,
    object: (_, to) => ({ subsets: [{ addresses: [{ ip: ipOf(to) }], ports: portsOf(to) }] }),
  },
  configmap: {
    of: 'configmap',
    said: HOSTS,
    object: (phase, to) => ({ data: { [`${phase}.host`]: to, other: 'stays' } }),
  },
  secret: {
    of: 'secret',
    said: HOSTS,
    object: (phase, to) => ({ data: { [`${phase}.host`]: base64(to), other: base64('stays') } }),
  },
};

let made = 0;

/** What a scene is made with besides its sort. */
export interface SceneOptions {
  readonly phases?: readonly string[];
  readonly leads?: Side | 'nowhere';
  /** Whether the application is told to wait by a key. */
  readonly held?: boolean;
  readonly workloads?: readonly WorkloadRef[];
  readonly restartWithinMs?: number;
  readonly kubeconfig?: string | null;
  readonly podRoot?: string;
  /** More of each object. */
  readonly more?: Json;
}

/** Objects under names of their own in a fake, with routers that lead by them. Phases share one where keys tell them apart. */
export const sceneOf = (fake: FakeKubernetes, { of, said, object }: Sort, options: SceneOptions = {}) => {
  made += 1;
  const scene = made;
  const { phases = ['orders'], leads = 'source', held = false, workloads = [], restartWithinMs = 10_000 } = options;
  const { plural } = RESOURCES[of];
  const nameOf = (phase: string): string => (hasKeys(of) ? `shared-${scene}` : `${phase}-${scene}`);
  const parts = new Map<string, Json>();
  for (const phase of phases) {
    const part = object(phase, said[leads]);
    const data = { ...at(parts.get(nameOf(phase)), 'data'), ...at(part, 'data') };
    parts.set(nameOf(phase), hasKeys(of) ? { ...part, data } : part);
  }
  for (const [name, part] of parts) fake.store.put(plural, name, { ...part, ...options.more });
  const places = new Map(
    phases.map((phase): [string, Place] => {
      const key = hasKeys(of) ? `${phase}.host` : '';
      return [phase, { ref: { of, name: nameOf(phase) }, key, held: held ? `${key}_HELD` : null }];
    }),
  );
  const sides = {
    source: { url: 'postgresql://me@old.example/shop', said: said.source },
    target: { url: 'postgresql://me@new.example/shop', said: said.target },
  };
  const { kubeconfig = fake.kubeconfig(), podRoot = '' } = options;
  const access = { kubeconfig, context: null, podRoot, namespace: fake.store.namespace };
  return {
    /** Of the first phase. */
    name: nameOf(phases[0] ?? ''),
    open: () => new KubernetesRouter({ ...access, places, sides, workloads, restartWithinMs }),
    read: (phase = 'orders') => fake.store.get(plural, nameOf(phase)),
    /** Somebody else leads a phase elsewhere. */
    edit: (phase: string, to: Side | 'nowhere') => fake.store.edit(plural, nameOf(phase), object(phase, said[to])),
  };
};

/** A workload in a fake with pods that run already. */
export const addWorkload = (
  fake: FakeKubernetes,
  ref: WorkloadRef,
  more: { readonly spec?: Json; readonly pod?: Json } = {},
): void => {
  const labels = { app: ref.name };
  const pod = { containers: [{ name: 'app', image: 'app:1' }], ...more.pod };
  const spec = {
    replicas: 2,
    selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: pod },
    ...(ref.of === 'statefulset' ? { serviceName: ref.name } : {}),
    ...more.spec,
  };
  fake.store.put(RESOURCES[ref.of].plural, ref.name, { spec });
};
