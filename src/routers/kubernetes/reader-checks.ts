import type { V1Container, V1PodSpec, V1Volume } from '@kubernetes/client-node';
import type { Finding } from '../../domain/finding.ts';
import type { Cluster } from './cluster.ts';
import type { Place } from './places.ts';
import { type Objects, refText } from './resources.ts';
import type { WorkloadRef } from './rollout.ts';
import type { Led } from './route.ts';

/** What would keep a workload from being restarted as a whole. */
export const workloadFindings = (
  ref: WorkloadRef,
  workload: Objects['deployment' | 'statefulset'],
): readonly Finding[] => {
  const subject = refText(ref);
  const { spec } = workload;
  if (spec !== undefined && 'paused' in spec && spec.paused === true) {
    const remedy = `kubectl rollout resume ${ref.of}/${ref.name}`;
    return [{ id: 'router/not-restarted', severity: 'blocks', subject, fact: 'its rollout is paused', remedy }];
  }
  const { type, rollingUpdate } =
    (spec !== undefined && 'updateStrategy' in spec ? spec.updateStrategy : undefined) ?? {};
  if (type !== 'OnDelete' && (rollingUpdate?.partition ?? 0) === 0) return [];
  const fact =
    type === 'OnDelete' ? 'its pods are new only when somebody deletes them' : 'its partition keeps old pods';
  const remedy = 'give it updateStrategy RollingUpdate without a partition, or restart it yourself and leave it out';
  return [{ id: 'router/not-restarted', severity: 'blocks', subject, fact, remedy }];
};

/** Workloads that read a ConfigMap or a Secret at their start alone, and are not restarted. */
export const readerFindings = async (
  cluster: Cluster,
  { place }: Led,
  restarted: readonly WorkloadRef[],
): Promise<readonly Finding[]> => {
  const { ref } = place;
  if (ref.of !== 'configmap' && ref.of !== 'secret') return [];
  const found: Finding[] = [];
  for (const sort of ['deployment', 'statefulset'] as const) {
    if ((await cluster.may('list', sort, null)) !== true) {
      const fact = `whether a ${sort} reads it only at its start cannot be seen: we may not list them`;
      const remedy = `name all that do under the router's \`restart\`; they read it by env, envFrom or a subPath`;
      found.push({ id: 'router/readers-unseen', severity: 'warns', subject: refText(ref), fact, remedy });
      continue;
    }
    for (const { metadata, spec } of await cluster.list(sort)) {
      const name = metadata?.name ?? '';
      const how = readingOf(place, spec?.template.spec);
      if (how === null || restarted.some((one) => one.of === sort && one.name === name)) continue;
      const fact = `${sort} ${name} ${how}, so its pods stay where they are until they are restarted`;
      const remedy = `write ${sort}/${name} under the router's \`restart\``;
      found.push({ id: 'router/read-at-start', severity: 'warns', subject: refText(ref), fact, remedy });
    }
  }
  return found;
};

/** How pods read a place at their start alone; null when they do not, or see its changes by themselves. */
const readingOf = (place: Place, pod: V1PodSpec | undefined): string | null => {
  const containers = [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])];
  if (containers.some((container) => isInEnvironment(place, container))) return 'has it in its environment';
  const volumes = (pod?.volumes ?? []).filter((volume) => isVolumeOf(place, volume)).map(({ name }) => name);
  const mounts = containers.flatMap(({ volumeMounts = [] }) => volumeMounts);
  const isPart = mounts.some(
    ({ name, subPath, subPathExpr }) => volumes.includes(name) && (subPath ?? subPathExpr ?? '') !== '',
  );
  return isPart ? 'mounts it by subPath' : null;
};

const isInEnvironment = ({ ref, key }: Place, { env = [], envFrom = [] }: V1Container): boolean => {
  const isMap = ref.of === 'configmap';
  const whole = envFrom.some(({ configMapRef, secretRef }) => (isMap ? configMapRef : secretRef)?.name === ref.name);
  const part = env.some(({ valueFrom }) => {
    const from = isMap ? valueFrom?.configMapKeyRef : valueFrom?.secretKeyRef;
    return from?.name === ref.name && from.key === key;
  });
  return whole || part;
};

const isVolumeOf = ({ ref }: Place, { configMap, secret, projected }: V1Volume): boolean => {
  const isMap = ref.of === 'configmap';
  const own = isMap ? configMap?.name : secret?.secretName;
  const parts = (projected?.sources ?? []).map((source) => (isMap ? source.configMap?.name : source.secret?.name));
  return own === ref.name || parts.includes(ref.name);
};
