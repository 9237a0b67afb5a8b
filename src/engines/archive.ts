import type { Direction, Position } from '../domain/position.ts';
import type { SnapshotPosition } from '../domain/snapshot.ts';
import type { Objects } from '../platform/objects/objects.ts';

/** Where the changes of one phase are archived. Both of its lanes write there, in turn, one chain of segments. */
export interface ArchivePlace {
  /** Whatever wraps objects (encryption, checksums) is done: a wrong key shows itself as kind `refused` when one is read. */
  readonly objects: Objects;
  /** Id of the run and name of the phase. What another run or phase wrote is never taken for ours. */
  readonly run: string;
  readonly phase: string;
}

/**
 * A state of the source's database: what a snapshot holds, or what was restored from it. What was written before belongs to
 * it, what was written after is in the archive.
 */
export interface ArchiveBase {
  /** Where it stands in the source's own history. */
  readonly source: SnapshotPosition;
  /** Everything before this on the target is in it: progress of the reverse lane there. Null when it has none. */
  readonly reverse: Position | null;
}

/** A number that a listing tells exactly, or between two. */
export interface Count {
  readonly atLeast: number;
  readonly atMost: number;
}

/** A time during which one lane wrote to the archive. */
export interface Stretch {
  readonly direction: Direction;
  /** What the other lane had brought when this one began: the application wrote nothing between the two. Null: begun anew. */
  readonly ended: Position | null;
  /** Everything from here to there, of the side that the lane reads, is in the archive. */
  readonly from: Position;
  readonly until: Position;
}

/** What the archive of a phase holds. */
export interface ArchiveSummary {
  /** In the order in which it was written. */
  readonly stretches: readonly Stretch[];
  readonly objects: number;
  readonly bytes: number;
  readonly transactions: number;
  readonly changes: number;
  /** When the newest archived transaction committed, by the clock of its server, ISO 8601; null when there is none. */
  readonly newestAt: string | null;
}

/** What there is after a state. */
export interface ArchivedSince {
  /** Whether nothing is missing between that state and the end of the archive; else what is, for people. */
  readonly missing: string | null;
  readonly transactions: Count;
  readonly changes: Count;
  /** Where it ends, of the side that the last lane reads; null for an archive without anything. */
  readonly end: { readonly direction: Direction; readonly position: Position } | null;
}

/** What may be waited for while an archive is read. */
export interface ArchiveOptions {
  readonly signal: AbortSignal;
  /** Objects that were read, of how many. Must not throw. */
  readonly progress: (progress: { readonly done: number; readonly of: number }) => void;
}

/** What a replay did. */
export interface Replayed {
  readonly transactions: number;
  readonly changes: number;
  /** What is replayed: everything before it on the side that the last lane reads. Null when there was nothing to do. */
  readonly end: { readonly direction: Direction; readonly position: Position } | null;
}
