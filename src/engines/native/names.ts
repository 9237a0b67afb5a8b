import { createHash } from 'node:crypto';
import type { Direction } from '../../domain/position.ts';
import type { TableName } from '../../domain/table.ts';

/** The lanes of a publication in one direction; there is one at a time, under a slot of its own. */
export interface LaneNames {
  readonly publication: string;
  readonly direction: Direction;
}

/** Both servers' sidecar, where everything of a lane's is that is not its subscription. */
const SCHEMA = 'switchback';

const letterOf = (direction: Direction): string => (direction === 'forward' ? 'f' : 'r');

/**
 * The markers of one phase and direction, on both sides. A table for all lanes of a side would be written by the subscriptions
 * of both directions, and a marker would go round between two phases that are on different sides for ever (S9): before 16 a
 * subscription cannot be told to leave out what another one has applied.
 */
export const markerTable = (publication: string, direction: Direction): TableName => ({
  schema: SCHEMA,
  name: `marker_${letterOf(direction)}_${publication}`,
});

/** Where the written side notes the keys that the subscription changes, until the lane has told them. */
export const touchedTable = ({ publication, direction }: LaneNames): TableName => ({
  schema: SCHEMA,
  name: `touched_${letterOf(direction)}_${publication}`,
});

/** How the names of a lane's trigger functions begin; the oid of the table follows. */
export const touchPrefix = ({ publication, direction }: LaneNames): string =>
  `touch_${createHash('sha256').update(`${direction}/${publication}`).digest('hex').slice(0, 8)}_`;

/** The triggers that note keys: one for rows, one for TRUNCATE. No two lanes write to one table of one side. */
export const TOUCH_TRIGGERS = { rows: 'switchback_touch', truncate: 'switchback_touch_all' } as const;
