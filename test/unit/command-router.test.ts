import { access, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { SwitchbackError } from '../../src/domain/errors.ts';
import { fillPlaceholders } from '../../src/domain/placeholder.ts';
import { rememberSecret } from '../../src/platform/redact.ts';
import { CommandRouter, type CommandRouterOptions } from '../../src/routers/command.ts';

const BUDGET_MS = 20_000;

// Here a shell is the program, because it is what everybody has; the router itself never starts one.
const sh = (script: string, ...words: readonly string[]): readonly string[] => ['sh', '-c', script, 'sh', ...words];

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'switchback-command-'));
});
afterEach(() => rm(folder, { recursive: true }));

const routerOf = (options: Partial<CommandRouterOptions>): CommandRouter =>
  new CommandRouter({
    repoint: sh('exit 0'),
    timeoutMs: 10_000,
    directory: folder,
    environment: { PATH: process.env.PATH },
    ...options,
  });

const failureOf = async (work: Promise<unknown>): Promise<SwitchbackError> => {
  try {
    await work;
  } catch (error) {
    return error as SwitchbackError;
  }
  throw new Error('it did not fail');
};

const logged = async (): Promise<readonly string[]> =>
  (await readFile(join(folder, 'log'), 'utf8')).trimEnd().split('\n');

describe('arguments', () => {
  const log = sh(
    'for word in "$@"; do printf "%s|" "$word" >>log; done; echo >>log',
    '{phases}',
    '--to={side}',
    '{epoch}/{previous}',
  );

  test('are filled in, whole or in part, and never seen by a shell', async () => {
    const hostile = sh('printf "%s" "$1" >log', '$(touch pwned);`touch pwned` {{phase} {"a":{"b":1}} {phases}');
    await routerOf({ hold: hostile }).hold(['a', 'b'], BUDGET_MS);
    expect(await logged()).toEqual(['$(touch pwned);`touch pwned` {phase} {"a":{"b":1}} a,b']);
    await expect(access(join(folder, 'pwned'))).rejects.toThrow();
  });

  test('of a repoint tell the side, the epoch and the versions that were seen', async () => {
    const expected = { a: 'v1', b: 'v2', c: 'v3' };
    await routerOf({ repoint: log }).repoint({ phases: ['a', 'b'], to: 'target', epoch: 7n, expect: expected });
    expect(await logged()).toEqual(['a,b|--to=target|7/v1,v2|']);
  });

  test('with {phase} make one run for each phase', async () => {
    await routerOf({ hold: sh('echo "$1" >>log', '{phase}') }).hold(['a', 'b'], BUDGET_MS);
    expect(await logged()).toEqual(['a', 'b']);
  });

  test('are in the environment too, beside ours', async () => {
    const script =
      'echo "$MINE $SWITCHBACK_ACTION $SWITCHBACK_PHASE $SWITCHBACK_SIDE $SWITCHBACK_EPOCH $SWITCHBACK_PREVIOUS" >log';
    const environment = { PATH: process.env.PATH, MINE: 'mine' };
    await routerOf({ repoint: sh(script), environment }).repoint({
      phases: ['a'],
      to: 'source',
      epoch: 3n,
      expect: { a: 'v' },
    });
    expect(await logged()).toEqual(['mine repoint a source 3 v']);
  });

  test('are filled in once only', () => {
    expect(fillPlaceholders('{previous}{side}', { previous: '{side}', side: 'target' })).toBe('{side}target');
    expect(fillPlaceholders('{constructor}', {})).toBe('{constructor}');
  });
});

describe('what is not configured', () => {
  test('does nothing, or is not known', async () => {
    const router = routerOf({ repoint: sh('echo run >>log') });
    await router.hold(['a'], BUDGET_MS);
    await router.release(['a']);
    expect(await router.observe('a')).toEqual({ primary: null, held: false, version: '' });
    for (const epoch of [1n, 2n]) await router.repoint({ phases: ['a'], to: 'target', epoch, expect: { a: '' } });
    expect(await logged()).toEqual(['run', 'run']);
  });
});

