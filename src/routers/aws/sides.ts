import { isIP } from 'node:net';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import { readPostgresUrl } from '../../platform/postgres/url.ts';
import type { Led } from './led-text.ts';
import type { RecordType } from './records.ts';

/** For each side its URL, and what the plan says instead of it. */
export type SaidOfSides<Said> = Readonly<Record<Side, { readonly url: string; readonly said: Said | undefined }>>;

/** What Route 53 has to be given: IP versions by record type, and 0 for a name. */
const VERSIONS: Readonly<Record<RecordType, number>> = { CNAME: 0, A: 4, AAAA: 6 };

const hostOf = (side: Side, url: string): string => readPostgresUrl(url, side).driver.host ?? 'localhost';

/** What records say of each side. Throws kind `usage` for a value that a record of the type cannot have. */
export const recordValues = (
  type: RecordType,
  sides: SaidOfSides<readonly string[]>,
): Readonly<Record<Side, readonly string[]>> => {
  const valuesOf = (side: Side): readonly string[] => {
    const { said, url } = sides[side];
    const values = said ?? [hostOf(side, url)];
    const unfit = values.find((value) => isIP(value) !== VERSIONS[type] || value.startsWith('/'));
    if (unfit === undefined) return values;
    throw new SwitchbackError(
      'usage',
      `${unfit} is no value of ${type === 'CNAME' ? 'a CNAME' : `an ${type} record`}`,
      {
        remedy: `write what the record says of the ${side} as the router's \`${side}\`, or another \`type\``,
      },
    );
  };
  return { source: valuesOf('source'), target: valuesOf('target') };
};

/** What values say of each side: without words of the plan `host`, `port` and `dbname`, as RDS writes its own secrets. */
export const ledValues = (sides: SaidOfSides<Led>): Readonly<Record<Side, Led>> => {
  const ledOf = (side: Side): Led => {
    const { said, url } = sides[side];
    if (said !== undefined) return said;
    const { driver } = readPostgresUrl(url, side);
    return {
      host: driver.host ?? 'localhost',
      port: driver.port ?? 5432,
      // As every client that is given none.
      dbname: driver.database ?? driver.user ?? 'postgres',
    };
  };
  return { source: ledOf('source'), target: ledOf('target') };
};
