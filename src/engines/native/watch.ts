import type { Position } from '../../domain/position.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { quoteTable } from '../../platform/postgres/quote.ts';
import { isTrue, textOf } from '../../platform/postgres/row.ts';
import type { NativeContext } from './context.ts';
import { applyFailed, changesMissing, diverged, subscriptionDisabled, subscriptionLost } from './halt.ts';
import { MISSING } from './marker.ts';
import { markerTable } from './names.ts';
import { assertReach } from './reach.ts';
import { assertSameSchemas } from './schemas.ts';

/** A subscription and the newest marker that has arrived. */
export interface Seen {
  readonly oid: string;
  readonly enabled: boolean;
  readonly pid: string | null;
  readonly position: Position | null;
  readonly marker: bigint;
}

/** What the server has counted of a subscription; which columns there are depends on its version. */
interface Counted {
  /** Null before 15, which counts nothing. */
  readonly errors: number | null;
  /** Rows that were passed over, in words; empty for none, and before 18. */
  readonly missed: string;
}

/** How often schemas, slot and counts are looked at; longer where the looks themselves take long. */
const LOOK_EVERY_MS = 1_000;
const LOOK_SHARE = 20;
/** This often a worker may fail at one place before a person has to look. */
const MAX_FAILURES = 3;
const REPORTED_WITHIN_MS = 1_000;

const WATCHED = (table: string): string => `
  SELECT s.oid::text AS oid, s.subenabled AS enabled,
         (SELECT min(v.pid)::text FROM pg_stat_subscription v WHERE v.subid = s.oid) AS pid,
         m.seq::text AS marker, ${MISSING} AS missing,
         pg_replication_origin_progress('pg_' || s.oid, true)::text AS position
    FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid LEFT JOIN ${table} m ON m.lane = $2
   WHERE d.datname = current_database() AND s.subname = $1`;

/**
 * Reads how far a subscription has come. The position is asked for after the statement's snapshot was taken and is flushed, so a
 * marker that is seen is on disk with everything before it, whatever the worker's synchronous_commit is. Kind `halted` when
 * somebody has dropped it, or markers are missing among those that have arrived.
 */
export const readSeen = async (sql: SqlExecutor, context: NativeContext): Promise<Seen> => {
  const { spec } = context;
  const table = quoteTable(markerTable(spec.publication, spec.direction));
  const [row] = (await sql.query(WATCHED(table), [spec.slot, spec.lane])).rows;
  if (row === undefined) throw subscriptionLost(context);
  if (row.missing != null) throw changesMissing(context, row.missing);
  return {
    oid: textOf(row, 'oid'),
    enabled: isTrue(row, 'enabled'),
    pid: row.pid ?? null,
    position: (row.position ?? null) as Position | null,
    marker: BigInt(row.marker ?? 0),
  };
};

/** Conflicts after which the server goes on without the row; all others end its worker. */
const SILENT = ['confl_update_missing', 'confl_delete_missing', 'confl_update_deleted'] as const;

const readCounted = async (sql: SqlExecutor, oid: string): Promise<Counted> => {
  const { rows } = await sql.query(`SELECT to_regclass('pg_catalog.pg_stat_subscription_stats')::text AS found`);
  if (rows[0]?.found == null) return { errors: null, missed: '' };
  const counted = await sql.query(
    'SELECT to_jsonb(c)::text AS counts FROM pg_stat_subscription_stats c WHERE c.subid = $1::oid',
    [oid],
  );
  const counts = JSON.parse(counted.rows[0]?.counts ?? '{}') as Readonly<Record<string, number | undefined>>;
  const missed = SILENT.filter((name) => (counts[name] ?? 0) > 0).map((name) => `${name.slice(6)}: ${counts[name]}`);
  return { errors: counts.apply_error_count ?? 0, missed: missed.join(', ') };
};

