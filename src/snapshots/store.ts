import type { Digest } from '../databases/digests.ts';
import type { Finding } from '../domain/finding.ts';
import type { Manifest, SnapshotOwner, SnapshotPosition } from '../domain/snapshot.ts';

/** What a stage knows of a snapshot before it is made. The rest of its manifest is the store's to say. */
export type ManifestBasis = Omit<Manifest, 'position' | 'digests' | 'lanes' | 'store' | 'createdAt' | 'bytes'>;

/** What is read of the database while the state that the snapshot holds can still be seen. */
export interface SeenAt {
  readonly lanes: Manifest['lanes'];
  readonly digests: Readonly<Record<string, Digest>> | null;
}

/** A snapshot to be made. */
export interface CreateSnapshot {
  readonly basis: ManifestBasis;
  /**
   * Reads what belongs into the manifest. A store that knows the snapshot's exact state hands over the name of an exported
   * snapshot, under which it is read; one that does not hands over null, and gets no digests. The signal ends it when nothing
   * can come of the snapshot any more.
   */
  readonly look: (exported: string | null, position: SnapshotPosition, signal: AbortSignal) => Promise<SeenAt>;
}

/** What may be waited for. */
export interface WaitOptions {
  /** Ends the waiting, and whatever of ours runs here; what goes on by itself elsewhere is found again by the same call. */
  readonly signal: AbortSignal;
  /** Called now and then; `percent` is null where it cannot be told. Must not throw. */
  readonly progress: (progress: { readonly text: string; readonly percent: number | null }) => void;
}

/** A snapshot as a store knows it. */
export interface Snapshot {
  readonly id: string;
  /** Only one that is `available` can be restored or removed, and one that is `deleting` goes on; `failed` says why in `detail`. */
  readonly state: 'creating' | 'available' | 'failed' | 'deleting';
  readonly detail: string | null;
  /** Null while it is being made, and for one that is not ours: of another run, or made by hand. */
  readonly manifest: Manifest | null;
  /** Whose it says that it is, also while it is made or removed; null where nothing that can be believed says it. */
  readonly owner: SnapshotOwner | null;
  /** By the clock of whoever keeps it, ISO 8601. */
  readonly createdAt: string;
  readonly bytes: number | null;
}

/** Where a snapshot is restored to: beside the source, never over it. */
export interface Destination {
  /** Ours to choose, and the same in every repetition: by it a restore that is under way is found again. */
  readonly name: string;
  /** What the restored place is for; a scratch place may be removed again without asking. */
  readonly purpose: 'restore' | 'drill';
  /** Connection URL of the database that is to be made, or directory of the server, where the store asks for one. */
  readonly at: string | null;
  /**
   * A point in time, ISO 8601: the source as it was then, with the settings that the snapshot's manifest has, where the store
   * keeps more than snapshots (automated backups of RDS). Kind `refused` where it does not.
   */
  readonly time?: string;
}

/** A place where a snapshot stands restored. */
export interface RestoredPlace {
  /** Connection URL, with secrets as the plan has them; print `redactUrl` of it. */
  readonly url: string;
  /** What could not be made as the manifest has it, each as a finding that warns. */
  readonly differences: readonly Finding[];
  /** Ends and removes it, as far as this store made it. */
  remove(options: WaitOptions): Promise<void>;
}

/**
 * Keeps snapshots of the source.
 *
 * Idempotency: `create` and `restore` with the same id or name go on with what was begun, never begin a second one, and resolve
 * at once when it is done; what was begun for another database is refused; `remove` of what is gone resolves. Refusal: `restore` proves that a snapshot is whole, ours and of a
 * version that the destination can take before it touches anything, and throws kind `refused` otherwise; it never writes to a
 * place that holds anything which is not its own. Errors: `unreachable` when the store did not answer, `refused` for what it
 * or the caller's rights do not allow, `unknown` when an answer was lost and looking again failed as well.
 */
export interface SnapshotStore {
  /** What would keep it from creating or restoring: rights, room, programs, versions. Changes nothing. */
  findings(): Promise<readonly Finding[]>;
  create(spec: CreateSnapshot, options: WaitOptions): Promise<Snapshot>;
  /** All that it holds of this plan's source, also those that are not ours, the newest first. */
  list(): Promise<readonly Snapshot[]>;
  restore(id: string, into: Destination, options: WaitOptions): Promise<RestoredPlace>;
  /**
   * Removes what a restore has left of a place, half of one as well, and as far as the store can tell whose it is also where the
   * snapshot itself cannot be restored. Resolves when there is nothing; kind `refused` for what is not of this restore.
   */
  removePlace(id: string, from: Destination, options: WaitOptions): Promise<void>;
  /** Removes an available snapshot of ours, or goes on with that. Kind `refused` for any other. */
  remove(id: string, options: WaitOptions): Promise<void>;
}
