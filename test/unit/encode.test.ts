import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CopyText } from '../../src/engines/stream/copy-text.ts';
import { encodeMerge } from '../../src/engines/stream/encode.ts';
import type { LaneTable } from '../../src/engines/stream/lane-table.ts';
import type { WrittenColumn } from '../../src/engines/stream/written-tables.ts';
import type { FoldedRow } from '../../src/rows/fold.ts';
import { type Tuple, tupleOf } from '../../src/rows/tuple.ts';

const column = (name: string): WrittenColumn => ({
  name,
  type: 'text',
  typeId: 25,
  typeModifier: -1,
  baseSchema: 'pg_catalog',
  baseName: 'text',
  isGenerated: false,
  isIdentityAlways: false,
  isToastable: true,
  collation: null,
  equals: '=',
  reading: { before: '', after: '' },
});
const table: LaneTable = {
  name: 'public.t',
  keyAt: [0],
  columns: [column('id'), column('v')],
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
const tuple = (id: string, value: string | 'unchanged'): Tuple =>
  tupleOf([Buffer.from(id), value === 'unchanged' ? value : Buffer.from(value)]);
const row = (found: boolean, after: Tuple | null, key = tuple('1', 'x')): FoldedRow => ({ found, key, after });

// Read back as the documentation says a server reads it, with nothing of the code that wrote it.
const UNESCAPED: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', '\\': '\\' };
const readText = (text: string): (string | null)[][] =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) =>
      line.split('\t').map((field) => {
        if (field === '\\N') return null;
        return field.replace(/\\(.)/gs, (_, mark: string) => UNESCAPED[mark] ?? `(unknown: ${mark})`);
      }),
    );

describe('rows for COPY in text format', () => {
  test('come back as they were: tabs, newlines, backslashes, marks of NULL and of the end, long values', () => {
    const special = fc.constantFrom('\\N', '\\.', '\\', '\t', '\n', '\r\n', '', '\\\\n', 'ä€😀');
    const text = fc.oneof(
      {
        weight: 10,
        arbitrary: fc
          .array(fc.oneof(special, fc.string({ unit: 'grapheme', maxLength: 9 })), { maxLength: 9 })
          .map((parts) => parts.join('')),
      },
      { weight: 1, arbitrary: fc.constantFrom('\\'.repeat(200_000), 'x'.repeat(131_072), '\n'.repeat(32_768)) },
    );
    fc.assert(
      fc.property(fc.array(fc.array(fc.oneof(text, fc.constant(null)), { minLength: 2, maxLength: 4 })), (rows) => {
        const out = new CopyText();
        for (const values of rows)
          out.row(tupleOf(values.map((value) => (value === null ? null : Buffer.from(value)))));
        const written = Buffer.concat(out.take()).toString('utf8');
        expect(readText(written)).toEqual(rows);
        // A server refuses one that is not escaped.
        expect(written.includes('\r')).toBe(false);
      }),
      { numRuns: 100 },
    );
  });
});

describe('a merge', () => {
  const mixed = [
    row(false, tuple('1', 'new')),
    row(true, tuple('2', 'changed')),
    row(true, tuple('3', 'unchanged')),
    row(true, null),
    row(false, null),
  ];

  test('copies what is strictly new into the table, and stages the rest', () => {
    const { staged, inserts } = encodeMerge(table, mixed, { mode: 'strict', part: 7 });
    expect(inserts?.sql).toBe('COPY "public"."t" ("id", "v") FROM STDIN');
    expect(Buffer.concat(inserts?.chunks ?? []).toString('utf8')).toBe('1\tnew\n');
    expect([...(staged?.counts ?? [])]).toEqual([
      ['update', 2],
      ['delete', 1],
      ['absent', 1],
    ]);
    expect(staged?.columns).toEqual(['part', 'op', 'mask', 'n1', 'n2']);
  });

  test('copies nothing into the table while a row may be there already', () => {
    const { staged, inserts } = encodeMerge(table, mixed, { mode: 'idempotent', part: 7 });
    expect(inserts).toBeNull();
    expect(staged?.counts.get('upsert')).toBe(2);
  });

  test('names no operation where there is one, and no mask where every value was sent', () => {
    const { staged } = encodeMerge(table, [row(true, tuple('2', 'a'))], { mode: 'strict', part: 7 });
    expect(staged?.columns).toEqual(['part', 'n1', 'n2']);
    expect(encodeMerge(table, [row(false, tuple('1', 'a'))], { mode: 'strict', part: 7 }).staged).toBeNull();
  });

  test('a table without columns has nothing that COPY could name', () => {
    const bare = { ...table, columns: [], keyAt: null };
    const { inserts, staged } = encodeMerge(bare, [row(false, tupleOf([]), tupleOf([]))], { mode: 'strict', part: 7 });
    expect(inserts).toBeNull();
    expect(staged?.count).toBe(1);
  });
});
