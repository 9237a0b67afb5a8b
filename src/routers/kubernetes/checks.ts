import type { V1ObjectMeta } from '@kubernetes/client-node';
import { isKind, type SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { several } from '../several.ts';
import type { Cluster } from './cluster.ts';
import { endpointFindings } from './endpoint-checks.ts';
import { roleRule, type Verb } from './failures.ts';
import { leadPatch, leadsTo, type PlaceName } from './places.ts';
import { readerFindings, workloadFindings } from './reader-checks.ts';
import { type ObjectRef, type Objects, refText } from './resources.ts';
import type { WorkloadRef } from './rollout.ts';
import { annotation, type Led } from './route.ts';

/** Looks at the same time: a dozen phases need not wait for each other, and no API server need bear all of many. */
const AT_ONCE = 8;

/** What a router leads with, and where. */
export interface Inspected {
  readonly cluster: Cluster;
  readonly leds: readonly Led[];
  readonly workloads: readonly WorkloadRef[];
}

/** Everything that would keep the router from leading clients, as far as it can be seen. Throws kind `unreachable`. */
export const inspect = async (it: Inspected): Promise<readonly Finding[]> => {
  const looks = [
    ...it.leds.map((led) => () => unlessRefused(it, led.place.ref, () => placeFindings(it, led))),
    ...it.workloads.map(
      (ref) => () => unlessRefused(it, ref, async () => workloadFindings(ref, await it.cluster.read(ref))),
    ),
  ];
  const found = (await several(looks, AT_ONCE, (look) => look())).flat();
  const { address, unverifiedBy } = await it.cluster.server();
  // Phases of one object say the same of it.
  const all = [...new Map(found.map((one) => [JSON.stringify(one), one])).values()];
  if (unverifiedBy === null) return all;
  const fact = `its certificate is not looked at (${unverifiedBy}), so that anybody may answer in its place`;
  const remedy = `name its authority in the kubeconfig, certificate-authority, and take ${unverifiedBy} away`;
  return [...all, { id: 'router/unverified', severity: 'warns', subject: address, fact, remedy }];
};

const blocking = (ref: ObjectRef, id: string, fact: string, remedy: string): Finding => ({
  id,
  severity: 'blocks',
  subject: refText(ref),
  fact,
  remedy,
});

const warning = (ref: ObjectRef, id: string, fact: string, remedy: string): Finding => ({
  ...blocking(ref, id, fact, remedy),
  severity: 'warns',
});

const remedyOf = (error: SwitchbackError): string => error.remedy ?? 'mend that';

/** Looks at the rights to an object first, then at the object; what the API server refuses is a finding. */
const unlessRefused = async (
  it: Inspected,
  ref: ObjectRef,
  look: () => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> => {
  try {
    const rights = await rightFindings(it, ref);
    return rights.some(({ severity }) => severity === 'blocks') ? rights : [...rights, ...(await look())];
  } catch (error) {
    if (!isKind(error, 'refused')) throw error;
    return [blocking(ref, 'router/refused', error.message, remedyOf(error))];
  }
};

const NEEDED: readonly Verb[] = ['get', 'patch'];

const rightFindings = async ({ cluster }: Inspected, ref: ObjectRef): Promise<readonly Finding[]> => {
  const answers = await Promise.all(NEEDED.map((verb) => cluster.may(verb, ref.of, ref.name)));
  if (answers.includes(null)) {
    const fact = 'the API server does not say what we may do (selfsubjectaccessreviews)';
    const remedy = `see that we have ${roleRule(ref, NEEDED)}`;
    return [warning(ref, 'router/rights-unseen', fact, remedy)];
  }
  const missing = NEEDED.filter((_, index) => answers[index] === false);
  if (missing.length === 0) return [];
  const fact = `we may not ${missing.join(' and ')} it in namespace ${cluster.namespace}`;
  return [blocking(ref, 'router/no-right', fact, `add to a Role of ours there: ${roleRule(ref, NEEDED)}`)];
};

const placeFindings = async (it: Inspected, led: Led): Promise<readonly Finding[]> => {
  const { ref } = led.place;
  const object = await it.cluster.read(ref);
  const own = [
    ...kindFindings(led, object),
    ...immutableFindings(ref, object),
    ...(await endpointFindings(it.cluster, led, object)),
    ...leadsFindings(led, object),
  ];
  const found = [
    ...own,
    ...ownerFindings(ref, object.metadata),
    ...(await readerFindings(it.cluster, led, it.workloads)),
  ];
  return own.some(({ severity }) => severity === 'blocks')
    ? found
    : [...found, ...(await writingFindings(it, led, object))];
};

const kindFindings = ({ place: { ref } }: Led, object: Objects[PlaceName]): readonly Finding[] => {
  if (ref.of !== 'service') return [];
  const { spec = {} } = object as Objects['service'];
  if (spec.type !== 'ExternalName') {
    const fact = `it is of type ${spec.type ?? 'ClusterIP'}, and only an ExternalName leads to a name`;
    return [blocking(ref, 'router/other-type', fact, 'lead by its endpointslice, or make it an ExternalName')];
  }
  const fact = 'clients follow it as their caches of DNS let go: those of the cluster, of their libraries, of the JVM';
  const remedy = 'see how long each keeps a name (docs/repointing.md); until then writes are refused, not lost';
  return [warning(ref, 'router/name-cached', fact, remedy)];
};

const immutableFindings = (ref: ObjectRef, object: Objects[PlaceName]): readonly Finding[] =>
  'immutable' in object && object.immutable === true
    ? [blocking(ref, 'router/immutable', 'it is immutable', 'make it anew without `immutable: true`')]
    : [];

const leadsFindings = ({ phase, place, destinations }: Led, object: Objects[PlaceName]): readonly Finding[] => {
  const leads = leadsTo(place, object);
  if (leads === destinations.source || leads === destinations.target) return [];
  const where = leads === null ? 'nowhere, or to several places' : `to ${leads}`;
  const sides = `${destinations.source} and ${destinations.target}`;
  const fact =
    place.ref.of === 'secret'
      ? `its key ${place.key} leads phase ${phase} to neither side`
      : `it leads phase ${phase} ${where}, and the sides are ${sides}`;
  const remedy = "write what it says of each side as the router's `source` and `target`, or lead it to one by hand";
  return [blocking(place.ref, 'router/leads-elsewhere', fact, remedy)];
};

/** Labels and annotations of tools that make objects what their own files say, by what they call what they own. */
const MANAGERS: readonly (readonly [name: string, tool: string])[] = [
  ['app.kubernetes.io/managed-by', ''],
  ['meta.helm.sh/release-name', 'Helm'],
  ['argocd.argoproj.io/instance', 'Argo CD'],
  ['argocd.argoproj.io/tracking-id', 'Argo CD'],
  ['kustomize.toolkit.fluxcd.io/name', 'Flux'],
  ['helm.toolkit.fluxcd.io/name', 'Flux'],
  ['reconcile.external-secrets.io/managed', 'External Secrets'],
];

/** Whoever would undo a repoint, at once or when it is run next. */
const ownerFindings = (ref: ObjectRef, metadata: V1ObjectMeta = {}): readonly Finding[] => {
  const said = { ...metadata.annotations, ...metadata.labels };
  const tools = MANAGERS.flatMap(([name, tool]) => (said[name] === undefined ? [] : [tool === '' ? said[name] : tool]));
  const owners = (metadata.ownerReferences ?? []).map(({ kind, name }) => `${kind} ${name}`);
  const all = [...new Set([...owners, ...tools])];
  if (all.length === 0) return [];
  const fact = `it belongs to ${all.join(', ')}, which may lead clients back`;
  const remedy =
    'make it leave alone what leads them, or suspend it while the run lasts; write there too where clients are led';
  return [warning(ref, 'router/managed', fact, remedy)];
};

/** Nothing is written before the commit record, behind which it has to succeed: so the server is asked what it would say. */
const writingFindings = async (
  { cluster }: Inspected,
  led: Led,
  object: Objects[PlaceName],
): Promise<readonly Finding[]> => {
  const { phase, place, destinations } = led;
  for (const side of ['source', 'target'] as const) {
    const metadata = { annotations: { [annotation(phase, 'primary')]: side } };
    try {
      await cluster.patch(place.ref, { ...leadPatch(place, object, destinations[side]), metadata }, { isTried: true });
    } catch (error) {
      if (!isKind(error, 'refused')) throw error;
      const fact = `it cannot be led to the ${side}: ${error.message}`;
      return [blocking(place.ref, 'router/not-taken', fact, remedyOf(error))];
    }
  }
  return [];
};
