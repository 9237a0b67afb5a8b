import { afterEach, describe, expect, test, vi } from 'vitest';
import type { LaneTable } from '../../src/engines/stream/lane-table.ts';
import { type Batch, ChangeQueue, lingerMs } from '../../src/engines/stream/queue.ts';
import type { Change } from '../../src/rows/change.ts';
import { tupleOf } from '../../src/rows/tuple.ts';

const table: LaneTable = {
  name: 'public.t',
  keyAt: [0],
  columns: [],
  table: {
    schema: 'public',
    name: 't',
    columns: [],
    key: null,
    replicaIdentity: 'default',
    root: null,
    estimatedRows: 0,
    bytes: 0,
  },
};
const change: Change<LaneTable> = { kind: 'insert', table, after: tupleOf([]) };
const never = new AbortController().signal;

/** Queues a transaction of so many changes, of so many bytes each. */
const transaction = (queue: ChangeQueue, at: bigint, { changes = 1, bytes = 100 } = {}): void => {
  queue.begin(at);
  for (let i = 0; i < changes; i++) queue.add(change, bytes);
  queue.commit(at + 1n);
};

const summary = (batch: Batch | null): unknown => ({
  changes: batch?.changes.length,
  ends: batch?.endings.map((ending) => [ending.endLsn, ending.until]),
  open: batch?.open,
});