describe('observe', () => {
  test.each([
    ['source\n', { primary: 'source', held: false, version: 'source' }],
    ['{"primary":"target","held":true,"version":"9"}', { primary: 'target', held: true, version: '9' }],
    ['{"primary":null}', { primary: null, held: false, version: 'null' }],
    ['{"primary":"target"}', { primary: 'target', held: false, version: 'target' }],
  ])('understands %s', async (text, route) => {
    expect(await routerOf({ observe: sh('printf "%s" "$1"', text) }).observe('a')).toEqual(route);
  });

  test.each(['', 'left', '{"primary":"left"}', '{"held":1}', '[', '"source"', 'null'])('refuses "%s"', async (text) => {
    const error = await failureOf(routerOf({ observe: sh('printf "%s" "$1"', text) }).observe('a'));
    expect(error.kind).toBe('refused');
  });

  test('that shows the wanted side saves the repoint; phases that are there are left out of it', async () => {
    const router = routerOf({
      observe: sh('test "$1" = a && echo target || echo source', '{phase}'),
      repoint: sh('echo "$1" >>log', '{phases}'),
    });
    await router.repoint({ phases: ['a', 'b'], to: 'target', epoch: 1n, expect: { b: 'source' } });
    expect(await logged()).toEqual(['b']);
  });

  test('that shows another version than before refuses the repoint, for all phases, and runs nothing', async () => {
    const router = routerOf({ observe: sh('echo source'), repoint: sh('echo run >>log') });
    const error = await failureOf(
      router.repoint({ phases: ['a', 'b'], to: 'target', epoch: 1n, expect: { a: 'source', b: 'other' } }),
    );
    expect(error.kind).toBe('refused');
    await expect(access(join(folder, 'log'))).rejects.toThrow();
  });
});

