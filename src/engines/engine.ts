import type { KeyText } from '../databases/digests.ts';
import type { Blocker } from '../domain/event.ts';
import type { Finding } from '../domain/finding.ts';
import type { Direction, Position } from '../domain/position.ts';
import type { SnapshotPosition } from '../domain/snapshot.ts';
import type { Guard, SqlExecutor } from '../domain/sql.ts';
import type { Table, TableName } from '../domain/table.ts';
import type { ObjectEntry } from '../platform/objects/objects.ts';
import type { ArchiveBase, ArchivedSince, ArchiveOptions, ArchivePlace, ArchiveSummary, Replayed } from './archive.ts';

/** What an engine can do, so that stages never ask which one it is. */
export interface Capabilities {
  /** TRUNCATE on the origin is carried. */
  readonly truncate: boolean;
  /** Tables without a key can be carried. */
  readonly keyless: boolean;
  /**
   * Every change finds exactly its row, or the lane halts before anything of its transaction is there, and says which row. An
   * engine that is not strict leaves the applying to the servers: they may pass over a row that is missing, apply a change
   * under a schema that has just changed, and go on while no worker looks. Verification finds what that leaves.
   */
  readonly strict: boolean;
}

/** How far a lane has come. All of it is durable on the other side. */
export interface LaneProgress {
  /** Everything committed before this position is applied. Always a commit boundary. */
  readonly position: Position;
  /** Apply is idempotent up to here and strict after it; null until the copy has ended, then fixed but for re-reads. */
  readonly strictFrom: Position | null;
  /** Sequence number of the newest marker that has arrived. */
  readonly marker: bigint;
}

/** A piece of a table that has been copied. */
export interface Chunk {
  readonly table: string;
  /** Exclusive; null is the beginning of the table. */
  readonly after: KeyText | null;
  /** Inclusive; null is the end of the table. */
  readonly upTo: KeyText | null;
  readonly rows: number;
  readonly bytes: number;
}

/**
 * The lane's rows in the sidecar of the side that it writes to. Every call runs in the caller's transaction, so that
 * progress and the rows it covers are one commit. Writes throw kind `deposed` when the epoch there is newer than ours.
 */
export interface LaneStore {
  progress(sql: SqlExecutor): Promise<LaneProgress | null>;
  /** Stores the progress of a lane that is being opened; it may have none yet. */
  begin(sql: SqlExecutor, progress: LaneProgress): Promise<void>;
  /** Stores how far a lane has come. Throws kind `deposed` also when it has none any more, because it was given up. */
  record(sql: SqlExecutor, progress: LaneProgress): Promise<void>;
  chunks(sql: SqlExecutor): Promise<readonly Chunk[]>;
  recordChunk(sql: SqlExecutor, chunk: Chunk): Promise<void>;
  /** Forgets all chunks and begins again with this progress; the caller empties the tables in the same transaction. */
  restart(sql: SqlExecutor, progress: LaneProgress): Promise<void>;
}

/** The phase in a lane's name; see {@link LaneSpec.lane}. */
export const phaseOfLane = (lane: string): string => lane.slice(0, lane.lastIndexOf('/'));

/** Everything a lane is made from. */
export interface LaneSpec {
  /** `<phase>/<direction>`: names the lane in progress, markers and messages. */
  readonly lane: string;
  readonly direction: Direction;
  readonly tables: readonly Table[];
  /** Partitioned roots whose leaves are all among `tables`; published as roots so that a new leaf is noticed. */
  readonly roots: readonly TableName[];
  /** Names of the publication and of the slot (or whatever the engine has in their place), chosen by the stage. */
  readonly publication: string;
  readonly slot: string;
  readonly store: LaneStore;
  /** What the lane receives is written there as well, durable before the origin may forget it. Only with {@link Engine.archives}. */
  readonly archive?: LaneArchive;
}

/** Where a lane archives, and as of which epoch: of two that wrote at once the newer one is believed. */
export interface LaneArchive extends ArchivePlace {
  readonly epoch: () => bigint;
}

