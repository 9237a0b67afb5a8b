import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { SqlExecutor, SqlSide } from '../../domain/sql.ts';
import { sleep } from '../../platform/clock.ts';

const ASK_AGAIN_MS = 1_000;
/** Often enough that a session which nobody needs for hours is not taken for dead by what is between us and the server. */
const LOOK_MS = 5_000;

/** What is done by one process at a time. */
export interface Turn {
  /** Names the work; the same text on the same database is the same lock. */
  readonly name: string;
  readonly signal: AbortSignal;
  /** Called once when somebody else is at it; returns whether to wait for them. */
  readonly onTaken: () => boolean | Promise<boolean>;
}

/**
 * Does work while no other process of ours does work of the same name. The lock is one of a transaction that does nothing else:
 * it goes with its session, so that one that is held says "under way" and one that is free says "done or died". Such a
 * transaction holds up nobody: it has no id and no snapshot. Returns null without having worked when somebody else is at it and is
 * not to be waited for. When the session is lost the work's signal is aborted, since somebody else may begin then.
 */
export const alone = async <T>(
  sql: SqlSide,
  turn: Turn,
  work: (signal: AbortSignal, hasWaited: boolean) => Promise<T>,
): Promise<T | null> => {
  let done: { readonly result: T } | null = null;
  try {
    return await sql.transaction(async (lock) => {
      const hasWaited = await take(lock, turn);
      if (hasWaited === null) return null;
      done = { result: await watched(lock, turn.signal, (signal) => work(signal, hasWaited)) };
      return done.result;
    });
  } catch (error) {
    // Nothing was written in it, so that nothing is in doubt when its end is.
    const finished = done as { readonly result: T } | null;
    if (finished !== null && (isKind(error, 'unknown') || isKind(error, 'unreachable'))) return finished.result;
    throw error;
  }
};

/** Whether it had to be waited for; null when it is not to be. */
const take = async (lock: SqlExecutor, { name, signal, onTaken }: Turn): Promise<boolean | null> => {
  let hasWaited = false;
  while (!(await isFree(lock, name))) {
    if (!hasWaited && !(await onTaken())) return null;
    hasWaited = true;
    await sleep(ASK_AGAIN_MS, signal);
  }
  return hasWaited;
};

const isFree = async (lock: SqlExecutor, name: string): Promise<boolean> => {
  const { rows } = await lock.query(
    `SELECT pg_try_advisory_xact_lock(hashtextextended('switchback ' || $1, 0)) AS free`,
    [name],
  );
  return rows[0]?.free === 't';
};

const watched = async <T>(
  lock: SqlExecutor,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> => {
  const lost = new AbortController();
  const over = new AbortController();
  const watching = watch(lock, { lost, over: over.signal });
  try {
    return await work(AbortSignal.any([signal, lost.signal]));
  } catch (error) {
    throw lost.signal.aborted ? lost.signal.reason : error;
  } finally {
    over.abort();
    await watching;
  }
};

const watch = async (
  lock: SqlExecutor,
  { lost, over }: { readonly lost: AbortController; readonly over: AbortSignal },
): Promise<void> => {
  while (!over.aborted) {
    await sleep(LOOK_MS, over).catch(() => undefined);
    if (over.aborted) return;
    try {
      await lock.query('SELECT 1');
    } catch (error) {
      const text = `the session that kept others from doing the same was lost: ${messageOf(error)}`;
      lost.abort(
        new SwitchbackError('unreachable', text, {
          remedy: 'when the database answers again, give the command again: it goes on with what was begun',
          cause: error,
        }),
      );
      return;
    }
  }
};
