import type { Configuration } from '@kubernetes/client-node';
import type { Objects, ResourceName } from './resources.ts';

/** The client library, as far as we use it. */
export type Library = typeof import('./library.ts');

let library: Promise<Library> | undefined;

/** Loads the library when it is first used. */
export const loadLibrary = (): Promise<Library> => {
  library ??= import('./library.ts');
  return library;
};

interface Call {
  readonly name: string;
  readonly namespace: string;
}

interface PatchCall extends Call {
  readonly body: object;
  readonly fieldManager: string;
  readonly fieldValidation: string;
  readonly dryRun?: string;
}

interface ListCall {
  readonly namespace: string;
  readonly labelSelector?: string;
}

/** The library's methods for one sort of objects. */
export interface Calls<T> {
  read(call: Call): Promise<T>;
  patch(call: PatchCall): Promise<T>;
  list(call: ListCall): Promise<{ readonly items: readonly T[] }>;
}

/** The library's methods for each of our objects. */
export const callsOf = (
  k8s: Library,
  configuration: Configuration,
): { readonly [N in ResourceName]: Calls<Objects[N]> } => {
  const core = new k8s.CoreV1Api(configuration);
  const discovery = new k8s.DiscoveryV1Api(configuration);
  const apps = new k8s.AppsV1Api(configuration);
  return {
    service: {
      read: (c) => core.readNamespacedService(c),
      patch: (c) => core.patchNamespacedService(c),
      list: (c) => core.listNamespacedService(c),
    },
    endpoints: {
      read: (c) => core.readNamespacedEndpoints(c),
      patch: (c) => core.patchNamespacedEndpoints(c),
      list: (c) => core.listNamespacedEndpoints(c),
    },
    configmap: {
      read: (c) => core.readNamespacedConfigMap(c),
      patch: (c) => core.patchNamespacedConfigMap(c),
      list: (c) => core.listNamespacedConfigMap(c),
    },
    secret: {
      read: (c) => core.readNamespacedSecret(c),
      patch: (c) => core.patchNamespacedSecret(c),
      list: (c) => core.listNamespacedSecret(c),
    },
    endpointslice: {
      read: (c) => discovery.readNamespacedEndpointSlice(c),
      patch: (c) => discovery.patchNamespacedEndpointSlice(c),
      list: (c) => discovery.listNamespacedEndpointSlice(c),
    },
    deployment: {
      read: (c) => apps.readNamespacedDeployment(c),
      patch: (c) => apps.patchNamespacedDeployment(c),
      list: (c) => apps.listNamespacedDeployment(c),
    },
    statefulset: {
      read: (c) => apps.readNamespacedStatefulSet(c),
      patch: (c) => apps.patchNamespacedStatefulSet(c),
      list: (c) => apps.listNamespacedStatefulSet(c),
    },
  };
};