/** Rows that changed on the written side, by key; `all` when they cannot be told (TRUNCATE, table without a key). */
export interface Touched {
  readonly table: string;
  readonly keys: readonly KeyText[] | 'all';
}

/** What a lane tells while it copies and follows. Called after the commit that made it true. Must not throw. */
export interface LaneObserver {
  copied(progress: {
    readonly table: string;
    readonly rows: number;
    readonly bytes: number;
    readonly finished: boolean;
  }): void;
  applied(progress: {
    readonly position: Position;
    readonly changes: number;
    /** Made when it is read, which costs as much as folding: read it only if it is wanted, and during the call. */
    readonly touched: readonly Touched[];
  }): void;
  lag(seconds: number): void;
  /** Transactions on the origin that the copy has to wait for, each time they are looked at; an observer may leave it out. */
  blocked?(blockers: readonly Blocker[]): void;
  /** A copy slows down to spare the origin, and why, or goes on as it can; an observer may leave it out. */
  paced?(text: string): void;
}

/** What `follow` needs to begin. */
export interface FollowOptions {
  readonly signal: AbortSignal;
  readonly observer: LaneObserver;
}

/**
 * One directed replication path over one phase's tables.
 *
 * Life: `openLane` fixes the start; `copy` reads the rows (forward, first time only); `follow` applies the stream until its
 * signal; `drainTo` waits on a running `follow`; `close` ends everything.
 * Exactly once: progress is committed with the rows it covers, and the origin is told only what is durable (S6).
 * Errors: kind `halted` with a finding when a person is needed (schema changed, divergence, slot lost); `unreachable` when a
 * connection broke (call `follow` again); `deposed` when another worker took over.
 */
export interface Lane {
  /**
   * Copies what the store's chunk journal does not have, several chunks at once, then records the position read after the
   * last chunk as `strictFrom`. Resolves at once when it has been recorded already.
   */
  copy(options: FollowOptions): Promise<void>;
  /** Applies changes from the stored progress on. Resolves when the signal is aborted, after the batch in hand. */
  follow(options: FollowOptions): Promise<void>;
  /**
   * Writes a marker on the origin and resolves when it and everything before `position` are durable on the other side.
   * Kind `busy` while `follow` is not running; what ended `follow` when that happens meanwhile; `aborted` when `budgetMs`
   * runs out, with what is still missing.
   */
  drainTo(position: Position, options: { readonly budgetMs: number; readonly signal: AbortSignal }): Promise<void>;
  /** Progress as last committed by this process, or read from the store. */
  applied(): Promise<LaneProgress>;
  /** Ends sessions. With `drop`, also removes the slot on the origin; the publication stays until the run is finalised. */
  close(options: { readonly drop: boolean }): Promise<void>;
}

/** How a lane is opened: a new start point is made, or an earlier one must still be there. */
export type LaneStart =
  /** Make the slot (an unused one of this name is replaced) and store its consistent point as progress. */
  | { readonly kind: 'create' }
  /** Make the slot and nothing else, for a lane that `from` will open: what its store knows stays. */
  | { readonly kind: 'reserve' }
  /** The slot must exist and be intact; otherwise kind `halted`. Never created silently (fault 22). */
  | { readonly kind: 'resume' }
  /**
   * As `resume`, but progress is set to this position, which is at or past the slot's own, and apply is strict at once. The
   * lane of the other direction has brought everything before `ended`, and nothing was written on either side since: with an
   * archive that is recorded there, and kind `busy` when the archive does not have all of it. Without it the archive begins anew.
   */
  | { readonly kind: 'from'; readonly position: Position; readonly ended?: Position };

/** Rows of one table that are to be copied again. */
export interface RepairRequest {
  readonly table: Table;
  readonly keys: readonly KeyText[];
}

