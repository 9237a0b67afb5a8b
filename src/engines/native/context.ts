import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { Engine, LaneSpec, LaneStore } from '../engine.ts';

/** What every part of a lane works with. */
export interface NativeContext {
  /** Its store knows of the subscription, see `subscribedStore`. */
  readonly spec: LaneSpec;
  /** The same without asking the origin, see `heldStore`. */
  readonly held: LaneStore;
  readonly from: PostgresServer;
  readonly to: PostgresServer;
  /** How the written side's server reaches the other one, for libpq, password included. */
  readonly conninfo: string;
  /** Copies, catches up, and looks after slots and publications. */
  readonly stream: Engine;
}
