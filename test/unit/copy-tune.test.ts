import { expect, test, vi } from 'vitest';
import { tuneCopy } from '../../src/engines/stream/copy-tune.ts';
import { ByteRate, Pace } from '../../src/engines/stream/pace.ts';

/** Time passes while the tuning sleeps, when a second of the test is lived through, and while the source answers. */
const clock = vi.hoisted(() => ({ nowMs: 0, onSecond: () => {} }));
vi.mock('../../src/platform/clock.ts', () => ({
  monotonicMs: () => clock.nowMs,
  sleep: async (ms: number, signal?: AbortSignal) => {
    // What the copy itself waits for its limits goes on beside it.
    if (signal === undefined) return;
    clock.nowMs += ms;
    clock.onSecond();
  },
}));

interface Second {
  readonly roundTripMs: number;
  readonly standbyLagMs: number;
}

const QUIET: Second = { roundTripMs: 1, standbyLagMs: 0 };
const BYTES_A_SECOND = 40_000_000;

/** Copies so many seconds with a source that is as they say; returns what was told, and the limit after each of them. */
const tuned = async (seconds: readonly Second[]) => {
  const pace = new Pace(new ByteRate(null));
  const ended = new AbortController();
  const told: string[] = [];
  const limits: (number | null)[] = [];
  let source = QUIET;
  const left = [...seconds];
  clock.onSecond = () => {
    limits.push(pace.own.bytesPerSecond);
    const next = left.shift();
    if (next === undefined) ended.abort();
    else source = next;
    void pace.take(Math.min(BYTES_A_SECOND, pace.own.bytesPerSecond ?? BYTES_A_SECOND));
  };
  const query = async (sql: string) => {
    if (sql === 'SELECT') clock.nowMs += source.roundTripMs;
    return { rows: [{ ms: String(source.standbyLagMs) }], rowCount: 1 };
  };
  const onPace = (text: string) => void told.push(text);
  await tuneCopy({ source: { query }, before: QUIET, pace, onConnections: () => undefined, onPace }, ended.signal);
  return { told, limits: limits.slice(1) };
};

test('a source that is late twice in a row is spared and told of once; so is the end of that', async () => {
  const late = { ...QUIET, roundTripMs: 300 };
  const { told, limits } = await tuned([QUIET, late, QUIET, late, late, late, ...Array<Second>(30).fill(QUIET)]);
  expect(limits.slice(0, 4)).toEqual([null, null, null, null]);
  expect(limits[4]).toBeLessThan(BYTES_A_SECOND * 0.6);
  expect(limits[5]).toBeLessThan(limits[4] ?? 0);
  expect(limits.at(-1)).toBeNull();
  expect(told).toEqual([
    'the copy slows down: the source answers in 300 ms, before the copy in 1.0 ms',
    'the copy goes on as fast as it can',
  ]);
});

test('a standby that is late is a reason, too', async () => {
  const { told } = await tuned(Array<Second>(3).fill({ ...QUIET, standbyLagMs: 12_000 }));
  expect(told).toEqual(['the copy slows down: a standby of the source is 12 s behind']);
});
