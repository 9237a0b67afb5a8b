import type { Blocker } from '../../domain/event.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { onlyRow, textOf } from '../../platform/postgres/row.ts';

const FIRST_POLL_MS = 20;
const LAST_POLL_MS = 1_000;
const NAME_AFTER_MS = 2_000;

// Prepared transactions have no session; they show up with pid 0 and their name as the query.
const OLDER_TRANSACTIONS = `
  SELECT pid::text, coalesce(usename, '') AS "user", coalesce(application_name, '') AS application,
         coalesce(query, '') AS query, backend_type = 'autovacuum worker' AS autovacuum,
         round(extract(epoch FROM clock_timestamp() - xact_start))::text AS seconds
    FROM pg_stat_activity
   WHERE backend_xid IS NOT NULL AND age(backend_xid) > age($1::text::xid)
  UNION ALL
  SELECT '0', owner, '', 'prepared transaction ' || gid, false,
         round(extract(epoch FROM clock_timestamp() - prepared))::text
    FROM pg_prepared_xacts
   WHERE age(transaction) > age($1::text::xid)`;

/** What the wait needs; see {@link waitUntilVisible}. */
export interface VisibilityWait {
  readonly sql: SqlExecutor;
  readonly signal: AbortSignal;
  /** Told now and then once the wait takes longer than two seconds. */
  readonly onBlocked: (blockers: readonly Blocker[]) => void;
}

/**
 * Waits until every transaction that has begun by now can be seen by new snapshots. A commit is in the log before it is
 * visible (a standby may be waited for), so a snapshot that is taken right after a slot was made can miss a transaction that
 * the slot's stream will not bring either: its commit record lies before the slot's start (notes: "Visibility is not WAL
 * order"). Rejects with the signal's reason.
 *
 * The horizon is a transaction id taken for the purpose. A snapshot's xmax would not do: it is one past the newest
 * transaction that has completed, so that one which is running, or committed and not visible yet, can be beyond it.
 */
export const waitUntilVisible = async (wait: VisibilityWait): Promise<void> => {
  const horizon = await readXid(wait.sql, 'pg_current_xact_id()');
  const startedMs = monotonicMs();
  for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(pollMs * 2, LAST_POLL_MS)) {
    wait.signal.throwIfAborted();
    if ((await readXid(wait.sql, 'pg_snapshot_xmin(pg_current_snapshot())')) >= horizon) return;
    if (monotonicMs() - startedMs >= NAME_AFTER_MS) wait.onBlocked(await olderThan(wait.sql, horizon));
    await sleep(pollMs, wait.signal);
  }
};

const readXid = async (sql: SqlExecutor, expression: string): Promise<bigint> => {
  const row = onlyRow(await sql.query(`SELECT ${expression}::text AS xid`));
  return BigInt(textOf(row, 'xid'));
};

const olderThan = async (sql: SqlExecutor, horizon: bigint): Promise<readonly Blocker[]> => {
  // An xid8 counts epochs too; pg_stat_activity shows the lower 32 bits, compared by age.
  const { rows } = await sql.query(OLDER_TRANSACTIONS, [(horizon & 0xffffffffn).toString()]);
  return rows.map((row) => ({
    pid: Number(row.pid),
    user: row.user ?? '',
    application: row.application ?? '',
    query: row.query ?? '',
    seconds: Number(row.seconds ?? '0'),
    autovacuum: row.autovacuum === 't',
  }));
};
