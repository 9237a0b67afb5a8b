/**
 * What we need of the client library, by name: the published program then has none of its other interfaces, of which there
 * are dozens. It is loaded when a plan has such a router, since it costs more memory than the rest of a router and as much
 * time as the rest of our start.
 */
export {
  AppsV1Api,
  AuthorizationV1Api,
  CoreV1Api,
  createConfiguration,
  DiscoveryV1Api,
  KubeConfig,
  ServerConfiguration,
} from '@kubernetes/client-node';