/** A database that was restored, into which changes are replayed. */
export interface ReplayInto {
  /** Connection URL of a role with the rights of our own, and what it is called in messages. */
  readonly url: string;
  readonly label: string;
  readonly tables: readonly Table[];
  /**
   * Progress of what is replayed of each direction, in that database, committed with the rows: `reverse` is that of the reverse
   * lane itself, which goes on from there; `forward` belongs to the replay alone.
   */
  readonly stores: Readonly<Record<Direction, LaneStore>>;
  /** Where the snapshot stands; looked at only before the first transaction is replayed. */
  readonly source: SnapshotPosition;
  /** Nothing that committed at this position or later is replayed. The end of the archive when it is null. */
  readonly until: { readonly direction: Direction; readonly position: Position } | null;
}

/**
 * Archives of an engine's lanes: a lane whose spec names an `archive` writes there what it receives, whole transactions in the
 * order of their commits, and its origin forgets nothing that is not durable there (S6).
 *
 * Errors: `unreachable` as the objects have it; `refused` with what is wrong and where, for an archive that is damaged (hole,
 * checksum, order), of another run, or under another key; nothing was applied then.
 */
export interface Archives {
  /** From the listing alone, which has to go on without a gap. An archive that nobody has written to is empty. */
  summary(place: ArchivePlace): Promise<ArchiveSummary>;
  /** What has come after a state. From the listing alone. */
  since(place: ArchivePlace, base: ArchiveBase): Promise<ArchivedSince>;
  /** Objects that a replay on this state, or on a later one, does not need; the oldest first, which is to go first. */
  unneeded(place: ArchivePlace, base: ArchiveBase): Promise<readonly ObjectEntry[]>;
  /** Reads all of it and proves that it is whole; throws kind `refused`. */
  verify(place: ArchivePlace, options: ArchiveOptions): Promise<ArchiveSummary>;
  /**
   * Proves that the archive is whole and covers the restored state, and replays what came after, each transaction exactly once
   * however often it is called. Throws kind `refused` before anything is applied, `halted` as a lane does.
   */
  replay(place: ArchivePlace, into: ReplayInto, options: ArchiveOptions): Promise<Replayed>;
}

/** A way of replicating. */
export interface Engine {
  readonly capabilities: Capabilities;
  /** Absent where changes do not pass through us, so that they cannot be archived: `openLane` refuses a spec that wants it. */
  readonly archives?: Archives;
  /**
   * Findings about so many lanes over these tables, both ends; the side they read from need not have a publication or a slot
   * yet.
   */
  checks(
    spec: Pick<LaneSpec, 'direction' | 'tables' | 'roots'> & { readonly lanes: number },
  ): Promise<readonly Finding[]>;
  /**
   * Makes what has to exist on the side that lanes of this direction read from, before any slot does: the publication.
   * Does nothing when it is there with the same tables; never alters one (fault 26): a different one is kind `refused`. The
   * guard runs in the transaction that makes it.
   */
  publish(
    spec: Pick<LaneSpec, 'direction' | 'tables' | 'roots' | 'publication'> & { readonly guard: Guard },
  ): Promise<void>;
  /**
   * Removes a slot, and a publication, on the side that lanes of this direction read from; null leaves it. Missing ones are
   * no error. A slot in use by a session of ours is freed first. The guard runs in the transaction of each removal, and
   * `guardWritten` in those of what goes on the side that such lanes write to, where the engine has anything there.
   */
  retire(what: {
    readonly direction: Direction;
    readonly slot: string | null;
    readonly publication: string | null;
    readonly guard: Guard;
    readonly guardWritten: Guard;
  }): Promise<void>;
  openLane(spec: LaneSpec, start: LaneStart): Promise<Lane>;
  /**
   * Makes rows on the written side what they are on the origin, and returns how many keys that was. The lane must not
   * follow meanwhile; from its next run on it is idempotent up to the position of the repair. Kind `refused` for a table
   * without a key.
   */
  repair(spec: LaneSpec, requests: readonly RepairRequest[], options: FollowOptions): Promise<number>;
}
