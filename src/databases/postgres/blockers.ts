import type pg from 'pg';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Blocker } from '../../domain/event.ts';
import type { TextRow } from '../../domain/sql.ts';
import { isTrue, textOf } from '../../platform/postgres/row.ts';

/** Sessions of ours begin their application_name with this; they are named as blockers but never ended. */
const OURS = 'switchback';

/** A writer that began after our attempt cannot hold it up; one this old has been there since before. */
const PASSING_SECONDS = 0.1;

/**
 * Who keeps session $1 from the locks on relations $2 that it wants, $3 being the modes that do not conflict with them: those the lock manager names for
 * the lock it waits for now, those that hold a conflicting lock on a table it has not reached yet, and prepared
 * transactions, which have no session (pg_blocking_pids calls each of them pid 0). Without pg_read_all_stats we are not told
 * a session's kind; one that holds a table's lock and belongs to nobody can only be autovacuum.
 */
const BLOCKERS = `
  WITH holders AS (
    SELECT DISTINCT l.pid FROM pg_locks l
    WHERE l.locktype = 'relation' AND l.relation = ANY($2::oid[]) AND l.granted AND l.pid <> $1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.mode <> ALL($3::text[])),
  named AS (SELECT unnest(pg_blocking_pids($1)) AS pid)
  SELECT a.pid, a.usename AS "user", a.application_name AS application, a.query,
         coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0) AS seconds,
         coalesce(a.backend_type = 'autovacuum worker', a.usesysid IS NULL) AS autovacuum
  FROM pg_stat_activity a
  WHERE a.pid IN (SELECT pid FROM named)
     OR (a.pid IN (SELECT pid FROM holders)
         AND coalesce(clock_timestamp() - a.xact_start > interval '${PASSING_SECONDS} s', true))
  UNION ALL
  SELECT 0, p.owner, 'prepared transaction', format('ROLLBACK PREPARED %L', p.gid),
         extract(epoch FROM clock_timestamp() - p.prepared), false
  FROM pg_prepared_xacts p
  WHERE p.database = current_database()
    AND EXISTS (SELECT FROM pg_locks l JOIN pg_locks x USING (virtualtransaction)
                WHERE l.locktype = 'relation' AND l.relation = ANY($2::oid[]) AND l.pid IS NULL
                  AND l.mode <> ALL($3::text[])
                  AND x.locktype = 'transactionid' AND x.transactionid = p.transaction)
  ORDER BY seconds DESC`;

const blockerOf = (row: TextRow): Blocker => ({
  pid: Number(textOf(row, 'pid')),
  user: row.user ?? '',
  application: row.application ?? '',
  query: (row.query ?? '').replace(/\s+/g, ' ').trim().slice(0, 300),
  seconds: Math.round(Number(textOf(row, 'seconds')) * 10) / 10,
  autovacuum: isTrue(row, 'autovacuum'),
});

/** A lock on whole tables, and the modes that it lets others keep. */
export const LOCK_MODES = {
  /** Writers and schema changes conflict; readers and row locks do not. */
  'SHARE ROW EXCLUSIVE': ['AccessShareLock', 'RowShareLock'],
  'ACCESS EXCLUSIVE': [],
} as const satisfies Record<string, readonly string[]>;

/** The name of a row of {@link LOCK_MODES}. */
export type LockMode = keyof typeof LOCK_MODES;

/** Who waits: its session, the oids of the relations that it wants, and how it wants them. */
export interface Waiting {
  readonly pid: string;
  readonly relations: readonly string[];
  readonly mode: LockMode;
}

/** Reads who is in the way of a session, over another one; the oldest first. */
export const readBlockers = async (monitor: pg.ClientBase, waiting: Waiting): Promise<readonly Blocker[]> => {
  const { rows } = await monitor.query<TextRow>(BLOCKERS, [waiting.pid, waiting.relations, LOCK_MODES[waiting.mode]]);
  return rows.map(blockerOf);
};

/** How many sessions a circle of waiting sessions may have besides ours; longer ones are left to the attempt's timeout. */
const CIRCLE = 3;

