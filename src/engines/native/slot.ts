import type { Position } from '../../domain/position.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';

/** A reader that has ended may hold the slot until its server notices; after the first of these it is ended. */
const EVICT_AFTER_MS = 3_000;
const FREE_WITHIN_MS = 30_000;
const POLL_MS = 20;

/** What was confirmed to a slot; null when there is no such slot. */
export const confirmedBy = async (from: PostgresServer, slot: string): Promise<Position | null> => {
  const { rows } = await from.query(
    'SELECT confirmed_flush_lsn::text AS confirmed FROM pg_replication_slots WHERE slot_name = $1',
    [slot],
  );
  return (rows[0]?.confirmed ?? null) as Position | null;
};

/**
 * Waits until nobody reads a slot: a worker that met it in use would count that as an error of its own and be disabled, and
 * whoever has read it may still be confirming. Only for a worker that has just proved that the lane is its own.
 */
export const freeSlot = async (from: PostgresServer, slot: string): Promise<void> => {
  const begunMs = monotonicMs();
  for (;;) {
    const { rows } = await from.query('SELECT active_pid::text AS pid FROM pg_replication_slots WHERE slot_name = $1', [
      slot,
    ]);
    const pid = rows[0]?.pid ?? null;
    const waitedMs = monotonicMs() - begunMs;
    if (pid === null || waitedMs > FREE_WITHIN_MS) return;
    if (waitedMs > EVICT_AFTER_MS) await from.query('SELECT pg_terminate_backend($1::int)', [pid]);
    await sleep(POLL_MS);
  }
};

/** The later of positions that may be missing. */
export const latest = (first: Position, ...others: readonly (Position | null)[]): Position =>
  others.reduce((newest: Position, other) => (other === null ? newest : Lsn.max(newest, other)), first);
