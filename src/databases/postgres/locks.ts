import type pg from 'pg';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Blocker } from '../../domain/event.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import type { TableName } from '../../domain/table.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { quoteTable } from '../../platform/postgres/quote.ts';
import { onlyRow, textOf } from '../../platform/postgres/row.ts';
import { codeOf, type PostgresServer, runTransaction } from '../../platform/postgres/server.ts';
import type { FenceAct } from '../database.ts';
import {
  blockedError,
  cancelAutovacuum,
  endDeadlock,
  isOnlyAutovacuum,
  type LockMode,
  readBlockers,
  terminate,
} from './blockers.ts';

/** Everybody queues behind a lock that waits, so it may not wait longer than clients put up with. */
const ATTEMPT_MS = 200;
const MIN_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 200;
/**
 * How often an attempt is looked at for clients that wait for it while it waits for them. Nearly every transaction is over by
 * then that could be; and a client that uses several of the tables meets us between two of them so often that waiting for
 * the attempt's own end made the fence of 21 busy tables take half a second, or two.
 */
const DEADLOCK_LOOK_MS = 15;
/** What clients that were in such a circle need for going on. */
const DEADLOCK_BACKOFF_MS = 10;
/** An attempt shorter than this would only end by its own timeout and tell nobody in whose way we are. */
const SHORTEST_ATTEMPT_MS = 40;
/** Past deadlock_timeout the server needs a moment to end autovacuum and hand the lock over. */
const AUTOVACUUM_MARGIN_MS = 300;

const INSUFFICIENT_PRIVILEGE = '42501';
/** lock_not_available; query_canceled by our own statement_timeout; deadlock_detected. */
const NOT_NOW = new Set(['55P03', '57014', '40P01']);

/** A relation under its own oid, so that what we lock is what we asked the catalogue about. */
export interface Relation extends TableName {
  readonly oid: string;
}

/** What is done under the locks, by whom it may be held up, and what the error calls it. */
export interface LockedAct extends Pick<FenceAct, 'guard' | 'blockers' | 'budgetMs' | 'onBlocked' | 'signal'> {
  /** The side, and what is done to it, for messages: `source`, `the fence of the source`. */
  readonly label: string;
  readonly what: string;
  /** In the order in which they are locked. */
  readonly relations: readonly Relation[];
  readonly mode: LockMode;
  readonly work: (sql: SqlExecutor) => Promise<void>;
}

interface Attempt {
  readonly lockMs: number;
  /** Told who is in the way, halfway through the wait. */
  readonly onWait: () => Promise<void>;
  /** Called again and again while it waits. */
  readonly onLook: () => void;
}

/**
 * A whole act in one transaction: guard, locks, work. ONLY, because the order among partitions must be ours, not the
 * catalogue's. The statement as a whole is limited too: many tables, each waited for a little, would add up.
 */
const attempt = async (client: pg.Client, act: LockedAct, { lockMs, onWait, onLook }: Attempt): Promise<boolean> => {
  const timer = setTimeout(() => void onWait(), lockMs / 2);
  let looking: NodeJS.Timeout | undefined;
  try {
    await runTransaction(client, act.label, async (sql) => {
      await sql.query(`SET LOCAL lock_timeout = ${lockMs}`);
      await act.guard(sql);
      if (act.relations.length > 0) {
        await sql.query(`SET LOCAL statement_timeout = ${2 * lockMs + act.relations.length}`);
        const list = act.relations.map((relation) => `ONLY ${quoteTable(relation)}`).join(', ');
        looking = setInterval(onLook, DEADLOCK_LOOK_MS);
        await sql.query(`LOCK TABLE ${list} IN ${act.mode} MODE`);
        clearInterval(looking);
        await sql.query('SET LOCAL statement_timeout = 0');
      }
      await act.work(sql);
    });
    return true;
  } catch (error) {
    if (NOT_NOW.has(codeOf(error))) return false;
    throw error;
  } finally {
    clearTimeout(timer);
    clearInterval(looking);
  }
};

