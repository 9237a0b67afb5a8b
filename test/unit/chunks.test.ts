import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { KeyText } from '../../src/databases/digests.ts';
import type { Chunk } from '../../src/engines/engine.ts';
import { firstChunkRows, gapsOf, nextChunkRows, rowsToCut } from '../../src/engines/stream/chunks.ts';
import { fakeTable } from '../support/fake-digests.ts';

const chunk = (after: KeyText | null, upTo: KeyText | null): Chunk => ({ table: 't', after, upTo, rows: 1, bytes: 1 });

describe('gapsOf', () => {
  test('nothing copied is one gap, everything is none', () => {
    expect(gapsOf([])).toEqual([{ after: null, upTo: null }]);
    expect(gapsOf([chunk(null, null)])).toEqual([]);
    expect(gapsOf([chunk(null, ['5']), chunk(['5'], null)])).toEqual([]);
  });

  test('gaps at the beginning, in between and at the end', () => {
    expect(gapsOf([chunk(['5'], ['7'])])).toEqual([
      { after: null, upTo: ['5'] },
      { after: ['7'], upTo: null },
    ]);
    expect(gapsOf([chunk(null, ['a', '1']), chunk(['b', '1'], null)])).toEqual([
      { after: ['a', '1'], upTo: ['b', '1'] },
    ]);
  });

  test('chunks and gaps together are the table, whichever chunks are missing', () => {
    const bounds = fc.uniqueArray(fc.integer({ min: 0, max: 1000 }), { maxLength: 30 });
    fc.assert(
      fc.property(bounds, fc.array(fc.boolean(), { minLength: 31, maxLength: 31 }), (numbers, kept) => {
        const ends = [null, ...numbers.sort((a, b) => a - b).map((n) => [String(n)]), null];
        const all = ends.slice(1).map((upTo, i) => chunk(ends[i] ?? null, upTo));
        const copied = all.filter((_, i) => kept[i]);
        const pieces = [...copied, ...gapsOf(copied)].sort(
          (a, b) => Number(a.after?.[0] ?? -1) - Number(b.after?.[0] ?? -1),
        );
        let reached: string | undefined;
        for (const [i, piece] of pieces.entries()) {
          expect(piece.after?.[0]).toBe(reached);
          reached = piece.upTo?.[0];
          expect(piece.upTo === null).toBe(i === pieces.length - 1);
        }
      }),
    );
  });
});

describe('sizes of chunks', () => {
  test('a first chunk is small, and smaller for wide rows', () => {
    expect(firstChunkRows(fakeTable('t', { rows: 1_000_000, rowBytes: 100 }))).toBe(5_000);
    expect(firstChunkRows(fakeTable('t', { rows: 1_000, rowBytes: 2 ** 20 }))).toBe(16);
    expect(firstChunkRows(fakeTable('t', { rows: 10, rowBytes: 2 ** 30 }))).toBe(1);
    expect(firstChunkRows(fakeTable('t'))).toBe(5_000);
  });

  test('towards two seconds, in steps, within bytes and rows', () => {
    const measure = { asked: 10_000, rows: 10_000, bytes: 1_000_000, seconds: 1 };
    expect(nextChunkRows(measure)).toBe(20_000);
    expect(nextChunkRows({ ...measure, seconds: 0 })).toBe(40_000);
    expect(nextChunkRows({ ...measure, seconds: 60 })).toBe(5_000);
    expect(nextChunkRows({ ...measure, seconds: 0.1, bytes: 10_000 * 100_000 })).toBe(2684);
    expect(nextChunkRows({ ...measure, asked: 1_900_000, rows: 1_900_000, seconds: 0.1 })).toBe(2_000_000);
    expect(nextChunkRows({ ...measure, rows: 10, seconds: 0.001 })).toBe(10_000);
    expect(nextChunkRows({ asked: 1, rows: 1, bytes: 2 ** 30, seconds: 30 })).toBe(1);
  });

  test('smaller towards the end of a table, but not below a first one, and not beyond what statistics know', () => {
    expect(rowsToCut(100_000, { rows: 5_000_000, connections: 2 })).toBe(100_000);
    expect(rowsToCut(100_000, { rows: 200_000, connections: 2 })).toBe(50_000);
    expect(rowsToCut(100_000, { rows: 200_000, connections: 5 })).toBe(20_000);
    expect(rowsToCut(100_000, { rows: 1_000, connections: 2 })).toBe(5_000);
    expect(rowsToCut(16, { rows: 1_000, connections: 2 })).toBe(16);
    expect(rowsToCut(100_000, { rows: 0, connections: 2 })).toBe(100_000);
    expect(rowsToCut(100_000, { rows: -70_000, connections: 2 })).toBe(100_000);
  });
});
