import type { Direction, Position } from './position.ts';

/** Where in the source's history a snapshot stands. */
export interface SnapshotPosition {
  /** Every transaction that committed before it is in the snapshot. */
  readonly atLeast: Position;
  /** No transaction that committed at it or later is. Equal to `atLeast` where the store can tell exactly. */
  readonly atMost: Position;
}

/** How far the lane that writes to the source, or reads from it, had come in what the snapshot holds. */
export interface LanePosition {
  readonly phase: string;
  readonly direction: Direction;
  /** For the reverse lane: everything before it on the target is applied. For the forward lane: its start on the source. */
  readonly position: Position;
  readonly marker: string;
}

/** Whose a snapshot is: the plan's name, the identity of the database that it is of, and the run's id, empty before one is begun. */
export interface SnapshotOwner {
  readonly plan: string;
  readonly identity: string;
  readonly run: string;
}

/** Whose a snapshot is by its manifest, or by as much of it as is known when it begins. */
export const ownerIn = ({ plan, identity, run }: Pick<Manifest, 'plan' | 'identity' | 'run'>): SnapshotOwner => ({
  plan: plan.name,
  identity,
  run,
});

/**
 * Everything that is known of a snapshot besides its rows: stored with it, so that it can be restored, proven and told from
 * others where nothing else of the run is left. It holds no secrets.
 */
export interface Manifest {
  /** Of this document. A higher one is of a newer Switchback, and is refused. */
  readonly format: 1;
  readonly id: string;
  readonly kind: string;
  /** The run's id, and the plan's name and hash. */
  readonly run: string;
  readonly plan: { readonly name: string; readonly hash: string };
  /** Identity of the database that it is of. */
  readonly identity: string;
  /** Version of its server, as that says it: `13.23`. */
  readonly server: string;
  /** Who made it, `user@host`, and why: `by hand`, `before cutover of orders`. */
  readonly by: string;
  readonly reason: string;
  /** ISO 8601, by the source's clock. */
  readonly createdAt: string;
  readonly bytes: number | null;
  readonly position: SnapshotPosition;
  /** By lane. */
  readonly lanes: Readonly<Record<string, LanePosition>>;
  /** Each phase's tables by display name. */
  readonly phases: Readonly<Record<string, readonly string[]>>;
  /** Digest of each table in exactly the state that the snapshot holds; null where the store cannot see that state. */
  readonly digests: Readonly<Record<string, { readonly rows: string; readonly sum: string }>> | null;
  /** What its store has to know to restore it. JSON. */
  readonly store: unknown;
}
