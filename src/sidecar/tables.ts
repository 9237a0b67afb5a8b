import type { Compilable, Generated } from 'kysely';
import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from 'kysely';
import { messageOf, SwitchbackError } from '../domain/errors.ts';
import type { SqlExecutor, SqlResult } from '../domain/sql.ts';

/** The schema that holds everything of ours in each database. */
export const SIDECAR_SCHEMA = 'switchback';

/** Version of the tables below; a sidecar made by a newer one is refused (fault 10). */
export const SIDECAR_VERSION = '4';

/**
 * The sidecar's tables, the same on both sides. Every value is text for us, as everywhere (`bigint` columns too); a
 * `doc` column holds JSON of our own making, never a user's value that could be changed by parsing.
 */
export interface SidecarTables {
  /** One row: which run this database belongs to, as which side. Its commit on both sides is the start of the run. */
  run: {
    id: string;
    side: string;
    plan_name: string;
    plan_hash: string;
    plan: string;
    identity: string;
    peer: string;
    version: string;
    created_at: Generated<string>;
    /** JSON: facts about the run as a whole, such as whether the target's schema has been made. */
    facts: string;
  };
  /** Source only, one row: the worker that may act, and the epoch. */
  lease: { run: string; holder: string; host: string; session: string; epoch: string; heartbeat_at: Generated<string> };
  /** Both sides: who may write a phase's tables here. */
  ownership: { phase: string; epoch: string; role: string; fenced: string; since: Generated<string>; by: string };
  /** Source: the durable state of each phase, and why it cannot go on by itself if it cannot. */
  phase: { name: string; ordinal: string; doc: string; stuck: string | null; updated_at: Generated<string> };
  /** Source: intent and outcome of every step, and every command with who asked, in order and chained by hash. */
  journal: {
    /** Without gaps. */
    id: string;
    at: Generated<string>;
    epoch: string;
    scope: string;
    phases: string;
    step: string;
    status: string;
    detail: string | null;
    ms: string | null;
    previous: string;
    hash: string;
  };
  /** Target: ends of the journal's chain as they were when the status was mirrored, so that a cut tail is noticed. */
  chain_end: { entry: string; hash: string; at: Generated<string> };
  /** Source: what a switch recorded before its effects (router versions, positions, slots). */
  switch: { id: string; direction: string; phases: string; epoch: string; doc: string; at: Generated<string> };
  /** Source: the commit record. The primary key makes two outcomes of one switch impossible (S11). */
  outcome: { switch_id: string; outcome: string; epoch: string; at: Generated<string> };
  /** Source: each lane's slot and publication, and why it is halted if it is. */
  lane: { name: string; phase: string; direction: string; slot: string; publication: string; halt: string | null };
  /** The side a lane writes to. */
  progress: {
    lane: string;
    position: string;
    strict_from: string | null;
    marker: string;
    epoch: string;
    updated_at: Generated<string>;
  };
  chunk: {
    id: Generated<string>;
    lane: string;
    tbl: string;
    after: string | null;
    up_to: string | null;
    rows: string;
    bytes: string;
  };
  /** The side a lane reads from; in its publication. */
  marker: { lane: string; seq: string; at: Generated<string> };
  /** Source: what verification found, whole. */
  certificate: { id: string; phase: string; at: Generated<string>; doc: string };
  /** Source: commands waiting for the worker. */
  request: {
    token: string;
    /** In the order in which they came. */
    id: Generated<string>;
    command: string;
    args: string;
    state: string;
    result: string | null;
    by: string;
    at: Generated<string>;
  };
  /** Source: lag over time, for the report. */
  lag: { id: Generated<string>; lane: string; at: Generated<string>; ms: string; changes: string };
  /** Target: what the status was when it was last known, for when the source is down. */
  mirror: { key: string; doc: string; at: Generated<string> };
  /** Target: definitions of indexes and constraints that were dropped for the copy, and how far they are back. */
  deferred: { phase: string; ordinal: string; doc: string; built: string };
  /** Target: objects that we created, for abort. */
  created: { ordinal: string; doc: string };
  /** Source, and copied to the target: snapshots of the source that were asked for. Its row is committed before one begins. */
  snapshot: {
    id: string;
    reason: string;
    by: string;
    state: string;
    /** Why it failed, or null. */
    detail: string | null;
    /** When its state was that of the source, or null. */
    taken_at: string | null;
    at: Generated<string>;
  };
  /** Source, and copied to the target: rehearsals of a restore. */
  drill: {
    id: string;
    snapshot: string;
    by: string;
    /** Where the scratch place was asked for, without passwords; null where the store chose. */
    place: string | null;
    state: string;
    /** What restoring took; null before that, and where it was interrupted. */
    restore_ms: string | null;
    /** JSON: what was looked at and what was wrong; null before that. */
    doc: string | null;
    at: Generated<string>;
    updated_at: Generated<string>;
  };
}

/** Builds the sidecar's statements. It never runs one: statements run where the caller's transaction is. */
export const build = new Kysely<SidecarTables>({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  },
}).withSchema(SIDECAR_SCHEMA);

/** The server's SQLSTATE of anything that a driver threw; empty when there is none. */
export const sqlStateOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : '';

/** Undefined table, column, schema: something of the sidecar has been dropped under us. */
const GONE = new Set(['42P01', '42703', '3F000']);

/** Runs a built statement in the caller's session or transaction. Throws kind `refused` when its table is not there. */
export const execute = async (sql: SqlExecutor, statement: Compilable): Promise<SqlResult> => {
  const { sql: text, parameters } = statement.compile();
  try {
    return await sql.query(
      text,
      parameters.map((p) => (p === null || p === undefined ? null : String(p))),
    );
  } catch (error) {
    if (!GONE.has(sqlStateOf(error))) throw error;
    throw new SwitchbackError('refused', `the sidecar is damaged: ${messageOf(error)}`, {
      remedy: 'see what is left, then rebuild it: switchback resume PLAN --rebuild',
      cause: error,
    });
  }
};

/** Runs a built query and gives its rows in the query's own type; every column that the query selects is text or null. */
export const fetch = async <Row>(sql: SqlExecutor, statement: Compilable<Row>): Promise<readonly Row[]> =>
  (await execute(sql, statement)).rows as readonly Row[];
