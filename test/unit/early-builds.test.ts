import { describe, expect, test } from 'vitest';
import type { DeferredItem } from '../../src/databases/schema.ts';
import { EarlyBuilds } from '../../src/stages/early-builds.ts';

const item = (table: string, name: string): DeferredItem => ({
  kind: 'index',
  table: { schema: 'public', name: table },
  name,
  index: '',
  constraint: null,
  marks: [],
  drop: '',
  tablespace: null,
  partitioned: false,
});

const items = ['a', 'b', 'c', 'd'].flatMap((table) => [item(table, `${table}1`), item(table, `${table}2`)]);

/** Builds that are ended by the test, one by one. */
const builds = (parallel: number) => {
  const open: { readonly names: string; end(error?: Error): void; readonly signal: AbortSignal }[] = [];
  const stage = new AbortController();
  const early = new EarlyBuilds({
    items,
    parallel,
    signal: stage.signal,
    build: (some, signal) =>
      new Promise((resolve, reject) => {
        const names = some.map(({ name }) => name).join(' ');
        const end = (error?: Error): void => (error === undefined ? resolve() : reject(error));
        signal.addEventListener('abort', () => end(new Error('cancelled')));
        open.push({ names, end, signal });
      }),
  });
  return { early, open, stage, names: () => open.map(({ names }) => names) };
};

describe('builds while other tables are copied', () => {
  test('a table is built once, as soon as it is told of; what comes meanwhile is built together', async () => {
    const { early, open, names } = builds(2);
    early.add('public.b');
    early.add('public.b');
    early.add('public.nobody');
    early.add('public.a');
    early.add('public.c');
    early.add('public.d');
    expect(names()).toEqual(['b1 b2', 'a1 a2']);
    const finished = early.finish();
    open[0]?.end();
    await expect.poll(names).toEqual(['b1 b2', 'a1 a2', 'c1 c2 d1 d2']);
    open[1]?.end();
    open[2]?.end();
    await finished;
    expect(early.built.size).toBe(8);
  });

  test('a build that fails ends the copy and the other builds, and is what is thrown', async () => {
    const { early, open } = builds(2);
    early.add('public.a');
    early.add('public.b');
    open[0]?.end(new Error('duplicate'));
    await expect.poll(() => early.signal.aborted).toBe(true);
    // What the copy says then is that it was aborted, for this reason.
    await expect(early.fail(early.signal.reason)).rejects.toThrow('duplicate');
    expect(open[1]?.signal.aborted).toBe(true);
    expect(early.built.size).toBe(0);
    early.add('public.c');
    expect(open.length).toBe(2);
  });

  test('a copy that fails cancels the builds, and is what is thrown', async () => {
    const { early, open } = builds(1);
    early.add('public.a');
    await expect(early.fail(new Error('no room'))).rejects.toThrow('no room');
    expect(open[0]?.signal.aborted).toBe(true);
  });

  test('a stage that is stopped ends with its own reason', async () => {
    const { early, stage } = builds(1);
    early.add('public.a');
    stage.abort(new Error('stopped'));
    await expect(early.finish()).rejects.toThrow('stopped');
    await expect(early.fail(new Error('a copy that was aborted'))).rejects.toThrow('stopped');
  });
});
