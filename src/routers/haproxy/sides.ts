import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import { readPostgresUrl } from '../../platform/postgres/url.ts';
import { type Address, addressText, sameAddress, spelledHost } from './config.ts';

/** A side's URL, and what a server's line says instead of it. */
export interface ProxiedSide {
  readonly url: string;
  readonly host?: string;
  readonly port?: number;
}

/** A side as HAProxy knows it. */
export interface SideAddress {
  /** As it is written in the file. */
  readonly written: Address;
  /** What its host stands for, each as `spelledHost` has it; never empty. The socket takes no names. */
  readonly addresses: readonly string[];
}

const addressOf = (side: Side, { url, ...said }: ProxiedSide): Address => {
  const { driver } = readPostgresUrl(url, side);
  const host = said.host ?? driver.host ?? 'localhost';
  if (!host.startsWith('/')) return { host, port: String(said.port ?? driver.port ?? 5432) };
  throw new SwitchbackError('usage', `HAProxy cannot be led to the Unix socket ${host} of the ${side}'s URL`, {
    remedy: `write how HAProxy reaches it as \`host\` and \`port\` under the router's \`${side}\``,
  });
};

/** What a server's line says when it leads to each side. Throws kind `usage` when both would be the same, or one cannot be written. */
export const addressesOf = (sides: Readonly<Record<Side, ProxiedSide>>): Readonly<Record<Side, Address>> => {
  const source = addressOf('source', sides.source);
  const target = addressOf('target', sides.target);
  if (!sameAddress(source, target)) return { source, target };
  throw new SwitchbackError('usage', `HAProxy would lead to ${addressText(source)} on both sides`, {
    remedy: "write what tells them apart under the router's `source` and `target`",
  });
};

/** Resolves the host of an address as this machine does. Throws kind `unreachable` when it cannot be. */
export const resolveSide = async (written: Address): Promise<SideAddress> => {
  if (isIP(written.host) !== 0) return { written, addresses: [spelledHost(written.host)] };
  try {
    const found = await lookup(written.host, { all: true });
    return { written, addresses: found.map(({ address }) => spelledHost(address)) };
  } catch (error) {
    throw new SwitchbackError('unreachable', `the address of ${written.host} cannot be found: ${messageOf(error)}`, {
      remedy: 'mend the name service, or write the address itself in the plan and in the configuration of HAProxy',
      cause: error,
    });
  }
};
