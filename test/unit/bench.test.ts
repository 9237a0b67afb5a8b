import { describe, expect, test } from 'vitest';
import { readArguments } from '../../scripts/bench/arguments.ts';
import type { Part } from '../../scripts/bench/part.ts';
import { withReport } from '../../scripts/bench/render.ts';
import {
  type Contender,
  compareWith,
  isReached,
  medianOf,
  quantileOf,
  runRounds,
  seriesOf,
} from '../../scripts/bench/rounds.ts';
import { compareContents } from '../../scripts/bench/sides.ts';

const part = (name: string): Part => ({ name, description: '', run: () => Promise.reject(new Error('not run here')) });
const PARTS = [part('copy'), part('lag'), part('switch')];

describe('rounds', () => {
  test('contenders run in turn, each prepared before and looked at after, also when it fails', async () => {
    const told: string[] = [];
    const contender = (name: string, run: Contender['run']): Contender => ({
      name,
      prepare: async () => void told.push(`${name} prepared`),
      run,
      after: async () => void told.push(`${name} after`),
    });
    const options = { rounds: 2, signal: new AbortController().signal, tell: () => undefined };
    const ours = contender('ours', async () => void told.push('ours'));
    const series = await runRounds('case', [ours, contender('theirs', async () => 7)], options);
    const once = ['ours prepared', 'ours', 'ours after', 'theirs prepared', 'theirs after'];
    expect(told).toEqual([...once, ...once]);
    expect(series[1]).toMatchObject({ name: 'theirs', seconds: [7, 7], median: 7, min: 7, max: 7 });
    const informed = { ...contender('informed', async () => 1), atMost: 1 };
    expect((await runRounds('case', [ours, informed], options))[1]?.seconds).toEqual([1]);
    const broken = contender('broken', () => Promise.reject(new Error('wrong')));
    await expect(runRounds('case', [broken], options)).rejects.toThrow('wrong');
    expect(told.at(-1)).toBe('broken after');
    const after = () => Promise.reject(new Error('nothing to look at'));
    await expect(runRounds('case', [{ ...broken, after }], options)).rejects.toThrow('wrong');
  });

  test('medians, quantiles, ratios and what was reached', () => {
    expect([medianOf([3, 1, 2]), medianOf([4, 1, 2, 3]), medianOf([])]).toEqual([2, 2.5, Number.NaN]);
    const values = Array.from({ length: 100 }, (_, at) => 100 - at);
    expect([quantileOf(values, 0.99), quantileOf(values, 0), quantileOf([5], 1)]).toEqual([99, 1, 5]);
    const series = [seriesOf('ours', [3, 3, 9]), seriesOf('a', [4, 4, 4]), seriesOf('b', [1, 1, 1])];
    expect(compareWith('case', series, { a: 0.75 })).toMatchObject([
      { reference: { name: 'a' }, ratio: 0.75, reach: 0.75, reached: true },
      { reference: { name: 'b' }, ratio: 3, reach: null, reached: null },
    ]);
    expect(compareWith('case', series.slice(0, 1), { a: 0.75 })).toMatchObject([{ reference: null, reached: null }]);
    const figure = { case: 'case', name: 'memory', unit: 'bytes', value: 10 } as const;
    expect(isReached({ ...figure, reach: { atMost: 9 } })).toBe(false);
    expect(isReached({ ...figure, reach: { atLeast: 9 } })).toBe(true);
  });
});

describe('the command line', () => {
  test('parts, pairs and the file of results', () => {
    const args = readArguments(['lag', '--json', 'out.json', '--pairs', '18-18', '--rounds', '7'], PARTS);
    expect(args).toMatchObject({ parts: [{ name: 'lag' }], json: 'out.json', pairs: ['18→18'], rounds: 7 });
    expect(readArguments([], PARTS)).toMatchObject({
      parts: PARTS,
      rounds: 5,
      pairs: ['13→18', '18→18'],
      json: undefined,
    });
    expect(readArguments(['--json', 'copy'], PARTS)).toMatchObject({ parts: [{ name: 'copy' }], json: '' });
    expect(readArguments(['--small'], PARTS)).toMatchObject({ rounds: 1, pairs: ['13→18'], router: 'file' });
    expect(readArguments(['switch', '--router', 'pgbouncer'], PARTS)).toMatchObject({ router: 'pgbouncer' });
    expect(readArguments(['switch', '--router', 'haproxy'], PARTS)).toMatchObject({ router: 'haproxy' });
  });

  test.each([
    [['speed']],
    [['--rounds', '0']],
    [['--pairs', '9-10']],
    [['--fast']],
    [['switch', '--router', 'door']],
    [['copy', '--router', 'pgbouncer']],
    [['--router', 'pgbouncer']],
  ])('%j is refused', (words) => {
    expect(() => readArguments(words, PARTS)).toThrow();
  });
});

test('a report replaces the one between its comments, and only that', () => {
  const page = 'a\n<!-- bench: copy -->\nold\n<!-- end: copy -->\nb\n<!-- bench: lag -->\n<!-- end: lag -->\n';
  const written = withReport(page, 'copy', 'new');
  expect(written).toBe('a\n<!-- bench: copy -->\nnew\n<!-- end: copy -->\nb\n<!-- bench: lag -->\n<!-- end: lag -->\n');
  expect(withReport(written, 'copy', 'new')).toBe(written);
  expect(() => withReport(page, 'apply', 'new')).toThrow(RangeError);
});

test('a result that lacks a row, an index or statistics is wrong, and says what', () => {
  const whole = { rows: ['t 2 17'], indexes: ['i', 'j'], constraints: ['k'], statistics: ['t'] };
  const found = { rows: ['t 2 18'], indexes: ['i'], constraints: ['k'], statistics: [] };
  const what = { case: 'case', by: 'ours' };
  expect(compareContents(what, whole, found).map(({ ok }) => ok)).toEqual([false, false, true, false]);
  expect(compareContents(what, whole, found)[1]?.found).toContain('missing j');
  expect(compareContents(what, whole, whole).every(({ ok }) => ok)).toBe(true);
});