describe('the queue of changes', () => {
  test('hands out whole transactions, and nothing of one that has not ended', async () => {
    const queue = new ChangeQueue(() => undefined);
    transaction(queue, 10n);
    transaction(queue, 20n, { changes: 2 });
    queue.begin(30n);
    queue.add(change, 100);
    expect(summary(await queue.take(never))).toEqual({
      changes: 3,
      ends: [
        [11n, 1],
        [21n, 3],
      ],
      open: null,
    });
    queue.commit(31n);
    expect(summary(await queue.take(never))).toEqual({ changes: 1, ends: [[31n, 1]], open: null });
  });

  // Twenty thousand is where a batch is closed, and a number that applications like.
  test('the end of one whose changes were all handed out before waits for nothing', async () => {
    const queue = new ChangeQueue(() => undefined);
    transaction(queue, 10n, { changes: 20_000 });
    expect(summary(await queue.take(never))).toEqual({ changes: 20_000, ends: [], open: 10n });
    expect(summary(await queue.take(AbortSignal.timeout(1_000)))).toEqual({ changes: 0, ends: [[11n, 0]], open: null });
  });

  test('a large transaction comes in parts, after what was before it', async () => {
    const queue = new ChangeQueue(() => undefined);
    transaction(queue, 10n);
    transaction(queue, 20n, { changes: 50_000 });
    transaction(queue, 30n);
    queue.end();
    const batches: Batch[] = [];
    for (let batch = await queue.take(never); batch !== null; batch = await queue.take(never)) batches.push(batch);
    expect(summary(batches[0] ?? null)).toEqual({ changes: 1, ends: [[11n, 1]], open: null });
    const parts = batches.filter((batch) => batch.open === 20n);
    expect(parts.length).toBeGreaterThan(1);
    expect(parts.every((part) => part.endings.length === 0)).toBe(true);
    expect(batches.reduce((sum, batch) => sum + batch.changes.length, 0)).toBe(50_002);
    expect(batches.flatMap((batch) => batch.endings.map((ending) => ending.endLsn))).toEqual([11n, 21n, 31n]);
    // The part with the end of the large one is the first with an ending after it.
    expect(batches[1 + parts.length]?.endings[0]?.endLsn).toBe(21n);
  });

  test('large values fill a batch too, and the socket waits until there is room', async () => {
    let rooms = 0;
    const queue = new ChangeQueue(() => {
      rooms += 1;
    });
    for (let i = 0; i < 40; i++) transaction(queue, BigInt(i * 10), { bytes: 2 ** 20 });
    expect(queue.isFull).toBe(true);
    let changes = 0;
    while (changes < 40) changes += (await queue.take(never))?.changes.length ?? 0;
    expect(rooms).toBeGreaterThan(0);
    expect(queue.isFull).toBe(false);
  });

  test('carries the marker of the transaction that it was in, and no other', async () => {
    const queue = new ChangeQueue(() => undefined);
    queue.begin(10n);
    queue.mark(7n);
    queue.commit(11n);
    transaction(queue, 20n);
    const batch = await queue.take(never);
    expect(batch?.endings).toEqual([
      { commitLsn: 10n, endLsn: 11n, until: 0, marker: 7n },
      { commitLsn: 20n, endLsn: 21n, until: 1, marker: null },
    ]);
    expect(() => queue.commit(30n)).toThrow(RangeError);
  });

  test('what has ended comes before the failure that ended the stream', async () => {
    const queue = new ChangeQueue(() => undefined);
    transaction(queue, 10n);
    queue.begin(20n);
    queue.add(change, 100);
    queue.end(new Error('the stream broke'));
    expect(summary(await queue.take(never))).toEqual({ changes: 1, ends: [[11n, 1]], open: null });
    await expect(queue.take(never)).rejects.toThrow('the stream broke');
  });

  test('a wait ends with its signal, or with the next transaction', async () => {
    const queue = new ChangeQueue(() => undefined);
    const stop = new AbortController();
    const aborted = queue.take(stop.signal);
    stop.abort(new Error('stopped'));
    await expect(aborted).rejects.toThrow('stopped');
    const taken = queue.take(never);
    transaction(queue, 10n);
    expect(summary(await taken)).toEqual({ changes: 1, ends: [[11n, 1]], open: null });
  });

  describe('with transactions that hold nothing of the lane', () => {
    afterEach(() => void vi.useRealTimers());

    /** Takes on a clock of our own; tells whether a batch has come. */
    const taking = (queue: ChangeQueue) => {
      vi.useFakeTimers();
      const state: { batch: Batch | null } = { batch: null };
      queue.take(never).then((batch) => {
        state.batch = batch;
      });
      return state;
    };

    test('keeps them until one comes that does, so that they cost no commit of their own', async () => {
      const queue = new ChangeQueue(() => undefined);
      const state = taking(queue);
      for (let at = 10n; at < 100n; at += 10n) {
        transaction(queue, at, { changes: 0 });
        await vi.advanceTimersByTimeAsync(400);
      }
      expect(state.batch).toBeNull();
      queue.begin(100n);
      queue.mark(7n);
      queue.commit(101n);
      await vi.advanceTimersByTimeAsync(20);
      expect(state.batch?.endings.map(({ endLsn, marker }) => [endLsn, marker]).at(-1)).toEqual([101n, 7n]);
      expect(state.batch?.endings).toHaveLength(10);
    });

    test('hands them out after a while all the same, so that the slot moves on', async () => {
      const queue = new ChangeQueue(() => undefined);
      const state = taking(queue);
      transaction(queue, 10n, { changes: 0 });
      await vi.advanceTimersByTimeAsync(6_000);
      expect(summary(state.batch)).toEqual({ changes: 0, ends: [[11n, 0]], open: null });
    });
  });

  test('shows the next batch before it is taken once it is full, and no other', async () => {
    const queue = new ChangeQueue(() => undefined);
    transaction(queue, 10n);
    expect(queue.next).toBeUndefined();
    transaction(queue, 20n, { changes: 20_000 });
    const { next } = queue;
    expect(summary(next ?? null)).toMatchObject({ changes: 1, ends: [[11n, 1]] });
    expect(await queue.take(never)).toBe(next);
  });
});

describe('how long a batch may wait to grow', () => {
  test('grows with what the last wait brought, between bounds', () => {
    expect([0, 1, 500, 1_000, 2_500, 5_000, 20_000].map(lingerMs)).toEqual([20, 20, 20, 40, 100, 200, 200]);
  });

  test.each([
    ['a slow stream ends at the shortest wait', 5, 20],
    ['a stream that a target hardly keeps up with ends at the longest', 60, 200],
  ])('%s, from wherever it began', (_, changesPerMs, expected) => {
    for (const start of [0, 20_000]) {
      let waitMs = lingerMs(start);
      for (let i = 0; i < 20; i++) waitMs = lingerMs(changesPerMs * waitMs);
      expect(waitMs).toBe(expected);
    }
  });
});
