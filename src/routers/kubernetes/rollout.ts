import type { V1Deployment, V1StatefulSet } from '@kubernetes/client-node';
import { SwitchbackError } from '../../domain/errors.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import type { Cluster } from './cluster.ts';
import { type ObjectRef, type Objects, refText } from './resources.ts';
import { annotation } from './route.ts';

/** What can be restarted. */
export type WorkloadRef = ObjectRef<'deployment'> | ObjectRef<'statefulset'>;

/** How often a restart is begun anew because its object changed in between: its controller writes there too. */
const MAX_ATTEMPTS = 20;
const LOOK_AGAIN_MS = 500;
/** What `kubectl rollout restart` writes, and what people look for. */
const RESTARTED_AT = 'kubectl.kubernetes.io/restartedAt';

/** How far a rollout is: done, or what it waits for; `stuck` when it has given up. */
export interface Progress {
  readonly state: 'done' | 'under way' | 'stuck';
  readonly fact: string;
}

const DONE: Progress = { state: 'done', fact: 'all of it is restarted' };
const underWay = (fact: string): Progress => ({ state: 'under way', fact });

/**
 * How far a Deployment's rollout is: the controller has seen the newest template, all pods have it, none of the old ones is
 * left and all are available.
 *
 * @see `DeploymentStatusViewer` of kubectl, pkg/polymorphichelpers/rollout_status.go
 */
export const deploymentProgress = ({ metadata, spec, status }: V1Deployment): Progress => {
  if ((metadata?.generation ?? 0) > (status?.observedGeneration ?? 0)) return underWay('its change is not seen yet');
  const progressing = status?.conditions?.find(({ type }) => type === 'Progressing');
  if (progressing?.reason === 'ProgressDeadlineExceeded') {
    return { state: 'stuck', fact: 'its progressDeadlineSeconds are over' };
  }
  const wanted = spec?.replicas ?? 1;
  const { updatedReplicas: updated = 0, replicas: all = 0, availableReplicas: available = 0 } = status ?? {};
  if (updated < wanted) return underWay(`${updated} of ${wanted} pods are new`);
  if (all > updated) return underWay(`${all - updated} old pods are left`);
  return available < updated ? underWay(`${available} of ${updated} new pods are available`) : DONE;
};

/**
 * As {@link deploymentProgress}, for a StatefulSet that is updated as a whole.
 *
 * @see `StatefulSetStatusViewer` there
 */
export const statefulSetProgress = ({ metadata, spec, status }: V1StatefulSet): Progress => {
  if ((metadata?.generation ?? 0) > (status?.observedGeneration ?? 0)) return underWay('its change is not seen yet');
  const wanted = spec?.replicas ?? 1;
  const { updatedReplicas: updated = 0, availableReplicas: available = 0 } = status ?? {};
  if (status?.updateRevision !== status?.currentRevision) return underWay(`${updated} of ${wanted} pods are new`);
  return available < wanted ? underWay(`${available} of ${wanted} pods are available`) : DONE;
};

type Workload = Objects['deployment' | 'statefulset'];

const progressOf = (ref: WorkloadRef, workload: Workload): Progress =>
  ref.of === 'deployment'
    ? deploymentProgress(workload as V1Deployment)
    : statefulSetProgress(workload as V1StatefulSet);

/** The changes for which pods have been started, by phase. */
export type Changes = ReadonlyMap<string, string>;

const isMarked = ({ spec }: Workload, changes: Changes): boolean => {
  const annotations = spec?.template.metadata?.annotations ?? {};
  return [...changes].every(([phase, change]) => annotations[annotation(phase, 'change')] === change);
};

const readWorkload = (cluster: Cluster, ref: WorkloadRef): Promise<Workload> =>
  ref.of === 'deployment' ? cluster.read(ref) : cluster.read(ref);

/**
 * Restarts a workload for changes, unless it has been. The mark stands on the template of its pods and comes there by the
 * same write that restarts them, so a repeated call after a crash finds what the first one did.
 */
export const restart = async (cluster: Cluster, ref: WorkloadRef, changes: Changes): Promise<void> => {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const workload = await readWorkload(cluster, ref);
    if (isMarked(workload, changes)) return;
    const marks = [...changes].map(([phase, change]) => [annotation(phase, 'change'), change] as const);
    const at = cluster.date === null ? {} : { [RESTARTED_AT]: cluster.date };
    const annotations = { ...Object.fromEntries(marks), ...at };
    const { resourceVersion } = workload.metadata ?? {};
    const body = { metadata: { resourceVersion }, spec: { template: { metadata: { annotations } } } };
    if (await cluster.patch(ref, body)) return;
  }
  throw new SwitchbackError('unreachable', `${refText(ref)} was changed by others ${MAX_ATTEMPTS} times while we did`, {
    remedy: 'see who writes there all the time; it is tried again',
  });
};

/**
 * Waits until a restarted workload has no old pod left, until the deadline on the monotonic clock, which is `withinMs` after
 * the beginning of all. Throws kind `refused` when it is stuck, `unreachable` when it is late.
 */
export const untilRestarted = async (
  cluster: Cluster,
  ref: WorkloadRef,
  { deadline, withinMs }: { readonly deadline: number; readonly withinMs: number },
): Promise<void> => {
  for (;;) {
    const { state, fact } = progressOf(ref, await readWorkload(cluster, ref));
    if (state === 'done') return;
    const remedy = `see why: kubectl -n ${cluster.namespace} rollout status ${ref.of}/${ref.name}; pods that are left use the fenced side`;
    if (state === 'stuck')
      throw new SwitchbackError('refused', `${refText(ref)} is not restarted: ${fact}`, { remedy });
    if (monotonicMs() >= deadline) {
      const late = `${refText(ref)} is not restarted within ${Math.round(withinMs / 1_000)} s: ${fact}`;
      throw new SwitchbackError('unreachable', late, { remedy });
    }
    await sleep(LOOK_AGAIN_MS);
  }
};
