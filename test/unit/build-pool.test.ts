import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import { type LockMode, Milestone, Pool, type Step, type Task } from '../../src/databases/postgres/schema/pool.ts';

/** Sessions that answer everything with a pid. */
const sessions = () => {
  let made = 0;
  const client = { query: async () => ({ rows: [{ pid: '7' }] }), end: async () => undefined };
  const connect = async (): Promise<pg.Client> => {
    made += 1;
    return client as unknown as pg.Client;
  };
  return { server: { connect, query: async () => ({ rows: [], rowCount: 0 }) }, made: () => made };
};

/** A pool whose steps are ended by the test, by name. */
const pool = (parallel: number, signal: AbortSignal = new AbortController().signal) => {
  const { server, made } = sessions();
  const running = new Map<string, { end(error?: Error): void; readonly spare: boolean }>();
  const step = (name: string, ...locks: readonly (readonly [string, LockMode])[]): Step => ({
    locks: locks.map(([table, mode]) => ({ table, mode })),
    run: (turn) =>
      new Promise((resolve, reject) => {
        const leave = (): boolean => running.delete(name);
        const end = (error?: Error): void => void (leave() && (error === undefined ? resolve() : reject(error)));
        turn.signal.addEventListener('abort', () => end(new Error('cancelled')));
        running.set(name, { end, spare: turn.spare });
      }),
  });
  const task = (...steps: readonly Step[]): Task => ({ steps, needs: [], counts: [] });
  const tasks = new Pool({ server, parallel, prepare: async () => undefined, signal });
  const names = (): string => [...running.keys()].sort().join(' ');
  const until = (wanted: string) => expect.poll(names, { interval: 1 }).toBe(wanted);
  return { tasks, step, task, running, until, made };
};

const once = async function* (tasks: readonly Task[]): AsyncGenerator<readonly Task[]> {
  yield tasks;
};

describe('tasks of a pool of sessions', () => {
  test('a step whose locks conflict with a running one is taken later, one that comes behind it first', async () => {
    const { tasks, step, task, running, until } = pool(2);
    const add = (name: string, own: string, other: string): Task =>
      task(step(name, [own, 'share row exclusive'], [other, 'share row exclusive']));
    // A chain of foreign keys: neighbours lock each other.
    const all = [add('ba', 'b', 'a'), add('cb', 'c', 'b'), add('dc', 'd', 'c')];
    const finished = tasks.finish(once(all));
    await until('ba dc');
    running.get('ba')?.end();
    await until('dc');
    running.get('dc')?.end();
    await until('cb');
    running.get('cb')?.end();
    await finished;
  });

  test('validations of neighbours go on at once, and statistics of other tables beside them', async () => {
    const { tasks, step, task, running, until } = pool(4);
    const validate = (name: string, own: string, other: string): Task =>
      task(step(name, [own, 'share update exclusive'], [other, 'row share']));
    const analyze = (table: string): Task => task(step(`statistics ${table}`, [table, 'share update exclusive']));
    const finished = tasks.finish(
      once([validate('ba', 'b', 'a'), validate('cb', 'c', 'b'), analyze('b'), analyze('a'), analyze('c')]),
    );
    await until('ba cb statistics a');
    running.get('cb')?.end();
    await until('ba statistics a statistics c');
    running.get('ba')?.end();
    await until('statistics a statistics b statistics c');
    for (const { end } of running.values()) end();
    await finished;
  });

  test('a task waits for its milestones, and its steps follow each other before what has not been begun', async () => {
    const { tasks, step, task, running, until } = pool(1);
    const indexes = new Milestone();
    const index = { ...task(step('index'), step('constraint')), counts: [indexes] };
    const finished = tasks.finish(
      once([{ ...task(step('foreign key')), needs: [indexes] }, index, task(step('other'))]),
    );
    for (const name of ['index', 'constraint', 'foreign key', 'other']) {
      await until(name);
      running.get(name)?.end();
    }
    await finished;
  });

  test('only what is left with fewer tasks than sessions has cores to spare, and not while more may come', async () => {
    const { tasks, step, task, running, until, made } = pool(2);
    const more = Promise.withResolvers<void>();
    const finished = tasks.finish(
      (async function* () {
        yield [task(step('first'))];
        await more.promise;
        yield [task(step('second')), task(step('third'))];
      })(),
    );
    await until('first');
    expect(made()).toBe(1);
    expect(running.get('first')?.spare).toBe(false);
    more.resolve();
    await until('first second');
    running.get('first')?.end();
    await until('second third');
    expect(running.get('third')?.spare).toBe(false);
    running.get('third')?.end();
    running.get('second')?.end();
    await finished;
    const alone = pool(2);
    const last = alone.tasks.finish(once([alone.task(alone.step('last'))]));
    await alone.until('last');
    expect(alone.running.get('last')?.spare).toBe(true);
    alone.running.get('last')?.end();
    await last;
  });

  test('a step that fails ends the others, and is what is thrown', async () => {
    const { tasks, step, task, running, until } = pool(2);
    const finished = expect(tasks.finish(once(['a', 'b', 'c'].map((name) => task(step(name)))))).rejects.toThrow(
      'duplicate',
    );
    await until('a b');
    running.get('a')?.end(new Error('duplicate'));
    await finished;
    expect(running.size).toBe(0);
  });

  test('one that is stopped ends with the reason, also while it waits for more', async () => {
    const stop = new AbortController();
    const { tasks, step, task, running, until } = pool(2, stop.signal);
    const finished = tasks.finish(
      (async function* () {
        yield [task(step('a'))];
        await new Promise(() => undefined);
      })(),
    );
    await until('a');
    running.get('a')?.end();
    await until('');
    stop.abort(new Error('stopped'));
    await expect(finished).rejects.toThrow('stopped');
  });
});
