import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import type { Guard, SqlExecutor } from '../../domain/sql.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { quoteName, quoteText } from '../../platform/postgres/quote.ts';
import { isTrue, onlyRow, textOf } from '../../platform/postgres/row.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { LaneProgress, LaneStore } from '../engine.ts';
import type { NativeContext } from './context.ts';
import { remember } from './remembered.ts';
import { confirmedBy, freeSlot, latest } from './slot.ts';

/** A subscription as its server shows it. It bears the name of its slot. */
export interface Subscription {
  readonly oid: string;
  readonly enabled: boolean;
  /** Of its worker; null while there is none. */
  readonly pid: string | null;
  /** Everything committed on the origin before it is applied and on disk; null when nothing is. */
  readonly position: Position | null;
}

/** Columns of {@link Subscription}. Asking for the position writes to disk whatever it stands for (`flush`). */
const SUBSCRIPTION = `
  SELECT s.oid::text AS oid, s.subenabled AS enabled,
         (SELECT min(v.pid)::text FROM pg_stat_subscription v WHERE v.subid = s.oid) AS pid,
         pg_replication_origin_progress('pg_' || s.oid, true)::text AS position
    FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
   WHERE d.datname = current_database() AND s.subname = $1`;

/** A worker that waits for a lock does not see that it was disabled; after this long it is ended. */
const WORKER_LEAVES_MS = 3_000;
const POLL_MS = 20;

/** Reads a lane's subscription, or null. */
export const readSubscription = async (sql: SqlExecutor, slot: string): Promise<Subscription | null> => {
  const [row] = (await sql.query(SUBSCRIPTION, [slot])).rows;
  if (row === undefined) return null;
  return {
    oid: textOf(row, 'oid'),
    enabled: isTrue(row, 'enabled'),
    pid: row.pid ?? null,
    position: (row.position ?? null) as Position | null,
  };
};

/** A lane's stored progress, and how far its subscription has come as the written side knows it, where it has one. */
const readHeld = async (store: LaneStore, sql: SqlExecutor, slot: string) => {
  const stored = await store.progress(sql);
  const subscription = stored === null ? null : await readSubscription(sql, slot);
  if (stored === null || subscription === null) return { progress: stored, isSubscribed: false } as const;
  const position = latest(stored.position, subscription.position);
  return { progress: { ...stored, position }, isSubscribed: true } as const;
};

/**
 * The store, whose progress is that of the lane's subscription as long as there is one: nothing is stored between two looks at
 * it, and a worker that was killed has not looked. A worker that has nothing left to apply also confirms what is not its own, so
 * what was confirmed to the slot may be beyond the last change; everything before it is applied and on disk.
 */
export const subscribedStore = (store: LaneStore, from: PostgresServer, slot: string): LaneStore => ({
  ...store,
  async progress(sql) {
    const { progress, isSubscribed } = await readHeld(store, sql, slot);
    if (!isSubscribed) return progress;
    return { ...progress, position: latest(progress.position, await confirmedBy(from, slot)) };
  },
});

/**
 * The store without the slot, for whoever ends a subscription: that has to be possible while the origin is down. What was
 * confirmed is asked for as long as there is the subscription, so what is stored without it is put right later.
 */
export const heldStore = (store: LaneStore, slot: string): LaneStore => ({
  ...store,
  progress: async (sql) => (await readHeld(store, sql, slot)).progress,
});

/** Lets nobody but the lane's owner pass, by storing its progress as it is. For a store that asks the written side alone. */
export const laneGuard = (store: LaneStore): Guard => {
  return async (sql) => {
    const progress = await store.progress(sql);
    if (progress !== null) await store.record(sql, progress);
  };
};