/** Milliseconds after which the server starts a worker again that has failed. */
const RETRY_INTERVAL = `SELECT setting FROM pg_settings WHERE name = 'wal_retrieve_retry_interval'`;

/** What a supervisor says of a subscription that it has looked at. */
export type Verdict =
  /** It works, or waits. */
  | 'good'
  /** Its worker has failed; it is worth being begun anew. */
  | 'failed';

/**
 * Looks after one subscription: whether it is as we left it, whether its worker lives, and whether what it carries is still what
 * was agreed on. Whatever a person has to see is thrown as kind `halted`.
 */
export class Supervisor {
  readonly #context: NativeContext;
  #lookAtMs = 0;
  /** Since when nothing has arrived, and which workers were seen since then. */
  #quietSinceMs = monotonicMs();
  readonly #pids = new Set<string>();
  #failures = 0;
  #failingAfterMs: number | null = null;

  constructor(context: NativeContext) {
    this.#context = context;
  }

  /** Judges what was seen; `moved` when something has arrived since the last time. */
  async judge(seen: Seen, moved: boolean): Promise<Verdict> {
    if (moved) {
      this.#quietSinceMs = monotonicMs();
      this.#pids.clear();
      this.#failures = 0;
    }
    if (seen.pid !== null) this.#pids.add(seen.pid);
    if (!seen.enabled) return await this.#ended(seen);
    if (monotonicMs() < this.#lookAtMs) return 'good';
    const begunMs = monotonicMs();
    await this.#look(seen);
    const tookMs = monotonicMs() - begunMs;
    this.#lookAtMs = monotonicMs() + Math.max(LOOK_EVERY_MS, LOOK_SHARE * tookMs);
    return 'good';
  }

  /** Looks at everything once more, for whoever stops while nothing has been said. */
  async #look(seen: Seen): Promise<void> {
    const { spec, stream, to } = this.#context;
    // Opening looks at the slot and does nothing else: whether it is there, intact, and not read beyond what was applied.
    await stream.openLane(spec, { kind: 'resume' });
    await assertSameSchemas(this.#context);
    const { missed } = await readCounted(to, seen.oid);
    if (missed !== '') throw diverged(this.#context, missed);
    if (!(await this.#isFailing(seen))) return;
    // Its worker may fail because the servers do not reach each other, while we reach both.
    await assertReach(this.#context);
    throw applyFailed(this.#context);
  }

  /** Disabled: by the server after an error (from 15 on), or by somebody. */
  async #ended(seen: Seen): Promise<Verdict> {
    await this.#look(seen);
    const errors = await this.#errors(seen.oid);
    // A connection to the other side that broke is an error as well, and passes: so it is tried again before anybody is asked.
    if (errors === null || errors === 0) throw subscriptionDisabled(this.#context);
    this.#failures += 1;
    if (this.#failures >= MAX_FAILURES) throw applyFailed(this.#context);
    return 'failed';
  }

  /** The worker reports its error on its way out, a moment after the subscription is seen to be disabled. */
  async #errors(oid: string): Promise<number | null> {
    const deadlineMs = monotonicMs() + REPORTED_WITHIN_MS;
    for (;;) {
      const { errors } = await readCounted(this.#context.to, oid);
      if (errors !== 0 || monotonicMs() > deadlineMs) return errors;
      await sleep(50);
    }
  }

  /**
   * Before 15 a worker that fails is started again and again, and what it fails at is in the log alone. It is recognised by
   * workers that come and go while markers are written and none arrives.
   */
  async #isFailing(seen: Seen): Promise<boolean> {
    if (this.#failingAfterMs === null) {
      const { rows } = await this.#context.to.query(RETRY_INTERVAL);
      this.#failingAfterMs = 2_000 + MAX_FAILURES * Number(rows[0]?.setting ?? 5_000);
    }
    if (monotonicMs() - this.#quietSinceMs < this.#failingAfterMs) return false;
    return seen.pid === null || this.#pids.size >= MAX_FAILURES;
  }
}
