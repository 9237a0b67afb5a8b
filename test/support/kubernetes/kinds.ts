import { isIP } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { at, isJson, type Json } from './json.ts';

/** One sort of objects that the fake keeps. */
export interface Kind {
  readonly kind: string;
  readonly model: string;
  readonly apiVersion: string;
  /** What the API server refuses besides the schema, as far as its documentation says so and it matters here. */
  readonly rules: (now: Json, before: Json) => readonly string[];
  /** Whether a change of `spec` raises `metadata.generation`. */
  readonly hasGeneration: boolean;
}

const LABEL = /^(([a-z0-9]([-a-z0-9.]*[a-z0-9])?)\/)?([A-Za-z0-9]|[A-Za-z0-9][-A-Za-z0-9_.]{0,61}[A-Za-z0-9])$/;
const DNS_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const KEY = /^[-._a-zA-Z0-9]+$/;
const MOST_ANNOTATED = 256 * 1024;

/** Of every object. */
export const metadataRules = (now: Json, before: Json): readonly string[] => {
  const annotations = at(now, 'metadata', 'annotations');
  const names = Object.keys(annotations).filter((name) => !LABEL.test(name.toLowerCase()));
  const size = Object.entries(annotations).reduce((sum, [name, value]) => sum + name.length + String(value).length, 0);
  const fixed = ['name', 'namespace', 'uid', 'creationTimestamp', 'generation'].filter(
    (field) => at(now, 'metadata')[field] !== at(before, 'metadata')[field],
  );
  return [
    ...names.map((name) => `metadata.annotations: Invalid value: "${name}"`),
    ...(size > MOST_ANNOTATED ? ['metadata.annotations: Too long'] : []),
    ...fixed.map((field) => `metadata.${field}: field is immutable`),
  ];
};

const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value.filter(isJson) : []);

/** Neither loopback nor link-local: such an endpoint would be another one on every node. */
const isEndpoint = (ip: unknown, family: number): boolean =>
  typeof ip === 'string' && isIP(ip) === family && !/^(127\.|169\.254\.|::1$|fe80:)/.test(ip);

const portProblems = (ports: unknown): readonly string[] =>
  listOf(ports).flatMap(({ port }) =>
    typeof port === 'number' && port >= 1 && port <= 65_535 ? [] : [`ports: Invalid value: ${String(port)}`],
  );

const sliceRules: Kind['rules'] = (now, before) => {
  const family = now.addressType === 'IPv4' ? 4 : 6;
  const wrong = listOf(now.endpoints).filter(
    ({ addresses }) =>
      !Array.isArray(addresses) || addresses.length === 0 || !addresses.every((ip) => isEndpoint(ip, family)),
  );
  return [
    ...(before.addressType !== undefined && now.addressType !== before.addressType
      ? ['addressType: field is immutable']
      : []),
    ...wrong.map((endpoint) => `endpoints.addresses: Invalid value: ${JSON.stringify(endpoint.addresses)}`),
    ...portProblems(now.ports),
  ];
};

const endpointsRules: Kind['rules'] = (now) =>
  listOf(now.subsets).flatMap(({ addresses, ports }) => [
    ...listOf(addresses).flatMap(({ ip }) =>
      isEndpoint(ip, 4) || isEndpoint(ip, 6) ? [] : [`subsets.addresses.ip: Invalid value: ${JSON.stringify(ip)}`],
    ),
    ...portProblems(ports),
  ]);

const serviceRules: Kind['rules'] = ({ spec }) => {
  const { type, externalName } = at({ spec }, 'spec');
  if (type !== 'ExternalName' || (typeof externalName === 'string' && DNS_NAME.test(externalName))) return [];
  return [`spec.externalName: Invalid value: ${JSON.stringify(externalName)}`];
};

const dataRules: Kind['rules'] = (now, before) => [
  ...(before.immutable === true && !isDeepStrictEqual(now.data, before.data)
    ? ['data: field is immutable when `immutable` is set']
    : []),
  ...Object.keys(at(now, 'data'))
    .filter((key) => !KEY.test(key))
    .map((key) => `data[${key}]: Invalid value`),
];

const workloadRules: Kind['rules'] = (now, before) =>
  before.spec !== undefined && !isDeepStrictEqual(at(now, 'spec', 'selector'), at(before, 'spec', 'selector'))
    ? ['spec.selector: field is immutable']
    : [];

/** By path below `/api` and `/apis`, without namespace and name. */
export const KINDS: Readonly<Record<string, Kind>> = {
  services: { kind: 'Service', model: 'V1Service', apiVersion: 'v1', rules: serviceRules, hasGeneration: false },
  endpoints: { kind: 'Endpoints', model: 'V1Endpoints', apiVersion: 'v1', rules: endpointsRules, hasGeneration: false },
  configmaps: { kind: 'ConfigMap', model: 'V1ConfigMap', apiVersion: 'v1', rules: dataRules, hasGeneration: false },
  secrets: { kind: 'Secret', model: 'V1Secret', apiVersion: 'v1', rules: dataRules, hasGeneration: false },
  endpointslices: {
    kind: 'EndpointSlice',
    model: 'V1EndpointSlice',
    apiVersion: 'discovery.k8s.io/v1',
    rules: sliceRules,
    hasGeneration: true,
  },
  deployments: {
    kind: 'Deployment',
    model: 'V1Deployment',
    apiVersion: 'apps/v1',
    rules: workloadRules,
    hasGeneration: true,
  },
  statefulsets: {
    kind: 'StatefulSet',
    model: 'V1StatefulSet',
    apiVersion: 'apps/v1',
    rules: workloadRules,
    hasGeneration: true,
  },
};