const WAITS_FOR_ITSELF = `
  WITH RECURSIVE waits AS (
    SELECT unnest(pg_blocking_pids($1::int)) AS pid, 1 AS depth
    UNION
    SELECT unnest(pg_blocking_pids(pid)), depth + 1 FROM waits WHERE pid NOT IN (0, $1::int) AND depth <= ${CIRCLE})
  SELECT pg_cancel_backend($1::int) AS cancelled WHERE EXISTS (SELECT FROM waits WHERE pid = $1::int)`;

/**
 * Ends what a session of ours waits for, if that waits for our session in turn: a deadlock. The server would see it after its
 * deadlock_timeout only, which no one but a superuser may shorten. Looked at and ended by one statement: a circle stands until
 * one of it gives up, so a session that has its locks by now is not hit. Answers whether there was one.
 */
export const endDeadlock = async (monitor: pg.ClientBase, pid: string): Promise<boolean> =>
  (await monitor.query(WAITS_FOR_ITSELF, [pid])).rows.length > 0;

/** Whether nobody but autovacuum is in the way, and none of it is the kind that prevents wraparound. */
export const isOnlyAutovacuum = (blockers: readonly Blocker[]): boolean =>
  blockers.length > 0 && blockers.every((b) => b.autovacuum && !b.query.includes('to prevent wraparound'));

const signalOne = async (monitor: pg.ClientBase, call: string, blocker: Blocker): Promise<string | null> => {
  try {
    await monitor.query(`SELECT ${call}($1)`, [blocker.pid]);
    return null;
  } catch (error) {
    return `pid ${blocker.pid} could not be ended: ${messageOf(error)}`;
  }
};

const signalAll = async (monitor: pg.ClientBase, call: string, blockers: readonly Blocker[]) => {
  const refusals: string[] = [];
  for (const blocker of blockers) {
    const refusal = await signalOne(monitor, call, blocker);
    if (refusal !== null) refusals.push(refusal);
  }
  return refusals;
};

/** Ends the sessions that may be ended: not ours, no prepared transaction. Answers why each other one could not be. */
export const terminate = async (monitor: pg.ClientBase, blockers: readonly Blocker[]): Promise<readonly string[]> =>
  await signalAll(
    monitor,
    'pg_terminate_backend',
    blockers.filter((b) => b.pid !== 0 && !b.application.startsWith(OURS)),
  );

/**
 * Does at once what the server would do for us after its deadlock_timeout: makes autovacuum leave the table, to come back
 * later. Needs superuser before 18 (pg_signal_autovacuum_worker from then on); false when we may not.
 */
export const cancelAutovacuum = async (monitor: pg.ClientBase, blockers: readonly Blocker[]): Promise<boolean> =>
  (await signalAll(monitor, 'pg_cancel_backend', blockers)).length === 0;

/** One blocker for people: what to look for, how old it is and what it did last. */
export const describeBlocker = (blocker: Blocker): string => {
  const who = blocker.pid === 0 ? 'a prepared transaction' : `pid ${blocker.pid}`;
  const application = blocker.application === '' || blocker.pid === 0 ? '' : ` (${blocker.application})`;
  return `${who} of "${blocker.user}"${application}, in its transaction for ${blocker.seconds} s: ${blocker.query}`;
};

/** The error for a budget that was spent: kind `aborted`, naming everybody who was in the way at the end. */
export const blockedError = (what: string, blockers: readonly Blocker[], refusals: readonly string[]) => {
  const who =
    blockers.length === 0 ? 'by sessions that came and went' : `by ${blockers.map(describeBlocker).join('; ')}`;
  const pids = blockers.filter((b) => b.pid !== 0).map((b) => `SELECT pg_terminate_backend(${b.pid});`);
  const prepared = blockers.filter((b) => b.pid === 0).map((b) => `${b.query};`);
  const remedy = [...pids, ...prepared].join(' ');
  return new SwitchbackError('aborted', [`${what}; blocked ${who}`, ...refusals].join('; '), {
    remedy: remedy === '' ? 'try again when fewer long transactions run' : `wait for it to end, or end it: ${remedy}`,
  });
};
