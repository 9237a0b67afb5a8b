import { resolve } from 'node:path';
import type { PlanDocument } from './schema.ts';

/** Sorts of objects that lead clients, as a plan writes them. */
export type LeadingSort = 'service' | 'endpointslice' | 'endpoints' | 'configmap' | 'secret';

/** What leads one phase. */
export interface LeadingObjectPlan {
  readonly ref: { readonly of: LeadingSort; readonly name: string };
  /** '' where the object has no keys. */
  readonly key: string;
  /** The key that tells the application whether to wait; null where there is none. */
  readonly held: string | null;
}

/** Something with pods. */
export type WorkloadPlan =
  | { readonly of: 'deployment'; readonly name: string }
  | { readonly of: 'statefulset'; readonly name: string };

/** Objects of one namespace. */
export interface KubernetesRouterPlan {
  readonly kind: 'kubernetes';
  /** Absolute; null for the service account of our own pod. */
  readonly kubeconfig: string | null;
  readonly context: string | null;
  readonly namespace: string;
  /** The object of each phase that the router leads. */
  readonly places: ReadonlyMap<string, LeadingObjectPlan>;
  /** What an object says of each side, which may be a secret; null for what the side's URL says. */
  readonly said: { readonly source: string | null; readonly target: string | null };
  readonly workloads: readonly WorkloadPlan[];
  readonly restartWithinMs: number;
}

type KubernetesRouterDocument = Extract<PlanDocument['routers'][string], { kind: 'kubernetes' }>;

/** The schema has let nothing else pass. */
const placeOf = (written: string, isHeld: boolean): LeadingObjectPlan => {
  const [of = '', name = '', key = ''] = written.split('/');
  return { ref: { of: of as LeadingSort, name }, key, held: isHeld && key !== '' ? `${key}_HELD` : null };
};

const workloadOf = (written: string): WorkloadPlan => {
  const [of = '', name = ''] = written.split('/');
  return { of: of as WorkloadPlan['of'], name };
};

/** A router as the plan sets it up; `phases` are those that it leads. */
export const kubernetesRouterOf = (
  router: KubernetesRouterDocument,
  { directory, phases }: { readonly directory: string; readonly phases: readonly string[] },
): KubernetesRouterPlan => {
  const { kind, namespace, context = null, kubeconfig, object = '', held, source = null, target = null } = router;
  const objects = router.objects ?? Object.fromEntries(phases.map((phase) => [phase, object]));
  return {
    kind,
    namespace,
    context,
    kubeconfig: kubeconfig === undefined ? null : resolve(directory, kubeconfig),
    places: new Map(Object.entries(objects).map(([phase, written]) => [phase, placeOf(written, held)])),
    said: { source, target },
    workloads: (router.restart?.workloads ?? []).map(workloadOf),
    restartWithinMs: router.restart?.within ?? 0,
  };
};
