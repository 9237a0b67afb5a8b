import { monotonicMs } from '../../platform/clock.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';

/** How loaded the source is. */
export interface LoadSample {
  /** Of a statement that does nothing. */
  readonly roundTripMs: number;
  /** Of the physical standby that is furthest behind; 0 without one, or when our role may not see it. */
  readonly standbyLagMs: number;
}

/** A round trip is late when it takes so many times what it took before the copy, and so much more: cores that are busy cost some. */
const LATE_FACTOR = 10;
const LATE_BY_MS = 50;
const STANDBY_LATE_BY_MS = 10_000;

/** Why a copy should slow down, against what was measured before it began; null when it need not. */
export const troubleOf = (before: LoadSample, now: LoadSample): string | null => {
  const ms = (value: number): string => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
  if (now.roundTripMs > Math.max(before.roundTripMs * LATE_FACTOR, before.roundTripMs + LATE_BY_MS)) {
    return `the source answers in ${ms(now.roundTripMs)}, before the copy in ${ms(before.roundTripMs)}`;
  }
  if (now.standbyLagMs <= before.standbyLagMs + STANDBY_LATE_BY_MS) return null;
  return `a standby of the source is ${(now.standbyLagMs / 1_000).toFixed(0)} s behind`;
};

/** A copy must not be brought to a stop by a load that is not its own. */
const SLOWEST = 1_000_000;
const GROWTH = 1.25;
/** Below this part of its limit a copy is not what the limit holds back. */
const UNUSED = 0.7;

/**
 * The limit of the next second, in bytes per second or null: half of what was copied while the source is in trouble; else
 * a quarter more, until it no longer limits anything.
 */
export const nextLimit = (limit: number | null, rate: number, isTroubled: boolean): number | null => {
  if (isTroubled) return Math.max(SLOWEST, Math.min(limit ?? Number.POSITIVE_INFINITY, rate) / 2);
  if (limit === null || rate < limit * UNUSED) return null;
  return limit * GROWTH;
};

/** Replication to standbys, not the logical one that we read ourselves. */
const STANDBY_LAG = `
  SELECT coalesce(max(extract(epoch FROM replay_lag) * 1000), 0)::bigint AS ms FROM pg_stat_replication r
   WHERE NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')`;

/** The fastest of some: what is slow about one may be ourselves. */
const PROBES = 3;

/** Looks how loaded the source is. Rejects with what the driver throws. */
export const sampleLoad = async (source: Pick<PostgresServer, 'query'>): Promise<LoadSample> => {
  let roundTripMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < PROBES; i++) {
    const startedMs = monotonicMs();
    await source.query('SELECT');
    roundTripMs = Math.min(roundTripMs, monotonicMs() - startedMs);
  }
  const { rows } = await source.query(STANDBY_LAG);
  return { roundTripMs, standbyLagMs: Number(rows[0]?.ms ?? 0) };
};
