import { sql as raw } from 'kysely';
import { deposedError, type SwitchbackError } from '../domain/errors.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { build, execute, fetch } from './tables.ts';

/** The worker that may act on a run, as the source knows it. */
export interface Lease {
  readonly holder: string;
  readonly host: string;
  /** The holder's own session on the source, as text that only the platform can look up. */
  readonly session: string;
  readonly epoch: bigint;
  /** When it was written last, by the source's clock, as the server's text: another heartbeat has another one. */
  readonly heartbeatAt: string;
  /** Seconds since then by the source's clock, which may have been set meanwhile: no time that has passed. */
  readonly ageSeconds: number;
}

/** Time between two heartbeats of a worker, in milliseconds. */
export const HEARTBEAT_MS = 2_000;

/**
 * A lease without a heartbeat for this long may be taken even if its holder's session still seems to be there (half-open
 * TCP). Safety does not depend on the number: a deposed holder is refused by its epoch (S7).
 */
export const LEASE_EXPIRES_AFTER_SECONDS = 15;

/** The transaction's time to the microsecond, ISO 8601 UTC. */
const NOW_TEXT = raw<string>`to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/**
 * The epoch that a run begins with: the source's own count of transactions, which never goes back. Every raise of an epoch
 * takes a transaction, so this one is above all epochs of earlier runs on the database, and a worker that slept while one of
 * those ended is refused by this run's sides as any deposed worker is (S7).
 */
const FIRST_EPOCH = raw<string>`pg_current_xact_id()::text::bigint`;

/** Reads the lease, or null when nobody has ever held it. */
export const readLease = async (sql: SqlExecutor): Promise<Lease | null> => {
  const [row] = await fetch(
    sql,
    build
      .selectFrom('lease')
      .select(['holder', 'host', 'session', 'epoch', 'heartbeat_at'])
      .select(raw<string>`extract(epoch from now() - heartbeat_at)`.as('age')),
  );
  if (!row) return null;
  return {
    holder: row.holder,
    host: row.host,
    session: row.session,
    epoch: BigInt(row.epoch),
    heartbeatAt: row.heartbeat_at,
    ageSeconds: Number(row.age),
  };
};

/** Who asks for the lease. An empty holder in the stored row means that it was released. */
export interface Claim {
  readonly run: string;
  readonly holder: string;
  readonly host: string;
  readonly session: string;
  /** The epoch of the lease that the caller looked at and judged to be free; null when there was none. */
  readonly over: bigint | null;
}

/**
 * Takes the lease with the next epoch, or a run's first one, if it is still the one that the caller judged to be free. Returns
 * the new epoch, or null when somebody else was quicker.
 */
export const takeLease = async (sql: SqlExecutor, claim: Claim): Promise<bigint | null> => {
  const values = { holder: claim.holder, host: claim.host, session: claim.session };
  const statement =
    claim.over === null
      ? build
          .insertInto('lease')
          .values({ run: claim.run, ...values, epoch: FIRST_EPOCH, heartbeat_at: raw<string>`now()` })
          .onConflict((conflict) => conflict.doNothing())
          .returning('epoch')
      : build
          .updateTable('lease')
          .set({ ...values, epoch: raw<string>`epoch + 1`, heartbeat_at: raw<string>`now()` })
          .where('epoch', '=', String(claim.over))
          .returning('epoch');
  const [row] = await fetch(sql, statement);
  return row ? BigInt(row.epoch) : null;
};

/**
 * Puts the lease at an epoch, held by nobody, whatever is left of it: for a rebuild, which has to be above every epoch that
 * anybody may still act under. Returns whether it was still the lease that the caller looked at (null: there was none).
 */
export const restoreLease = async (
  sql: SqlExecutor,
  lease: { readonly run: string; readonly epoch: bigint; readonly over: bigint | null },
): Promise<boolean> => {
  const values = { run: lease.run, holder: '', host: '', session: '', epoch: String(lease.epoch) };
  const { rowCount } = await execute(
    sql,
    lease.over === null
      ? build
          .insertInto('lease')
          .values(values)
          .onConflict((conflict) => conflict.doNothing())
      : build.updateTable('lease').set(values).where('epoch', '=', String(lease.over)),
  );
  return rowCount === 1;
};

const deposed = (epoch: bigint): SwitchbackError => deposedError(`epoch ${epoch} is no longer the newest`);

/** Says that the holder is alive, in this session. Throws kind `deposed` when the epoch is no longer ours. */
export const heartbeat = async (
  sql: SqlExecutor,
  { epoch, session }: { readonly epoch: bigint; readonly session: string },
): Promise<void> => {
  const { rowCount } = await execute(
    sql,
    build.updateTable('lease').set({ session, heartbeat_at: raw<string>`now()` }).where('epoch', '=', String(epoch)),
  );
  if (rowCount === 0) throw deposed(epoch);
};

/** Raises the epoch of a lease that is ours, as every switch does. Throws kind `deposed`. */
export const raiseEpoch = async (sql: SqlExecutor, epoch: bigint): Promise<bigint> => {
  const [row] = await fetch(
    sql,
    build
      .updateTable('lease')
      .set({ epoch: raw<string>`epoch + 1`, heartbeat_at: raw<string>`now()` })
      .where('epoch', '=', String(epoch))
      .returning('epoch'),
  );
  if (!row) throw deposed(epoch);
  return BigInt(row.epoch);
};

/** Gives the lease back, so that the next command need not wait. Does nothing when it is no longer ours. */
export const releaseLease = async (sql: SqlExecutor, epoch: bigint): Promise<void> => {
  await execute(sql, build.updateTable('lease').set({ holder: '', session: '' }).where('epoch', '=', String(epoch)));
};

/**
 * Asserts within the caller's transaction that the lease is ours, and keeps it so until that transaction ends: a take-over
 * has to wait for it. FOR SHARE, because a weaker lock would let the epoch rise between this check and the act (S7).
 * Returns the server's `now()`, as the journal writes it.
 */
export const assertLease = async (sql: SqlExecutor, epoch: bigint): Promise<string> => {
  const [row] = await fetch(
    sql,
    build.selectFrom('lease').select(NOW_TEXT.as('now')).where('epoch', '=', String(epoch)).forShare(),
  );
  if (row === undefined) throw deposed(epoch);
  return row.now;
};