describe('failures', () => {
  test('a code is refused, with what was said, without passwords and control characters', async () => {
    const script = 'echo "cannot reach postgres://me:s3cret@h/d" >&2; printf "\\033[31mred" >&2; exit 3';
    const error = await failureOf(routerOf({ hold: sh(script) }).hold(['a', 'b'], BUDGET_MS));
    expect(error.kind).toBe('refused');
    expect(error.message).toBe(
      "the router's hold command for a, b, sh, ended with code 3: cannot reach postgres://me:***@h/d [31mred",
    );
  });

  test('code 75 is to be tried again', async () => {
    expect((await failureOf(routerOf({ hold: sh('exit 75') }).hold(['a'], BUDGET_MS))).kind).toBe('unreachable');
  });

  test('a program that is not there, or a folder, is refused', async () => {
    const absent = await failureOf(routerOf({ hold: ['./none'] }).hold(['a'], BUDGET_MS));
    expect([absent.kind, absent.message]).toEqual(['refused', expect.stringContaining('could not be started')]);
    const elsewhere = routerOf({ hold: sh('true'), directory: join(folder, 'none') });
    expect((await failureOf(elsewhere.hold(['a'], BUDGET_MS))).kind).toBe('refused');
    expect((await failureOf(routerOf({ hold: sh('true', 'a\0b') }).hold(['a'], BUDGET_MS))).kind).toBe('refused');
  });

  test('a signal leaves the outcome unknown', async () => {
    const error = await failureOf(routerOf({ hold: sh('kill -9 $$') }).hold(['a'], BUDGET_MS));
    expect([error.kind, error.message]).toEqual(['unknown', expect.stringContaining('by a signal')]);
  });

  test('a timeout ends the whole group, also one that does not listen', async () => {
    // Both the program and its child write as long as they live. Asking for their process ids would not do: where nobody
    // reaps orphans, a dead one still has its id.
    const beat = 'while :; do echo beat >>log; sleep 0.05; done';
    const begun = performance.now();
    const router = routerOf({ hold: sh(`trap "" TERM; (${beat}) & ${beat}`), timeoutMs: 300 });
    const error = await failureOf(router.hold(['a'], BUDGET_MS));
    expect([error.kind, error.message]).toEqual(['unknown', expect.stringContaining('did not end in time')]);
    expect(performance.now() - begun).toBeLessThan(20_000);
    await delay(100);
    const beats = (await logged()).length;
    await delay(300);
    expect((await logged()).length).toBe(beats);
  });

  test('a hold ends with its budget, however long programs may take, and does nothing later', async () => {
    const router = routerOf({ hold: sh('echo begun >>log; sleep 1; echo "held $1" >>log', '{phase}') });
    const error = await failureOf(router.hold(['a', 'b'], 300));
    expect([error.kind, error.message]).toEqual(['unknown', expect.stringContaining('did not end in time')]);
    await delay(1_200);
    expect(await logged()).toEqual(['begun']);
  });

  test('a grandchild that has its own group, or holds the pipes, does not hold us up', async () => {
    const begun = performance.now();
    // It cannot be reached by the group's signal; what matters is that the window is not spent on it.
    const away =
      'setsid sh -c "echo \\$\\$ >grandchild; exec sleep 30" & while ! test -s grandchild; do sleep 0.05; done';
    const error = await failureOf(routerOf({ hold: sh(`${away}; sleep 30`), timeoutMs: 1_500 }).hold(['a'], BUDGET_MS));
    expect(error.kind).toBe('unknown');
    await routerOf({ hold: sh('setsid sleep 30 & echo $! >other; exit 0') }).hold(['a'], BUDGET_MS);
    expect(performance.now() - begun).toBeLessThan(20_000);
    for (const name of ['grandchild', 'other'])
      process.kill(Number(await readFile(join(folder, name), 'utf8')), 'SIGKILL');
  });

  test('a program that stops itself is ended', async () => {
    const error = await failureOf(routerOf({ hold: sh('kill -STOP $$'), timeoutMs: 300 }).hold(['a'], BUDGET_MS));
    expect([error.kind, error.message]).toEqual(['unknown', expect.stringContaining('did not end in time')]);
  });

  test('it has no input: a question to the operator ends at once', async () => {
    await routerOf({ hold: sh('read answer; echo "[$answer]" >log') }).hold(['a'], BUDGET_MS);
    expect(await logged()).toEqual(['[]']);
  });

  test('output without end, on both streams and while it hangs, takes no memory', async () => {
    const before = process.memoryUsage().rss;
    const error = await failureOf(routerOf({ hold: sh('yes error >&2 & yes'), timeoutMs: 700 }).hold(['a'], BUDGET_MS));
    expect(error.kind).toBe('unknown');
    expect(error.message.length).toBeLessThan(3_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 2 ** 20);
  });

  test('secrets of its environment are not told when it prints them, in any spelling', async () => {
    const secret = "c4nary:/p@ss's";
    rememberSecret(secret, ['c4nary%3a%2Fp%40ss%27s']);
    const environment = {
      PATH: process.env.PATH,
      PGPASSWORD: secret,
      URL: `postgres://me:${encodeURIComponent(secret)}@h/d`,
    };
    const script = 'env >&2; echo "$PGPASSWORD c4nary%3a%2Fp%40ss%27s" >&2; exit 1';
    const error = await failureOf(routerOf({ hold: sh(script), environment }).hold(['a'], BUDGET_MS));
    expect(error.message).toContain('PGPASSWORD=***');
    expect(error.message).not.toMatch(/c4nary/);
    const observed = await failureOf(routerOf({ observe: sh('env'), environment }).observe('a'));
    expect(observed.message).not.toMatch(/c4nary/);
  });

  test('output without end is read and dropped', async () => {
    const script = 'head -c 3000000 /dev/zero | tr "\\0" x >&2; exit 1';
    const error = await failureOf(routerOf({ hold: sh(script) }).hold(['a'], BUDGET_MS));
    expect(error.kind).toBe('refused');
    expect(error.message.length).toBeLessThan(3_000);
  });

  test('a daemon that it leaves behind does not hold us up', async () => {
    const begun = performance.now();
    await routerOf({ hold: sh('sleep 60 & echo $! >child; exit 0') }).hold(['a'], BUDGET_MS);
    expect(performance.now() - begun).toBeLessThan(30_000);
    process.kill(Number(await readFile(join(folder, 'child'), 'utf8')));
  });
});
