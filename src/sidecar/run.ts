import type { Position, Side } from '../domain/position.ts';
import type { RouteProof } from '../domain/proof.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import type { RecordedRoute } from './switches.ts';
import { build, execute, fetch } from './tables.ts';

/** An end of a phase that has begun: it can only go on to its own end. */
export interface Ending {
  readonly command: 'abort' | 'finalise';
  readonly unfence: boolean;
}

/** Where a phase's readers are led, or are being led. */
export interface LedReaders {
  /** The move's scope in the journal. */
  readonly move: string;
  readonly to: Side;
  /** What the readers' routers said before, by router. */
  readonly routes: Readonly<Record<string, RecordedRoute>>;
  /** False from the intent until all of them lead there. */
  readonly isDone: boolean;
  /** Whether they were seen to arrive; empty before that was asked. */
  readonly proof: readonly RouteProof[];
}

/** What a restored source was made from. */
export interface RestoredFrom {
  /** Id of the snapshot. */
  readonly snapshot: string;
  /** What no other place is called: files that are copied carry the identity of the server that they were copied from. */
  readonly place: string;
  /** What the run's source was called when the snapshot was made: its own place, if that was restored as well, else its identity. */
  readonly of: string;
  /** When it was restored, by its own server's clock; ISO 8601. */
  readonly at: string;
  /** Whether the archive of changes was replayed into it. */
  readonly isReplayed: boolean;
  /** Where the replay was made to end, because what came later is not wanted; null when it was to bring all there is. */
  readonly until: Position | null;
}

/** Facts about the run as a whole that stages leave for each other. */
export interface RunFacts {
  /** On the source: what phases are being ended, by name; of meaning until the phase is aborted or finalised. */
  readonly ending?: Readonly<Record<string, Ending>>;
  /** The target's schema has been made (or was found) for all phases. */
  readonly schemaReady?: boolean;
  /** On the source: the tables of every phase that has been prepared, by display name. Others have no copy and no lane. */
  readonly tables?: Readonly<Record<string, readonly string[]>>;
  /** On the source: what the stages of a phase were thought to take when it was prepared, in milliseconds, by phase and stage. */
  readonly estimates?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** On the source: of phases whose readers have been moved, or are being, where they are led. */
  readonly readers?: Readonly<Record<string, LedReaders>>;
  /** On the source: a rebuild of the sidecars has begun and not ended; nothing else may act on the run. */
  readonly rebuilding?: boolean;
  /**
   * On the source: it was restored from a snapshot. What else its sidecar says is of the database that the snapshot was of, and
   * is believed by nobody until the run's identity is its own; see `stages/snapshots/adopt.ts`.
   */
  readonly restored?: RestoredFrom;
  /** On the target: the restored place that is the run's source, once one is; see {@link RestoredFrom.place}. */
  readonly sourcePlace?: string;
  /** On the target: what the run's source was called before, each time that a restored place was to be it. */
  readonly formerSources?: readonly string[];
}

/** Which run a database belongs to, and as which side. */
export interface RunRow {
  readonly id: string;
  readonly side: Side;
  readonly planName: string;
  readonly planHash: string;
  /** Canonical plan, uninterpolated, so without secrets. */
  readonly plan: unknown;
  /** This database's own identity, and the other one's. */
  readonly identity: string;
  readonly peer: string;
  readonly version: string;
  readonly createdAt: string;
  readonly facts: RunFacts;
}

/** Reads the run row, or null when this sidecar belongs to none. */
export const readRun = async (sql: SqlExecutor): Promise<RunRow | null> => {
  const [row] = await fetch(sql, build.selectFrom('run').selectAll());
  if (!row) return null;
  return {
    id: row.id,
    side: row.side === 'target' ? 'target' : 'source',
    planName: row.plan_name,
    planHash: row.plan_hash,
    plan: JSON.parse(row.plan) as unknown,
    identity: row.identity,
    peer: row.peer,
    version: row.version,
    createdAt: row.created_at,
    facts: JSON.parse(row.facts) as RunFacts,
  };
};

/** Makes a database part of a run. Does nothing when it is already. */
export const writeRun = async (sql: SqlExecutor, run: Omit<RunRow, 'createdAt' | 'facts'>): Promise<void> => {
  await execute(
    sql,
    build
      .insertInto('run')
      .values({
        id: run.id,
        side: run.side,
        plan_name: run.planName,
        plan_hash: run.planHash,
        plan: JSON.stringify(run.plan),
        identity: run.identity,
        peer: run.peer,
        version: run.version,
        facts: '{}',
      })
      .onConflict((conflict) => conflict.doNothing()),
  );
};

/** Pins another version of the plan. */
export const writePlan = async (
  sql: SqlExecutor,
  plan: { readonly hash: string; readonly canonical: unknown },
): Promise<void> => {
  await execute(sql, build.updateTable('run').set({ plan_hash: plan.hash, plan: JSON.stringify(plan.canonical) }));
};

/** Replaces the run's facts, whatever they were; see {@link changeFacts}. */
export const writeFacts = async (sql: SqlExecutor, facts: RunFacts): Promise<void> => {
  await execute(sql, build.updateTable('run').set({ facts: JSON.stringify(facts) }));
};

/**
 * Changes the run's facts. The row is locked before it is read: the lease lets several transactions of its holder in at once,
 * and the second of two would otherwise write over what the first has added.
 */
export const changeFacts = async (sql: SqlExecutor, change: (facts: RunFacts) => RunFacts): Promise<void> => {
  const [row] = await fetch(sql, build.selectFrom('run').select('facts').forUpdate());
  await writeFacts(sql, change(row ? (JSON.parse(row.facts) as RunFacts) : {}));
};

/** Stores on the source that the end of phases has begun, before anything of them is taken away. */
export const writeEnding = async (sql: SqlExecutor, phases: readonly string[], ending: Ending): Promise<void> => {
  const these = Object.fromEntries(phases.map((phase) => [phase, ending]));
  await changeFacts(sql, (facts) => ({ ...facts, ending: { ...facts.ending, ...these } }));
};

/** Where readers are led, by phase, as far as it is recorded. */
export const readReaders = async (sql: SqlExecutor): Promise<NonNullable<RunFacts['readers']>> =>
  (await readRun(sql))?.facts.readers ?? {};

/** Stores where readers of phases are led; null forgets it. The caller has asserted the lease. */
export const writeReaders = async (
  sql: SqlExecutor,
  changed: Readonly<Record<string, LedReaders | null>>,
): Promise<void> => {
  await changeFacts(sql, (facts) => {
    const all = Object.entries({ ...facts.readers, ...changed });
    return { ...facts, readers: Object.fromEntries(all.flatMap(([phase, led]) => (led ? [[phase, led]] : []))) };
  });
};

/**
 * Stores on the source which tables a phase is made of, and what its stages are thought to take where that is given. The
 * caller has asserted the lease.
 */
export const writePinned = async (
  sql: SqlExecutor,
  phase: string,
  { tables, estimate }: { readonly tables: readonly string[]; readonly estimate?: Readonly<Record<string, number>> },
): Promise<void> => {
  await changeFacts(sql, (facts) => ({
    ...facts,
    tables: { ...facts.tables, [phase]: tables },
    ...(estimate === undefined ? {} : { estimates: { ...facts.estimates, [phase]: estimate } }),
  }));
};
