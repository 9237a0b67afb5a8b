import { expect, test } from 'vitest';
import { byPhase, isFileForEach, withFiles, written } from '../../src/plan/instances.ts';

test('there is one file for all instances, or one for each, however long the name of one is', () => {
  expect(isFileForEach('abc', 'f')).toBe(true);
  expect(isFileForEach(['a', 'b'], ['f'])).toBe(true);
  expect(isFileForEach(['a', 'b'], ['f', 'g'])).toBe(true);
  expect(isFileForEach(['a', 'b'], ['f', 'g', 'h'])).toBe(false);
  expect(isFileForEach('abc', ['f', 'g', 'h'])).toBe(false);
});

test('each instance has its file, absolute', () => {
  expect(withFiles(['a', 'b'], 'f', '/plans')).toEqual([
    ['a', '/plans/f'],
    ['b', '/plans/f'],
  ]);
  expect(withFiles(['a', 'b'], ['f', '/g'], '/plans')).toEqual([
    ['a', '/plans/f'],
    ['b', '/g'],
  ]);
});

test('what leads each phase is said of each, or once', () => {
  expect([...byPhase('x', undefined, ['p'])]).toEqual([['p', 'x']]);
  expect([...byPhase(undefined, { p: 'x', q: 'y' }, ['p', 'q'])]).toEqual([
    ['p', 'x'],
    ['q', 'y'],
  ]);
});

test('a key without a value is left out', () => {
  expect(Object.keys(written({ host: 'h', port: undefined }))).toEqual(['host']);
});
