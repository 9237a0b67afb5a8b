import { isIP } from 'node:net';
import type { CoreV1EndpointPort, DiscoveryV1EndpointPort } from '@kubernetes/client-node';
import type { ObjectRef, Objects } from './resources.ts';

/** Objects that lead clients somewhere. */
export type PlaceName = 'service' | 'endpointslice' | 'endpoints' | 'configmap' | 'secret';

/** What leads one phase: an object, and in a ConfigMap or a Secret one of its keys. */
export interface Place<N extends PlaceName = PlaceName> {
  readonly ref: ObjectRef<N>;
  /** '' where the object has no keys. */
  readonly key: string;
  /** The key that tells the application whether to wait; null where it is not told. */
  readonly held: string | null;
}

/** A part of an object, as a merge patch has it; `data` is that of a ConfigMap or a Secret. */
export interface PatchBody {
  readonly data?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
}

/**
 * How one sort of objects leads clients. Where it leads is a text in one spelling: a name, `address:port`, or the value of
 * the key. Pure; patches are merge patches.
 */
interface Lead<N extends PlaceName> {
  /** Null when it leads nowhere, or to several places. */
  leadsTo(object: Objects[N], key: string): string | null;
  /** What has to change for the object to lead there. */
  patch(object: Objects[N], key: string, to: string): PatchBody;
}

/** An address in one spelling. */
export const addressText = (ip: string, port: number): string => `${isIP(ip) === 6 ? `[${ip}]` : ip}:${port}`;

/** An address and its port, null where it has none: `10.0.0.5:5432`, `[fd00::5]:5432`, `fd00::5`. */
export const splitAddress = (text: string): { readonly ip: string; readonly port: number | null } => {
  if (isIP(text) !== 0) return { ip: text, port: null };
  const [, six, other = text, port] = /^(?:\[(.*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text) ?? [];
  return { ip: six ?? other, port: port === undefined ? null : Number(port) };
};

type Port = DiscoveryV1EndpointPort | CoreV1EndpointPort;

/** A list of an object. The API server says null for one that is empty, which the library's types do not know of. */
const listed = <T>(list: readonly T[] | null | undefined): readonly T[] => list ?? [];

/** Name, protocol and application of a port stay. */
const ledPorts = (ports: readonly Port[] | null | undefined, port: number | null): readonly object[] =>
  (ports ?? [{}]).map((one) => ({ ...one, port }));

const endpointSlice: Lead<'endpointslice'> = {
  leadsTo: (slice) => {
    const ports = listed(slice.ports);
    const ready = listed(slice.endpoints).filter(({ conditions }) => conditions?.ready !== false);
    const ips = ready.flatMap(({ addresses }) => listed(addresses));
    const [ip] = ips;
    const port = ports[0]?.port;
    return ip === undefined || ips.length > 1 || ports.length !== 1 || port === undefined
      ? null
      : addressText(ip, port);
  },
  // What an endpoint says besides its address, its zone or node, is true of that address alone.
  patch: ({ ports }, _, to) => {
    const { ip, port } = splitAddress(to);
    return { endpoints: [{ addresses: [ip], conditions: { ready: true } }], ports: ledPorts(ports, port) };
  },
};

const endpoints: Lead<'endpoints'> = {
  leadsTo: ({ subsets = [] }) => {
    const [subset] = subsets;
    const { addresses = [], ports = [] } = subset ?? {};
    const [address] = addresses;
    const [port] = ports;
    const isOne = subsets.length === 1 && addresses.length === 1 && ports.length === 1;
    return !isOne || address === undefined || port === undefined ? null : addressText(address.ip, port.port);
  },
  patch: ({ subsets = [] }, _, to) => {
    const { ip, port } = splitAddress(to);
    return { subsets: [{ addresses: [{ ip }], ports: ledPorts(subsets[0]?.ports, port) }] };
  },
};

const LEADS: { readonly [N in PlaceName]: Lead<N> } = {
  service: {
    leadsTo: ({ spec }) => (spec?.type === 'ExternalName' ? (spec.externalName ?? null) : null),
    patch: (_, __, to) => ({ spec: { externalName: to } }),
  },
  endpointslice: endpointSlice,
  endpoints,
  configmap: {
    leadsTo: ({ data = {} }, key) => data[key] ?? null,
    patch: (_, key, to) => ({ data: { [key]: to } }),
  },
  secret: {
    leadsTo: ({ data = {} }, key) => decoded(data[key]),
    patch: (_, key, to) => ({ data: { [key]: encoded(to) } }),
  },
};

const encoded = (text: string): string => Buffer.from(text).toString('base64');
const decoded = (text: string | undefined): string | null =>
  text === undefined ? null : Buffer.from(text, 'base64').toString();

/** Where an object leads clients; null when nowhere, or to several places. */
export const leadsTo = <N extends PlaceName>({ ref, key }: Place<N>, object: Objects[N]): string | null =>
  LEADS[ref.of].leadsTo(object, key);

/** The merge patch that makes an object lead there. */
export const leadPatch = <N extends PlaceName>({ ref, key }: Place<N>, object: Objects[N], to: string): PatchBody =>
  LEADS[ref.of].patch(object, key, to);

/** The data of a ConfigMap or a Secret, with the values as an application sees them. */
const valueIn = ({ ref }: Place, object: Objects[PlaceName], key: string): string | null => {
  const data = 'data' in object ? object.data : undefined;
  return ref.of === 'secret' ? decoded(data?.[key]) : (data?.[key] ?? null);
};

/** Whether the application is told to wait. */
export const isHeld = (place: Place, object: Objects[PlaceName]): boolean =>
  place.held !== null && valueIn(place, object, place.held) === '1';

/** The merge patch that tells the application to wait, or to go on. */
export const heldPatch = ({ ref, held }: Place, isToWait: boolean): PatchBody => {
  const value = isToWait ? '1' : '0';
  return held === null ? {} : { data: { [held]: ref.of === 'secret' ? encoded(value) : value } };
};