/** Disables a subscription, if there is one, and waits until its worker is gone. The guard runs in the transaction. */
export const disableSubscription = async (to: PostgresServer, slot: string, guard: Guard): Promise<void> => {
  const found = await to.transaction(async (sql) => {
    await guard(sql);
    const subscription = await readSubscription(sql, slot);
    if (subscription?.enabled) await sql.query(`ALTER SUBSCRIPTION ${quoteName(slot)} DISABLE`);
    return subscription !== null;
  });
  const deadlineMs = monotonicMs() + WORKER_LEAVES_MS;
  for (; found; await sleep(POLL_MS)) {
    const { rows } = await to.query(
      `SELECT v.pid::text AS pid FROM pg_stat_subscription v WHERE v.subname = $1 AND v.pid IS NOT NULL`,
      [slot],
    );
    if (rows.length === 0) return;
    if (monotonicMs() < deadlineMs) continue;
    // Whoever slept until now would end the worker of the one that has taken over, again and again (S7).
    await to.transaction(async (sql) => {
      await guard(sql);
      for (const { pid } of rows) await sql.query('SELECT pg_terminate_backend($1::int)', [pid ?? null]);
    });
  }
};

/**
 * Disables a lane's subscription that nobody looks after any more. Where that cannot be done it goes on, as after a worker that was
 * killed, and the next one takes it over: so a server that does not answer, or another owner, is no error.
 */
export const leave = async ({ spec, held, to }: NativeContext): Promise<void> => {
  try {
    if ((await readSubscription(to, spec.slot))?.enabled) await disableSubscription(to, spec.slot, laneGuard(held));
  } catch (error) {
    const failure = to.wrap(error);
    if (isKind(failure, 'deposed') || (failure instanceof SwitchbackError && failure.policy === 'retry')) return;
    throw failure;
  }
};

/** Removes a subscription, if there is one, and leaves its slot. It has to be disabled. */
export const removeSubscription = async (sql: SqlExecutor, slot: string): Promise<void> => {
  if ((await readSubscription(sql, slot)) === null) return;
  const name = quoteName(slot);
  await sql.query(`ALTER SUBSCRIPTION ${name} SET (slot_name = NONE)`);
  await sql.query(`DROP SUBSCRIPTION ${name}`);
};

/** Stores how far a lane's subscription has come and removes it, if there is one; what follows goes on from there. */
export const dissolve = async ({ spec, held, from, to }: NativeContext): Promise<void> => {
  const { store, slot } = spec;
  if ((await readSubscription(to, slot)) === null) return;
  await disableSubscription(to, slot, laneGuard(held));
  await freeSlot(from, slot);
  await to.transaction(async (sql) => {
    const progress = await store.progress(sql);
    if (progress !== null) await store.record(sql, progress);
    await removeSubscription(sql, slot);
    await remember(sql, spec, null);
  });
};

/**
 * What versions have in common is not written: copy_data and create_slot are the slot's and the copy's business, and with
 * connect = true (the default) every table is ready at once. A transaction that is streamed is applied when it is whole.
 */
const settingsOf = (slot: string, version: number): string =>
  [
    `slot_name = ${quoteText(slot)}`,
    'enabled = false',
    'create_slot = false',
    'copy_data = false',
    ...(version >= 140_000 ? ['binary = false', 'streaming = on'] : []),
    ...(version >= 150_000 ? ['disable_on_error = true', 'two_phase = false'] : []),
  ].join(', ');

/** The statement that makes a lane's subscription, disabled. It holds the password. */
export const createStatement = (context: NativeContext, version: number): string => {
  const { spec, conninfo } = context;
  return `CREATE SUBSCRIPTION ${quoteName(spec.slot)} CONNECTION ${quoteText(conninfo)}
    PUBLICATION ${quoteName(spec.publication)} WITH (${settingsOf(spec.slot, version)})`;
};

/**
 * Makes a lane's subscription and lets it begin exactly at a position, in the caller's transaction (S3): it is created with
 * the slot that the lane has, its origin is put to the position, and only then is it enabled.
 */
export const subscribe = async (
  sql: SqlExecutor,
  context: NativeContext,
  progress: Pick<LaneProgress, 'position'>,
): Promise<void> => {
  const { spec } = context;
  const version = onlyRow(await sql.query(`SELECT current_setting('server_version_num') AS version`));
  await sql.query(createStatement(context, Number(textOf(version, 'version'))));
  await sql.query(
    `SELECT pg_replication_origin_advance('pg_' || s.oid, $2::pg_lsn)
       FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname = $1`,
    [spec.slot, progress.position],
  );
  await sql.query(`ALTER SUBSCRIPTION ${quoteName(spec.slot)} ENABLE`);
  await remember(sql, spec, spec.slot);
};
