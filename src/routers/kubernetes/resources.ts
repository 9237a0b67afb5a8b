import type {
  V1ConfigMap,
  V1Deployment,
  V1EndpointSlice,
  V1Endpoints,
  V1Secret,
  V1Service,
  V1StatefulSet,
} from '@kubernetes/client-node';

/** The objects that we read and change, by the words that a plan has for them. */
export interface Objects {
  readonly service: V1Service;
  readonly endpointslice: V1EndpointSlice;
  readonly endpoints: V1Endpoints;
  readonly configmap: V1ConfigMap;
  readonly secret: V1Secret;
  readonly deployment: V1Deployment;
  readonly statefulset: V1StatefulSet;
}

/** A word of {@link Objects}. */
export type ResourceName = keyof Objects;

/** How the API calls them: `kind` in objects, `plural` and `group` in paths and roles. */
export const RESOURCES: Readonly<
  Record<ResourceName, { readonly group: string; readonly plural: string; readonly kind: string }>
> = {
  service: { group: '', plural: 'services', kind: 'Service' },
  endpointslice: { group: 'discovery.k8s.io', plural: 'endpointslices', kind: 'EndpointSlice' },
  endpoints: { group: '', plural: 'endpoints', kind: 'Endpoints' },
  configmap: { group: '', plural: 'configmaps', kind: 'ConfigMap' },
  secret: { group: '', plural: 'secrets', kind: 'Secret' },
  deployment: { group: 'apps', plural: 'deployments', kind: 'Deployment' },
  statefulset: { group: 'apps', plural: 'statefulsets', kind: 'StatefulSet' },
};

/** One object of the router's namespace. */
export interface ObjectRef<N extends ResourceName = ResourceName> {
  readonly of: N;
  readonly name: string;
}

/** An object for messages: `ConfigMap shop-database`. */
export const refText = ({ of, name }: ObjectRef): string => `${RESOURCES[of].kind} ${name}`;
