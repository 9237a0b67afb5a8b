import { isIP } from 'node:net';
import type { V1EndpointSlice } from '@kubernetes/client-node';
import type { Finding } from '../../domain/finding.ts';
import type { Cluster } from './cluster.ts';
import { type PlaceName, splitAddress } from './places.ts';
import { type ObjectRef, type Objects, refText } from './resources.ts';
import type { Led } from './route.ts';

const SERVICE = 'kubernetes.io/service-name';
const MANAGED_BY = 'endpointslice.kubernetes.io/managed-by';
const MIRRORED = 'endpointslicemirroring-controller.k8s.io';
const OF_CONTROLLERS: readonly string[] = ['endpointslice-controller.k8s.io', MIRRORED];
const SKIP_MIRROR = 'endpointslice.kubernetes.io/skip-mirror';

const finding = (
  ref: ObjectRef,
  severity: Finding['severity'],
  id: string,
  [fact, remedy]: readonly [string, string],
): Finding => ({
  id,
  severity,
  subject: refText(ref),
  fact,
  remedy,
});

/** What would keep an EndpointSlice or Endpoints from leading all clients of its Service, or would undo it. */
export const endpointFindings = async (
  cluster: Cluster,
  led: Led,
  object: Objects[PlaceName],
): Promise<readonly Finding[]> => {
  const { ref } = led.place;
  if (ref.of === 'endpointslice') return await sliceFindings(cluster, led, object as Objects['endpointslice']);
  return ref.of === 'endpoints'
    ? await endpointsFindings(cluster, { ...ref, of: 'endpoints' }, object as Objects['endpoints'])
    : [];
};

const sliceFindings = async (cluster: Cluster, led: Led, slice: V1EndpointSlice): Promise<readonly Finding[]> => {
  const { ref } = led.place;
  const service = slice.metadata?.labels?.[SERVICE];
  const manager = slice.metadata?.labels?.[MANAGED_BY] ?? '';
  const found = [...familyFindings(led, slice)];
  if (OF_CONTROLLERS.includes(manager)) {
    const remedy =
      manager === MIRRORED
        ? `lead by \`endpoints: ${service ?? 'NAME'}\`, of which it is a copy; or remove those, and make a slice of your own`
        : 'lead by a Service without a selector, and a slice of your own';
    return [finding(ref, 'blocks', 'router/undone', [`its controller, ${manager}, would undo every change`, remedy])];
  }
  if (service === undefined) {
    const remedy = `set the label ${SERVICE} to the name of the Service`;
    return [
      ...found,
      finding(ref, 'blocks', 'router/no-service', [`it has no label ${SERVICE}, so no Service uses it`, remedy]),
    ];
  }
  return [...found, ...(await serviceFindings(cluster, ref, service)), ...(await otherSlices(cluster, ref, service))];
};

/** `addressType` of a slice cannot be changed. */
const familyFindings = (
  { place: { ref }, destinations }: Led,
  { addressType }: V1EndpointSlice,
): readonly Finding[] => {
  const families = Object.values(destinations).map((text) => `IPv${isIP(splitAddress(text).ip)}`);
  const other = families.find((family) => family !== addressType);
  if (other === undefined) return [];
  const fact = `its addressType is ${addressType} for ever, and a side has an ${other} address`;
  return [finding(ref, 'blocks', 'router/other-family', [fact, 'give both sides addresses of its type'])];
};

const endpointsFindings = async (
  cluster: Cluster,
  ref: ObjectRef<'endpoints'>,
  { metadata }: Objects['endpoints'],
): Promise<readonly Finding[]> => {
  const old = 'Endpoints are deprecated since Kubernetes 1.33; a controller copies them to an EndpointSlice';
  const found = [
    finding(ref, 'warns', 'router/endpoints', [old, 'lead by an endpointslice of your own, and remove the Endpoints']),
    ...(await serviceFindings(cluster, ref, ref.name)),
    ...(await otherSlices(cluster, ref, ref.name)),
  ];
  if (metadata?.labels?.[SKIP_MIRROR] !== 'true') return found;
  const remedy = 'take the label off, or lead by the slice that is used instead';
  return [
    ...found,
    finding(ref, 'blocks', 'router/not-used', [`its label ${SKIP_MIRROR} keeps every client from it`, remedy]),
  ];
};

/** A Service with a selector has its endpoints made by a controller. */
const serviceFindings = async (cluster: Cluster, ref: ObjectRef, name: string): Promise<readonly Finding[]> => {
  if ((await cluster.may('get', 'service', name)) !== true) {
    const fact = `whether its Service ${name} has a selector cannot be seen: we may not get it`;
    return [
      finding(ref, 'warns', 'router/service-unseen', [
        fact,
        `see that it has none: kubectl -n ${cluster.namespace} get service ${name} -o yaml`,
      ]),
    ];
  }
  const { spec } = await cluster.read({ of: 'service', name });
  if (Object.keys(spec?.selector ?? {}).length === 0) return [];
  const fact = `its Service ${name} has a selector, so a controller would undo every change`;
  return [finding(ref, 'blocks', 'router/undone', [fact, 'lead by a Service without a selector'])];
};

/** Clients are spread over all slices of a Service. */
const otherSlices = async (cluster: Cluster, ref: ObjectRef, service: string): Promise<readonly Finding[]> => {
  if ((await cluster.may('list', 'endpointslice', null)) !== true) {
    const fact = `whether Service ${service} has other slices cannot be seen: we may not list them`;
    return [
      finding(ref, 'warns', 'router/slices-unseen', [
        fact,
        `see that it has none: kubectl -n ${cluster.namespace} get endpointslices -l ${SERVICE}=${service}`,
      ]),
    ];
  }
  const slices = await cluster.list('endpointslice', `${SERVICE}=${service}`);
  const own = (slice: V1EndpointSlice): boolean =>
    ref.of === 'endpointslice' ? slice.metadata?.name === ref.name : slice.metadata?.labels?.[MANAGED_BY] === MIRRORED;
  const others = slices.filter((slice) => !own(slice)).map(({ metadata }) => metadata?.name ?? '');
  if (others.length === 0) return [];
  const fact = `Service ${service} is also led by ${others.join(', ')}, so that some clients would stay where they are`;
  return [
    finding(ref, 'blocks', 'router/other-slices', [fact, 'remove those; a repoint changes one slice with one address']),
  ];
};
