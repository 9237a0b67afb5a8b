import { monotonicMs, sleep } from '../../platform/clock.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import { type Climb, FIRST_CLIMB, nextClimb } from './connections.ts';
import type { Pace } from './pace.ts';
import { type LoadSample, nextLimit, sampleLoad, troubleOf } from './source-load.ts';

/** What a copy is tuned by. */
export interface CopyTuning {
  readonly source: Pick<PostgresServer, 'query'>;
  /** Of the source, before the copy. */
  readonly before: LoadSample;
  readonly pace: Pace;
  /** The number of connections to copy with from now on. */
  readonly onConnections: (count: number) => void;
  /** Told when the copy slows down for the source's sake, and when it no longer does. */
  readonly onPace: (text: string) => void;
}

const EVERY_MS = 1_000;
/** Looks per measurement of a number of connections. */
const LOOKS_PER_CLIMB = 2;

/**
 * Finds out how fast a copy may go, and with how many connections it goes fastest, until the signal. Not both at once: while
 * a limit holds the copy back, its rate says nothing of the connections.
 */
export const tuneCopy = async (tuning: CopyTuning, signal: AbortSignal): Promise<void> => {
  const { pace } = tuning;
  let climb = FIRST_CLIMB;
  let lookedMs = monotonicMs();
  let rates: number[] = [];
  let trouble: string | null = null;
  for (;;) {
    await sleep(EVERY_MS, signal).catch(() => undefined);
    if (signal.aborted) return;
    const { bytes, isLimited } = pace.measure();
    const nowMs = monotonicMs();
    const rate = (bytes / (nowMs - lookedMs)) * 1_000;
    lookedMs = nowMs;
    trouble = await lookForTrouble(tuning, trouble, rate);
    if (signal.aborted) return;
    rates = isLimited || bytes === 0 ? [] : [...rates, rate];
    if (rates.length < LOOKS_PER_CLIMB) continue;
    climb = climbOn(tuning, climb, rates);
    rates = [];
  }
};

const climbOn = (tuning: CopyTuning, climb: Climb, rates: readonly number[]): Climb => {
  const next = nextClimb(climb, rates.reduce((sum, rate) => sum + rate, 0) / rates.length);
  if (next.connections !== climb.connections) tuning.onConnections(next.connections);
  return next;
};

/**
 * Sets the limit for the source's sake, and returns what troubles it now. Once is none: anything can be late once. A source
 * that does not answer at all says nothing: if it is lost, the copy's own sessions are, too.
 */
const lookForTrouble = async (tuning: CopyTuning, last: string | null, rate: number): Promise<string | null> => {
  const { source, before, pace, onPace } = tuning;
  const now = await sampleLoad(source).catch(() => null);
  const trouble = now === null ? null : troubleOf(before, now);
  const limit = pace.own.bytesPerSecond;
  const isTroubled = trouble !== null && last !== null;
  const next = nextLimit(limit, rate, isTroubled);
  pace.own.bytesPerSecond = next;
  if (isTroubled && limit === null) onPace(`the copy slows down: ${trouble}`);
  if (limit !== null && next === null) onPace('the copy goes on as fast as it can');
  return trouble;
};
