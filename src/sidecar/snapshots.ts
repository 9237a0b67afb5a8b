import { sql as raw } from 'kysely';
import type { SqlExecutor } from '../domain/sql.ts';
import { build, execute, fetch } from './tables.ts';

/** A snapshot that was asked for, as the sidecar knows it. Which there are, the store tells. */
export interface SnapshotRecord {
  readonly id: string;
  readonly reason: string;
  readonly by: string;
  /** `creating` from before it begins until its end is recorded: whoever finds it so, and nobody at it, goes on with it. */
  readonly state: 'creating' | 'available' | 'failed' | 'removed';
  /** Why it failed, or did the last time that somebody was at it. */
  readonly detail: string | null;
  /** When its state was that of the source, by the source's clock. */
  readonly takenAt: string | null;
}

/** A record with its ages by the clock of the server that was asked, in milliseconds. */
export interface StoredSnapshot extends SnapshotRecord {
  readonly at: string;
  readonly askedMs: number;
  readonly takenMs: number | null;
}

/** What a drill has looked at. */
export interface DrillOutcome {
  readonly tables: number;
  /** Of these, compared by digest with what the snapshot was made of. */
  readonly compared: number;
  readonly probes: number;
  /** What was wrong; none when it has passed. */
  readonly problems: readonly string[];
}

/** A rehearsal of a restore. */
export interface DrillRecord {
  readonly id: string;
  readonly snapshot: string;
  readonly by: string;
  /** Where the scratch place was asked for, without passwords; null where the store chose. */
  readonly place: string | null;
  /** `running` until its scratch place is gone again. */
  readonly state: 'running' | 'passed' | 'failed';
  /** What restoring took, in milliseconds; null where that was interrupted. */
  readonly restoreMs: number | null;
  readonly outcome: DrillOutcome | null;
}

/** A drill and how long ago it came to its state, by the clock of the server that was asked. */
export interface StoredDrill extends DrillRecord {
  readonly at: string;
  readonly ageMs: number;
}

const age = (column: 'at' | 'taken_at' | 'updated_at') =>
  raw<string | null>`(extract(epoch from now() - ${raw.ref(column)}) * 1000)::bigint`;

/** Writes what is known of a snapshot; what was asked for, and by whom, stays as it was. */
export const writeSnapshot = async (sql: SqlExecutor, record: SnapshotRecord): Promise<void> => {
  const { id, reason, by, state, detail, takenAt } = record;
  const known = { state, detail, taken_at: takenAt };
  await execute(
    sql,
    build
      .insertInto('snapshot')
      .values({ id, reason, by, ...known })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(known)),
  );
};

/** All snapshots that were asked for, the newest first. */
export const readSnapshots = async (sql: SqlExecutor): Promise<readonly StoredSnapshot[]> => {
  const rows = await fetch(
    sql,
    build
      .selectFrom('snapshot')
      .selectAll()
      .select([age('at').as('asked_ms'), age('taken_at').as('taken_ms')])
      .orderBy('at', 'desc')
      .orderBy('id', 'desc'),
  );
  return rows.map((row) => ({
    id: row.id,
    reason: row.reason,
    by: row.by,
    state: row.state as SnapshotRecord['state'],
    detail: row.detail,
    takenAt: row.taken_at,
    at: row.at,
    askedMs: Number(row.asked_ms),
    takenMs: row.taken_ms === null ? null : Number(row.taken_ms),
  }));
};

/** Writes what is known of a drill. */
export const writeDrill = async (sql: SqlExecutor, drill: DrillRecord): Promise<void> => {
  const known = {
    state: drill.state,
    restore_ms: drill.restoreMs === null ? null : String(Math.round(drill.restoreMs)),
    doc: drill.outcome === null ? null : JSON.stringify(drill.outcome),
    updated_at: raw<string>`now()`,
  };
  await execute(
    sql,
    build
      .insertInto('drill')
      .values({ id: drill.id, snapshot: drill.snapshot, by: drill.by, place: drill.place, ...known })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(known)),
  );
};

/** All drills, the newest first. */
export const readDrills = async (sql: SqlExecutor): Promise<readonly StoredDrill[]> => {
  const rows = await fetch(
    sql,
    build
      .selectFrom('drill')
      .selectAll()
      .select(age('updated_at').as('age_ms'))
      .orderBy('updated_at', 'desc')
      .orderBy('id', 'desc'),
  );
  return rows.map((row) => ({
    id: row.id,
    snapshot: row.snapshot,
    by: row.by,
    place: row.place,
    state: row.state as DrillRecord['state'],
    restoreMs: row.restore_ms === null ? null : Number(row.restore_ms),
    outcome: row.doc === null ? null : (JSON.parse(row.doc) as DrillOutcome),
    at: row.at,
    ageMs: Number(row.age_ms),
  }));
};
