import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { LaneSpec } from '../engine.ts';
import type { ByteRate } from './pace.ts';

/**
 * A snapshot of the origin that a replication connection holds open. It shows exactly the transactions that commit before
 * the lane's position, so that a table without a key can be read once and followed strictly from there.
 */
export interface HeldSnapshot {
  /** For SET TRANSACTION SNAPSHOT. */
  readonly name: string;
  /** Ends the connection; the name is gone afterwards. May be called more than once. */
  release(): Promise<void>;
}

/** What every part of a lane works with: its spec, the server it reads from and the one that it writes to. */
export interface LaneContext {
  readonly spec: LaneSpec;
  readonly from: PostgresServer;
  readonly to: PostgresServer;
  /** Only while tables without a key are copied. */
  readonly snapshot?: HeldSnapshot;
  /** What all copies of the run together may read of the origin; no limit without it. */
  readonly copyRate?: ByteRate;
}
