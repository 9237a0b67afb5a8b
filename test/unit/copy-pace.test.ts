import { describe, expect, test } from 'vitest';
import { type Climb, FIRST_CLIMB, nextClimb } from '../../src/engines/stream/connections.ts';
import { ByteRate } from '../../src/engines/stream/pace.ts';
import { nextLimit, troubleOf } from '../../src/engines/stream/source-load.ts';

describe('a rate of bytes', () => {
  test('lets nobody wait without a limit', () => {
    expect(new ByteRate(null).take(1e12, 0)).toBe(0);
  });

  test('grants what it says, whoever asks and however much at once', () => {
    const rate = new ByteRate(1_000_000);
    let nowMs = 5_000;
    let granted = 0;
    for (let i = 0; i < 1_000; i++) {
      // Two users, who each wait as they are told.
      const bytes = 1 + ((i * 7_919) % 60_000);
      nowMs += rate.take(bytes, nowMs);
      granted += bytes;
    }
    const seconds = (nowMs - 5_000) / 1_000;
    expect(granted / seconds).toBeGreaterThan(1_000_000 * 0.99);
    expect(granted / seconds).toBeLessThan(1_000_000 * 1.02);
  });

  test('makes up for a short pause, and for a long one not more', () => {
    const rate = new ByteRate(1_000);
    expect(rate.take(200, 10_000)).toBe(0);
    expect(rate.take(100, 10_000)).toBe(100);
    expect(rate.take(200, 99_000)).toBe(0);
    expect(rate.take(100, 99_000)).toBe(100);
    rate.bytesPerSecond = 500;
    expect(rate.take(100, 99_000)).toBe(300);
    rate.bytesPerSecond = null;
    expect(rate.take(100, 99_000)).toBe(0);
  });
});

/** Climbs with a server whose throughput depends on the number of connections, and returns the numbers in turn. */
const climbed = (rateOf: (connections: number, at: number) => number, steps: number): readonly number[] => {
  let climb: Climb = FIRST_CLIMB;
  return Array.from({ length: steps }, (_, at) => {
    climb = nextClimb(climb, rateOf(climb.connections, at));
    return climb.connections;
  });
};

describe('the number of connections', () => {
  test('rises as long as one more is worth it, and then stays about there', () => {
    const seen = climbed((connections) => Math.min(connections, 5) * 10, 60);
    expect(seen.slice(0, 5)).toEqual([3, 4, 5, 6, 5]);
    expect(seen.slice(5).filter((n) => n === 5).length).toBeGreaterThan(40);
    expect(Math.min(...seen.slice(5))).toBe(4);
    expect(Math.max(...seen)).toBe(6);
  });

  test('falls to one where one is as fast', () => {
    const seen = climbed(() => 10, 60);
    expect(seen.slice(20).filter((n) => n === 1).length).toBeGreaterThan(25);
    expect(Math.max(...seen)).toBe(3);
  });

  test('keeps within its bounds, and finds its way when the server gets slower', () => {
    const seen = climbed((connections, at) => (at < 40 ? connections : Math.min(connections, 2)) * 10, 160);
    expect(Math.max(...seen)).toBe(8);
    expect(Math.max(...seen.slice(-20))).toBeLessThanOrEqual(3);
    expect(Math.min(...seen)).toBeGreaterThanOrEqual(1);
  });
});

describe("the source's load", () => {
  const calm = { roundTripMs: 1, standbyLagMs: 0 };

  test('is trouble when answers or a standby are clearly later than before', () => {
    expect(troubleOf(calm, { ...calm, roundTripMs: 50 })).toBeNull();
    expect(troubleOf(calm, { ...calm, roundTripMs: 52 })).toBe(
      'the source answers in 52 ms, before the copy in 1.0 ms',
    );
    const far = { roundTripMs: 80, standbyLagMs: 4_000 };
    expect(troubleOf(far, { ...far, roundTripMs: 790 })).toBeNull();
    expect(troubleOf(far, { ...far, roundTripMs: 810 })).toContain('answers in 810 ms');
    expect(troubleOf(far, { ...far, standbyLagMs: 14_000 })).toBeNull();
    expect(troubleOf(far, { ...far, standbyLagMs: 15_000 })).toBe('a standby of the source is 15 s behind');
  });

  test('halves the copy while there is trouble, down to a bound, and lets it grow until nothing holds it back', () => {
    expect(nextLimit(null, 80e6, false)).toBeNull();
    expect(nextLimit(null, 80e6, true)).toBe(40e6);
    expect(nextLimit(40e6, 38e6, true)).toBe(19e6);
    expect(nextLimit(40e6, 90e6, true)).toBe(20e6);
    expect(nextLimit(1.5e6, 1.4e6, true)).toBe(1e6);
    expect(nextLimit(20e6, 19e6, false)).toBe(25e6);
    expect(nextLimit(100e6, 60e6, false)).toBeNull();
  });
});
