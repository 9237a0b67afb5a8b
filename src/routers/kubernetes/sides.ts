import { isIP } from 'node:net';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import { readPostgresUrl } from '../../platform/postgres/url.ts';
import { rememberSecret } from '../../platform/redact.ts';
import { addressText, type Place, splitAddress } from './places.ts';
import { refText } from './resources.ts';
import type { Destinations } from './route.ts';

/** A side's URL, and what an object says instead of it; null where the plan does not write it. */
export interface LedSide {
  readonly url: string;
  readonly said: string | null;
}

/** RFC 1123, as the API server asks of an `externalName`. */
const DNS_NAME = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

const wrong = (place: Place, fact: string, remedy: string): SwitchbackError =>
  new SwitchbackError('usage', `${refText(place.ref)} cannot lead to ${fact}`, { remedy });

const hostOf = ({ url }: LedSide, side: Side): string => readPostgresUrl(url, side).driver.host ?? 'localhost';
const portOf = ({ url }: LedSide, side: Side): number => readPostgresUrl(url, side).driver.port ?? 5432;

const nameOf = (place: Place, side: Side, led: LedSide): string => {
  const name = led.said ?? hostOf(led, side);
  if (DNS_NAME.test(name) && isIP(name) === 0) return name;
  const remedy = `write its DNS name in small letters as the router's \`${side}\`, or lead by an endpointslice`;
  throw wrong(place, `the ${side}, ${name}: an ExternalName is a DNS name`, remedy);
};

const addressOf = (place: Place, side: Side, led: LedSide): string => {
  const { ip, port } = splitAddress(led.said ?? hostOf(led, side));
  if (isIP(ip) !== 0) return addressText(ip, port ?? portOf(led, side));
  const remedy = `write its address as the router's \`${side}\`, such as 10.0.0.5:5432`;
  throw wrong(place, `the ${side}, ${led.said ?? hostOf(led, side)}: endpoints are IP addresses`, remedy);
};

const destinationOf = (place: Place, side: Side, led: LedSide): string => {
  if (place.ref.of === 'service') return nameOf(place, side, led);
  if (place.ref.of === 'endpoints' || place.ref.of === 'endpointslice') return addressOf(place, side, led);
  if (led.said !== null) return led.said;
  throw wrong(place, `the ${side}: the plan does not say with what value`, `write it as the router's \`${side}\``);
};

/**
 * Where an object leads for each side. Throws kind `usage` when both would be the same, or one cannot stand in it. Values of a
 * Secret are hidden from then on in everything that is said.
 */
export const destinationsOf = (place: Place, sides: Readonly<Record<Side, LedSide>>): Destinations => {
  const source = destinationOf(place, 'source', sides.source);
  const target = destinationOf(place, 'target', sides.target);
  if (place.ref.of === 'secret') {
    for (const value of [source, target]) rememberSecret(value, [Buffer.from(value).toString('base64')]);
  }
  if (source === target) {
    const remedy = "write what tells them apart as the router's `source` and `target`";
    throw wrong(place, 'one side or the other: it would say the same', remedy);
  }
  const [old, now] = [portOf(sides.source, 'source'), portOf(sides.target, 'target')];
  const isSaid = sides.source.said !== null && sides.target.said !== null;
  if (place.ref.of !== 'service' || isSaid || old === now) return { source, target };
  const remedy =
    "lead by an endpointslice; or write names that clients reach at one port as the router's `source` and `target`";
  throw wrong(place, `port ${old} and port ${now}: an ExternalName has none`, remedy);
};
