import type { SqlExecutor } from '../../domain/sql.ts';
import { readDrills, readSnapshots } from '../../sidecar/snapshots.ts';

/** What `status` and the report say of snapshots, from the sidecar alone; ages in milliseconds by its server's clock. */
export interface SnapshotStatus {
  readonly newest: { readonly id: string; readonly reason: string; readonly ageMs: number } | null;
  /** One that is under way, or that nobody is at any more. */
  readonly unfinished: { readonly id: string; readonly askedMs: number; readonly detail: string | null } | null;
  /** The newest drill that has ended. */
  readonly drill: {
    readonly snapshot: string;
    readonly by: string;
    readonly at: string;
    readonly ageMs: number;
    readonly passed: boolean;
    readonly problems: readonly string[];
  } | null;
  /** What restoring took when it was last measured. */
  readonly restoreMs: number | null;
}

/** Reads what is known of snapshots and drills. */
export const readSnapshotStatus = async (sql: SqlExecutor): Promise<SnapshotStatus> => {
  const snapshots = await readSnapshots(sql);
  const drills = await readDrills(sql);
  const available = snapshots
    .filter(({ state, takenMs }) => state === 'available' && takenMs !== null)
    .toSorted((a, b) => (a.takenMs ?? 0) - (b.takenMs ?? 0));
  const [newest] = available;
  const unfinished = snapshots.find(({ state }) => state === 'creating');
  const drill = drills.find(({ state }) => state !== 'running');
  return {
    newest: newest ? { id: newest.id, reason: newest.reason, ageMs: newest.takenMs ?? 0 } : null,
    unfinished: unfinished ? { id: unfinished.id, askedMs: unfinished.askedMs, detail: unfinished.detail } : null,
    drill: drill
      ? {
          snapshot: drill.snapshot,
          by: drill.by,
          at: drill.at,
          ageMs: drill.ageMs,
          passed: drill.state === 'passed',
          problems: drill.outcome?.problems ?? [],
        }
      : null,
    restoreMs: drills.find(({ state, restoreMs }) => state !== 'running' && restoreMs !== null)?.restoreMs ?? null,
  };
};
