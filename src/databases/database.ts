import type { Blocker } from '../domain/event.ts';
import type { Position } from '../domain/position.ts';
import type { Guard } from '../domain/sql.ts';
import type { Sequence, Table, TableName } from '../domain/table.ts';

/** What a database holds, apart from its system schemas and our sidecar. */
export interface Inventory {
  /** Plain tables and leaf partitions, sorted by schema and name. */
  readonly tables: readonly Table[];
  /** Partitioned tables at the top of their trees. */
  readonly roots: readonly TableName[];
  readonly sequences: readonly Sequence[];
}

/** A sequence's state, as text: `nextval` would return `lastValue` itself when `isCalled` is false. */
export interface SequenceState extends TableName {
  readonly lastValue: string;
  readonly isCalled: boolean;
}

/** What to do about a session that holds a lock we need for longer than `waitMs`. */
export interface BlockerPolicy {
  readonly waitMs: number;
  /** `terminate` ends the session; `abort` lets it go on and gives up when the budget is spent. */
  readonly action: 'terminate' | 'abort';
}

/** Fence or lift: one transaction over all the tables, refused by a newer epoch. */
export interface FenceAct {
  readonly tables: readonly TableName[];
  /** Shown to a refused client: which phase, and where it lives now. */
  readonly reason: string;
  /** Runs first in the act's transaction: the ownership rows, conditional on the epoch. */
  readonly guard: Guard;
  readonly blockers: BlockerPolicy;
  /** Milliseconds in which the locks must be had; then kind `aborted` with the blockers in its message. */
  readonly budgetMs: number;
  readonly onBlocked: (blockers: readonly Blocker[]) => void;
  readonly signal: AbortSignal;
}

/** Lift, for now or for good. */
export interface LiftAct extends FenceAct {
  /**
   * Also removes what the fence is made of. That waits for readers too, so it is for the end of a run and never for the
   * window; what cannot be removed within the budget is kind `aborted`, and may be tried again.
   */
  readonly remove?: boolean;
}

/**
 * One of the two databases, as the stages see it.
 *
 * Ordering: `head` read after `fence` resolved is at or past every commit that the fence let through. Idempotency: every
 * method may be repeated; `fence` on a fenced side and `lift` on a lifted one change nothing but the ownership rows.
 * Errors: kind `unreachable` when the server cannot be asked; `deposed` when a newer epoch is known there.
 */
export interface Database {
  /** Reads the catalogue. Set-based: its cost does not grow with a round trip per table. */
  inventory(): Promise<Inventory>;
  /** The newest position of this side's log, past everything that has been committed. */
  head(): Promise<Position>;
  /**
   * Makes this side refuse writes to the tables by every session but our appliers, with SQLSTATE 25006 or error 1290.
   * When it resolves, every transaction that wrote to them before has ended. Locks are asked for in short attempts.
   */
  fence(act: FenceAct): Promise<void>;
  /** Allows writes again. Unless `remove` is set, readers neither block it nor are blocked. */
  lift(act: LiftAct): Promise<void>;
  readonly sequences: {
    /** States of the named sequences, in the order given. */
    read(names: readonly TableName[]): Promise<readonly SequenceState[]>;
    /** Moves each sequence that is behind the state given to it; one that is already beyond is left. Never goes back. */
    advance(states: readonly SequenceState[], guard: Guard): Promise<void>;
  };
}
