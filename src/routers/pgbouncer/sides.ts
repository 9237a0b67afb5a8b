import { SwitchbackError } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import { readPostgresUrl } from '../../platform/postgres/url.ts';
import type { ShownDatabase } from './console.ts';
import { type Address, addressText, sameAddress } from './ini.ts';

/** A side's URL, and what an entry says instead of it. */
export interface PooledSide {
  readonly url: string;
  readonly host?: string;
  readonly port?: number;
  readonly dbname?: string;
}

/** Such a value would end its quotes, or its line, and leave an entry that PgBouncer and we could not read again. */
const UNFIT = /['\p{Cc}]/u;

const writable = (side: Side, address: Address): Address => {
  const unfit = (['host', 'dbname'] as const).find((key) => UNFIT.test(address[key] ?? ''));
  if (unfit === undefined) return address;
  throw new SwitchbackError('usage', `the ${unfit} of the ${side}'s URL cannot stand in an entry of PgBouncer`, {
    remedy: `write one without apostrophes and line ends as \`${unfit}\` under the router's \`${side}\``,
  });
};

const addressOf = (side: Side, { url, ...said }: PooledSide): Address => {
  const { driver } = readPostgresUrl(url, side);
  return writable(side, {
    host: said.host ?? driver.host ?? 'localhost',
    port: String(said.port ?? driver.port ?? 5432),
    // As every client that is given none.
    dbname: said.dbname ?? driver.database ?? driver.user ?? 'postgres',
  });
};

/** What an entry says when it leads to each side. Throws kind `usage` when both would be the same, or one cannot be written. */
export const addressesOf = (sides: Readonly<Record<Side, PooledSide>>): Readonly<Record<Side, Address>> => {
  const source = addressOf('source', sides.source);
  const target = addressOf('target', sides.target);
  if (!sameAddress(source, target)) return { source, target };
  throw new SwitchbackError('usage', `PgBouncer would lead to ${addressText(source)} on both sides`, {
    remedy: "write what tells them apart under the router's `source` and `target`",
  });
};

/** A database of a pooler for messages. */
export const ledText = (shown: ShownDatabase | null): string =>
  shown === null ? 'nowhere' : `to ${addressText(shown.address)}`;
