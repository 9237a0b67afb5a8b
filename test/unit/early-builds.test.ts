import { describe, expect, test } from 'vitest';
import type { DeferredItem } from '../../src/databases/schema.ts';
import { EarlyBuilds } from '../../src/stages/early-builds.ts';

const item = (table: string, name: string): DeferredItem => ({
  kind: 'index',
  table: { schema: 'public', name: table },
  name,
  references: null,
  index: '',
  constraint: null,
  marks: [],
  drop: '',
  tablespace: null,
  partitioned: false,
});

const items = ['a', 'b', 'c', 'd'].flatMap((table) => [item(table, `${table}1`), item(table, `${table}2`)]);

/** A build that tells what it was given, and fails when the test says so. */
const builds = () => {
  const given: string[] = [];
  const signals: AbortSignal[] = [];
  const stage = new AbortController();
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => undefined);
  const early = new EarlyBuilds({
    items,
    signal: stage.signal,
    build: async (groups, signal) => {
      signals.push(signal);
      const taken = (async () => {
        for await (const some of groups) given.push(some.map(({ name }) => name).join(' '));
      })();
      await Promise.race([taken, broken.promise]);
      signal.throwIfAborted();
    },
  });
  return { early, stage, given, signals, broken };
};

describe('builds while other tables are copied', () => {
  test('a table is built once, as soon as it is told of, all in one build', async () => {
    const { early, given, signals } = builds();
    expect(signals.length).toBe(0);
    early.add('public.b');
    early.add('public.b');
    early.add('public.nobody');
    early.add('public.a');
    await expect.poll(() => given.join(' ')).toBe('b1 b2 a1 a2');
    early.add('public.c');
    await expect.poll(() => given.join(' ')).toBe('b1 b2 a1 a2 c1 c2');
    early.add('public.d');
    await early.finish();
    expect(given.join(' ')).toBe('b1 b2 a1 a2 c1 c2 d1 d2');
    expect(signals.length).toBe(1);
  });

  test('nothing is built of a phase that has nothing to build', async () => {
    const { early, signals } = builds();
    early.add('public.nobody');
    await early.finish();
    expect(signals.length).toBe(0);
  });

  test('a build that fails ends the copy, and is what is thrown', async () => {
    const { early, broken, given } = builds();
    early.add('public.a');
    broken.reject(new Error('duplicate'));
    await expect.poll(() => early.signal.aborted).toBe(true);
    early.add('public.c');
    // What the copy says then is that it was aborted, for this reason.
    await expect(early.fail(early.signal.reason)).rejects.toThrow('duplicate');
    expect(given.join(' ')).toBe('a1 a2');
  });

  test('a copy that fails cancels the builds, and is what is thrown', async () => {
    const { early, signals } = builds();
    early.add('public.a');
    await expect(early.fail(new Error('no room'))).rejects.toThrow('no room');
    expect(signals[0]?.aborted).toBe(true);
  });

  test('a stage that is stopped ends with its own reason', async () => {
    const { early, stage } = builds();
    early.add('public.a');
    stage.abort(new Error('stopped'));
    await expect(early.finish()).rejects.toThrow('stopped');
    await expect(early.fail(new Error('a copy that was aborted'))).rejects.toThrow('stopped');
  });
});
