import { messageOf } from '../../domain/errors.ts';
import type { StoredDrill } from '../../sidecar/snapshots.ts';
import type { Snapshot } from '../../snapshots/store.ts';
import type { RunContext } from '../context.ts';
import { type ArchivedPhase, readArchived } from './archived.ts';
import { takenAt } from './ours.ts';
import { pickSnapshot } from './pick.ts';
import { readRecords } from './records.ts';

/** What is known of one snapshot. */
export interface Shown {
  readonly snapshot: Snapshot;
  /** The newest first. */
  readonly drills: readonly StoredDrill[];
  /** What would be lost if it were restored now and nothing else were done. */
  readonly loss: {
    /** How long ago its state was the source's, by a server's clock; null where no server answers. */
    readonly ageMs: number | null;
    readonly trouble: string | null;
    /** What the archive has of the changes since, by phase; empty where there is none. */
    readonly archived: readonly ArchivedPhase[];
  };
}

/** Reads what is known of a snapshot, of the newest without an id. Source and target may be down. */
export const showSnapshot = async (context: RunContext, id: string | null): Promise<Shown> => {
  const snapshot = await pickSnapshot(context, id);
  const { drills } = await readRecords(context);
  const run = snapshot.manifest?.run ?? '';
  return {
    snapshot,
    drills: drills.filter((drill) => drill.snapshot === snapshot.id),
    loss: {
      ...(await ageOf(context, takenAt(snapshot))),
      archived: run === '' ? [] : await readArchived(context, run, snapshot.manifest),
    },
  };
};

const ageOf = async (
  { source, target }: RunContext,
  at: string,
): Promise<{ readonly ageMs: number | null; readonly trouble: string | null }> => {
  let trouble = '';
  for (const { sql } of [source, target]) {
    try {
      const { rows } = await sql.query('SELECT extract(epoch from now() - $1::timestamptz) * 1000 AS age', [at]);
      return { ageMs: Number(rows[0]?.age), trouble: null };
    } catch (error) {
      trouble ||= messageOf(error);
    }
  }
  return { ageMs: null, trouble };
};
