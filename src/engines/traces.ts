import type { Direction, Position } from '../domain/position.ts';
import type { TableName } from '../domain/table.ts';

/** A slot (or what the engine has in its place) as the server shows it. */
export interface SlotTrace {
  readonly name: string;
  /** Why it can bring nothing any more, or null. */
  readonly damage: string | null;
  /** Everything before it was durable on the other side once; it is at or before what the lane has applied (S6). */
  readonly confirmed: Position;
}

/** A publication as the server shows it. */
export interface PublicationTrace {
  /** What it publishes of the user's. */
  readonly tables: readonly TableName[];
  /** Whether the markers are in it; they go with the sidecar's schema. */
  readonly hasMarker: boolean;
}

/**
 * What lanes leave on the side that they read from, apart from the sidecar's tables; for a rebuild. Errors: kind
 * `unreachable`.
 */
export interface LaneTraces {
  /** Slots on that side, in this database, whose name begins with the prefix; without those that end with their session. */
  slots(direction: Direction, prefix: string): Promise<readonly SlotTrace[]>;
  /** The publication on that side, or null. */
  publication(direction: Direction, name: string): Promise<PublicationTrace | null>;
  /**
   * Whether a lane that has come to `position`, as a dump of the side that it writes to says, has applied everything before
   * `confirmed`. False where such a dump does not tell how far its lane has come. Asks no server.
   */
  covers(position: Position, confirmed: Position): boolean;
  /**
   * Makes the lane's marker be at `marker` or beyond, and publishes it again where it is not published. The marker's table is
   * new then, so no open transaction can have written to it (fault 26). The sidecar must stand. May be repeated.
   */
  mendMarker(
    direction: Direction,
    what: { readonly lane: string; readonly marker: bigint; readonly publication: string | null },
  ): Promise<void>;
}
