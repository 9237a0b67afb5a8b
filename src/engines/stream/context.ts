import type { Direction } from '../../domain/position.ts';
import type { TableName } from '../../domain/table.ts';
import type { HeldSnapshot } from '../../platform/postgres/held-snapshot.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { LaneSpec } from '../engine.ts';
import type { ByteRate } from './pace.ts';

/** The table of the markers of a publication's lanes. The sidecar's own serves all lanes that nobody else applies. */
export type MarkerOf = (publication: string, direction: Direction) => TableName;

/** The sidecar's table of markers, for every lane of a side. */
export const SHARED_MARKER: TableName = { schema: 'switchback', name: 'marker' };

/** One table of markers for all. */
export const sharedMarker: MarkerOf = () => SHARED_MARKER;

/** What every part of a lane works with: its spec, the server it reads from and the one that it writes to. */
export interface LaneContext {
  readonly spec: LaneSpec;
  readonly from: PostgresServer;
  readonly to: PostgresServer;
  /** Where the lane's markers are written, on the side that it reads from; the sidecar's table when absent. */
  readonly marker?: TableName;
  /** Only while tables without a key are copied. */
  readonly snapshot?: HeldSnapshot;
  /** Whether changes come from an archive, so that there is no origin to read a row of again; `from` is `to` then. */
  readonly isReplay?: boolean;
  /** What all copies of the run together may read of the origin; no limit without it. */
  readonly copyRate?: ByteRate;
}
