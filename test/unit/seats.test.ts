import { describe, expect, test } from 'vitest';
import { Seats } from '../../src/stages/seats.ts';

const never = new AbortController().signal;

/** Work that ends when it is told to. */
const work = (seats: Seats, name: string, log: string[], options: { urgency: number; signal?: AbortSignal }) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = seats.run({ signal: never, ...options }, async () => {
    log.push(name);
    await promise;
  });
  return { end: resolve, done };
};

const settle = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve));

describe('seats', () => {
  test('as many work at once as there are; the most urgent is next, then whoever came first', async () => {
    const seats = new Seats(2);
    const log: string[] = [];
    const a = work(seats, 'a', log, { urgency: 0 });
    work(seats, 'b', log, { urgency: 0 });
    const waiting = [
      work(seats, 'prepare', log, { urgency: 0 }),
      work(seats, 'copy 1', log, { urgency: 1 }),
      work(seats, 'copy 2', log, { urgency: 1 }),
    ];
    await settle();
    expect(log).toEqual(['a', 'b']);
    expect(seats.hasFree).toBe(false);
    a.end();
    await settle();
    expect(log).toEqual(['a', 'b', 'copy 1']);
    waiting[1]?.end();
    await settle();
    waiting[2]?.end();
    await settle();
    expect(log).toEqual(['a', 'b', 'copy 1', 'copy 2', 'prepare']);
  });

  test("a seat is given back when the work fails, and one that was given up while waiting is nobody's", async () => {
    const seats = new Seats(1);
    const failed = seats.run({ urgency: 0, signal: never }, async () => {
      throw new Error('broke');
    });
    await expect(failed).rejects.toThrow('broke');
    const log: string[] = [];
    const a = work(seats, 'a', log, { urgency: 0 });
    const stop = new AbortController();
    const b = work(seats, 'b', log, { urgency: 0, signal: stop.signal });
    stop.abort(new Error('held'));
    await expect(b.done).rejects.toThrow('held');
    a.end();
    await a.done;
    expect(log).toEqual(['a']);
    expect(seats.hasFree).toBe(true);
  });
});