/** Attempts one after the other until one succeeds, the budget is spent or the signal is aborted. */
class LockLoop {
  readonly #act: LockedAct;
  readonly #client: pg.Client;
  readonly #monitor: pg.Client;
  readonly #begunMs = monotonicMs();
  #pid = '';
  #deadlockMs = 0;
  /** Seen by the current attempt, and by the last one that saw anybody. */
  #blockers: readonly Blocker[] = [];
  #lastBlockers: readonly Blocker[] = [];
  #refusals: readonly string[] = [];
  #looking: Promise<void> = Promise.resolve();
  /** The current attempt was ended because a client waited for it. */
  #isKnotted = false;
  #isLookingForKnot = false;

  constructor(act: LockedAct, sessions: LockSessions) {
    this.#act = act;
    this.#client = sessions.client;
    this.#monitor = sessions.monitor;
  }

  async run(): Promise<void> {
    await this.#readSession();
    let lockMs = ATTEMPT_MS;
    for (;;) {
      this.#act.signal.throwIfAborted();
      if (this.#leftMs() < SHORTEST_ATTEMPT_MS) throw this.#spent(this.#act.budgetMs);
      this.#blockers = [];
      this.#isKnotted = false;
      const done = await attempt(this.#client, this.#act, {
        lockMs: Math.min(lockMs, this.#leftMs()),
        onWait: () => this.#look(),
        onLook: () => void this.#endDeadlock(),
      });
      if (done) return;
      await this.#looking;
      if (this.#blockers.length > 0) this.#act.onBlocked(this.#blockers);
      lockMs = await this.#clearTheWay(lockMs);
      const longer = MIN_BACKOFF_MS + Math.random() * (MAX_BACKOFF_MS - MIN_BACKOFF_MS);
      const backoff = this.#isKnotted ? DEADLOCK_BACKOFF_MS : longer;
      await sleep(Math.max(0, Math.min(backoff, this.#leftMs())), this.#act.signal);
    }
  }

  #leftMs(): number {
    return Math.floor(this.#act.budgetMs - (monotonicMs() - this.#begunMs));
  }

  #spent(withinMs: number): SwitchbackError {
    const what = `${this.#act.what} could not have its locks within ${withinMs} ms`;
    return blockedError(what, this.#lastBlockers, this.#refusals);
  }

  async #readSession(): Promise<void> {
    const { rows } = await this.#client.query(
      `SELECT pg_backend_pid() AS pid, (SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout') AS deadlock_ms`,
    );
    const row = onlyRow({ rows, rowCount: rows.length });
    this.#pid = textOf(row, 'pid');
    this.#deadlockMs = Number(textOf(row, 'deadlock_ms'));
  }

  /** Looking must not end the act: what it could not see is missing from the message, no more. */
  #look(): Promise<void> {
    const relations = this.#act.relations.map((relation) => relation.oid);
    this.#looking = readBlockers(this.#monitor, { pid: this.#pid, relations, mode: this.#act.mode }).then(
      (blockers) => {
        this.#blockers = blockers;
        if (blockers.length > 0) this.#lastBlockers = blockers;
      },
      () => undefined,
    );
    return this.#looking;
  }

  /**
   * Lets a client go on that waits for the attempt while the attempt waits for it. Only as long as clients are waited for at
   * all: afterwards they are named and dealt with as the plan says, which takes an attempt of full length.
   */
  async #endDeadlock(): Promise<void> {
    if (this.#isLookingForKnot || this.#isKnotted) return;
    if (monotonicMs() - this.#begunMs >= this.#act.blockers.waitMs) return;
    this.#isLookingForKnot = true;
    try {
      this.#isKnotted = await endDeadlock(this.#monitor, this.#pid);
    } catch {
      // The attempt ends by itself, only later.
    } finally {
      this.#isLookingForKnot = false;
    }
  }

  /** Does what the policy says about those in the way; answers how long the next attempt may wait for a lock. */
  async #clearTheWay(lastMs: number): Promise<number> {
    if (isOnlyAutovacuum(this.#blockers)) {
      const cancelled = await cancelAutovacuum(this.#monitor, this.#blockers);
      // A long attempt that failed met the kind that the server does not cancel: no more stalls for nothing.
      return cancelled || lastMs > ATTEMPT_MS ? ATTEMPT_MS : this.#deadlockMs + AUTOVACUUM_MARGIN_MS;
    }
    const { waitMs, action } = this.#act.blockers;
    if (monotonicMs() - this.#begunMs < waitMs) return ATTEMPT_MS;
    if (action === 'terminate') this.#refusals = await terminate(this.#monitor, this.#blockers);
    // Clients wait at every further attempt. Whoever came and went is no reason to give up: the next attempt may get through.
    else if (this.#blockers.length > 0) throw this.#spent(waitMs);
    return ATTEMPT_MS;
  }
}

/** Each statement is an attempt of some hundred milliseconds, or quick. */
const SILENT_MS = 20_000;

/** The session that has the locks, and one that sees who is in their way. */
export interface LockSessions {
  readonly client: pg.Client;
  readonly monitor: pg.Client;
}

const connectBoth = async (server: PostgresServer): Promise<LockSessions> => {
  // At the same time: this is inside the window.
  const [client, monitor] = await Promise.allSettled([
    server.connect('lock', { silentMs: SILENT_MS }),
    server.connect('blockers', { silentMs: SILENT_MS }),
  ]);
  if (client.status === 'fulfilled' && monitor.status === 'fulfilled') {
    return { client: client.value, monitor: monitor.value };
  }
  for (const session of [client, monitor]) {
    if (session.status === 'fulfilled') await session.value.end().catch(() => undefined);
  }
  throw client.status === 'rejected' ? client.reason : monitor.status === 'rejected' ? monitor.reason : undefined;
};

/**
 * Opens the sessions of an act while `use` looks up what the act needs: one after the other, clients would wait for both. They
 * are ended afterwards, and nobody waits for their goodbyes.
 */
export const whileOpening = async <T>(
  server: PostgresServer,
  use: (opening: Promise<LockSessions>) => Promise<T>,
): Promise<T> => {
  const opening = connectBoth(server);
  // Whoever uses it hears why.
  opening.catch(() => undefined);
  try {
    return await use(opening);
  } finally {
    opening.then(endBoth, () => undefined);
  }
};

const endBoth = ({ client, monitor }: LockSessions): void => {
  for (const session of [client, monitor]) session.end().catch(() => undefined);
};

const explain = (server: PostgresServer, error: unknown): unknown => {
  if (error instanceof SwitchbackError || codeOf(error) !== INSUFFICIENT_PRIVILEGE) return server.wrap(error);
  return new SwitchbackError('refused', `no right to the fence of tables on the ${server.label}: ${messageOf(error)}`, {
    remedy:
      'our role must own the tables, or be a member of the role that does: GRANT <owner> TO <our role>; then give the command again, or go on with what has begun: switchback resume PLAN',
    cause: error,
  });
};

/**
 * Runs an act under table locks. Short attempts with pauses in between let clients through while somebody is in the way.
 * Throws kind `aborted` when the budget is spent, `refused`
 * without ownership, `deposed` from the guard, the signal's reason when it is aborted; nothing is changed then.
 */
export const withLocks = async (
  server: PostgresServer,
  act: LockedAct,
  opening: Promise<LockSessions>,
): Promise<void> => {
  act.signal.throwIfAborted();
  const sessions = await opening;
  try {
    await new LockLoop(act, sessions).run();
  } catch (error) {
    throw explain(server, error);
  }
};
