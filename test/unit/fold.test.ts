import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Change, Keyed, RowChange } from '../../src/rows/change.ts';
import { fold } from '../../src/rows/fold.ts';
import { fillUnchanged, Tuple, tupleOf, type Value } from '../../src/rows/tuple.ts';

// The model is a table with a key of two columns, a value, and a value that may be TOASTed: an update that does not touch
// the latter comes without it. A random history is made against the model, so that it is one that a database could have
// written; then it is folded, and the segments are applied to a second model in the way that a merge does it. Both must end
// alike, and every precondition that the fold gives must hold.

type Row = readonly [key: string, value: string, toast: string];
type Model = Map<string, Row>;

interface Step {
  readonly kind: 'insert' | 'update' | 'rename' | 'delete' | 'truncate';
  readonly key: number;
  readonly to: number;
  readonly value: string;
  readonly touchesToast: boolean;
}

const steps = fc.array(
  fc.record<Step>({
    kind: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom('insert' as const, 'update' as const, 'delete' as const) },
      { weight: 4, arbitrary: fc.constant('rename' as const) },
      { weight: 1, arbitrary: fc.constant('truncate' as const) },
    ),
    key: fc.nat(4),
    to: fc.nat(4),
    value: fc.string({ maxLength: 3 }),
    touchesToast: fc.boolean(),
  }),
  { maxLength: 40 },
);

const text = (value: string): Buffer => Buffer.from(value, 'utf8');
// 1 and 11, 1 and 1: a key that is put together without lengths would take them for the same.
const keyValues = (key: string): Value[] => [text('1'.repeat(Number(key) + 1)), text('1'.repeat(5 - Number(key)))];
const keyOf = (tuple: Tuple): string => String((tuple.texts([0])[0]?.length ?? 0) - 1);
const rowTuple = ([key, value, toast]: Row, touchesToast = true): Tuple =>
  tupleOf([...keyValues(key), text(value), touchesToast ? text(toast) : 'unchanged']);
const keyTuple = (key: string): Tuple => tupleOf([...keyValues(key), null, null]);

const takeStep = (model: Model, table: Keyed, step: Step): Change | null => {
  const [key, to] = [String(step.key), String(step.to)];
  const old = model.get(key);
  if (step.kind === 'truncate') {
    model.clear();
    return { kind: 'truncate', tables: [table], restartIdentity: false };
  }
  if (step.kind === 'insert') {
    if (old !== undefined) return null;
    const row: Row = [key, step.value, step.value];
    model.set(key, row);
    return { kind: 'insert', table, after: rowTuple(row) };
  }
  if (old === undefined) return null;
  if (step.kind === 'delete') {
    model.delete(key);
    return { kind: 'delete', table, before: keyTuple(key) };
  }
  const newKey = step.kind === 'rename' ? to : key;
  if (newKey !== key && model.has(newKey)) return null;
  const row: Row = [newKey, step.value, step.touchesToast ? step.value : old[2]];
  model.delete(key);
  model.set(newKey, row);
  const before = newKey === key ? null : keyTuple(key);
  return { kind: 'update', table, before, after: rowTuple(row, step.touchesToast) };
};

const resolved = (tuple: Tuple, earlier: Row | undefined): Row => {
  const [value, toast] = tuple.values().slice(2);
  if (toast === 'unchanged' && earlier === undefined) throw new Error('nobody has the unchanged value');
  return [keyOf(tuple), String(value), toast === 'unchanged' ? (earlier?.[2] ?? '') : String(toast)];
};

const applyOne = (model: Model, change: RowChange): void => {
  if (change.kind === 'delete') {
    if (!model.delete(keyOf(change.before))) throw new Error('delete finds no row');
    return;
  }
  const oldKey = change.kind === 'update' ? keyOf(change.before ?? change.after) : null;
  const row = resolved(change.after, oldKey === null ? undefined : model.get(oldKey));
  if (oldKey !== null) model.delete(oldKey);
  model.set(row[0], row);
};

const applyFolded = (model: Model, changes: readonly Change[]): void => {
  for (const segment of fold(changes)) {
    if (segment.kind === 'truncate') model.clear();
    if (segment.kind === 'ordered') for (const change of segment.changes) applyOne(model, change);
    if (segment.kind !== 'merge') continue;
    for (const { rows } of segment.runs) {
      const before = new Map(model);
      for (const row of rows ?? []) {
        expect(before.has(keyOf(row.key))).toBe(row.found);
        if (row.after === null) model.delete(keyOf(row.key));
      }
      for (const row of rows ?? []) {
        if (row.after !== null) model.set(keyOf(row.after), resolved(row.after, before.get(keyOf(row.after))));
      }
    }
  }
};

const sorted = (model: Model): readonly Row[] => [...model.values()].sort(([a], [b]) => a.localeCompare(b));

describe('fold', () => {
  test('has the same effect as the changes in order', () => {
    fc.assert(
      fc.property(steps, fc.nat(40), (history, cut) => {
        const table: Keyed = { name: 't', keyAt: [0, 1] };
        const model: Model = new Map();
        const changes: Change[] = [];
        let start: Model = new Map();
        for (const [i, step] of history.entries()) {
          // What comes before the cut is the state that the batch finds.
          if (i === Math.min(cut, history.length)) start = new Map(model);
          const change = takeStep(model, table, step);
          if (change !== null && i >= cut) changes.push(change);
        }
        const folded = cut >= history.length ? new Map(model) : start;
        applyFolded(folded, changes);
        expect(sorted(folded)).toEqual(sorted(model));
      }),
      { numRuns: 2_000 },
    );
  });

  test('gives one row per key, with what the first change found and the last one left', () => {
    const table: Keyed = { name: 't', keyAt: [0, 1] };
    const [segment, ...more] = fold([
      { kind: 'update', table, before: null, after: rowTuple(['1', 'a', 'x']) },
      { kind: 'update', table, before: null, after: rowTuple(['1', 'b', ''], false) },
      { kind: 'insert', table, after: rowTuple(['2', 'c', 'y']) },
      { kind: 'delete', table, before: keyTuple('2') },
    ]);
    expect(more).toEqual([]);
    const runs = segment?.kind === 'merge' ? segment.runs : [];
    const rows = runs[0]?.rows?.map((row) => [keyOf(row.key), row.found, row.after?.texts([2, 3]) ?? null]);
    expect(rows).toEqual([
      ['1', true, ['b', 'x']],
      ['2', false, null],
    ]);
  });

  test('a table without a key is merged only when it has nothing but inserts', () => {
    const table: Keyed = { name: 't', keyAt: null };
    const insert: Change = { kind: 'insert', table, after: rowTuple(['1', 'a', 'x']) };
    const rowsOf = (changes: readonly Change[]): unknown => {
      const [segment] = fold(changes);
      return segment?.kind === 'merge' ? segment.runs[0]?.rows?.length : undefined;
    };
    expect(rowsOf([insert, insert])).toBe(2);
    expect(rowsOf([insert, { kind: 'delete', table, before: rowTuple(['1', 'a', 'x']) }])).toBeUndefined();
  });

  test('a move that leaves a TOASTed value alone is replayed in order, and only that', () => {
    const table: Keyed = { name: 't', keyAt: [0, 1] };
    const other: Keyed = { name: 'other', keyAt: [0, 1] };
    const move: Change = { kind: 'update', table, before: keyTuple('1'), after: rowTuple(['2', 'b', ''], false) };
    const insert = (of: Keyed, key: string): Change => ({
      kind: 'insert',
      table: of,
      after: rowTuple([key, 'a', 'x']),
    });
    const kinds = fold([insert(other, '1'), move, insert(table, '1'), insert(other, '2')]).map((s) => s.kind);
    expect(kinds).toEqual(['merge', 'ordered', 'merge']);
    // The value is in the batch: nothing is missing.
    expect(fold([insert(table, '1'), move]).map((s) => s.kind)).toEqual(['merge']);
  });
});

test('two forms of one table are not merged together', () => {
  const forms: Keyed[] = [
    { name: 't', keyAt: [0, 1] },
    { name: 't', keyAt: [0, 1] },
  ];
  const segments = fold(forms.map((table) => ({ kind: 'insert', table, after: rowTuple(['1', 'a', 'x']) })));
  expect(segments.map((s) => s.kind)).toEqual(['merge', 'merge']);
});

describe('a tuple', () => {
  const value = fc.oneof(
    fc.constant(null),
    fc.constant('unchanged' as const),
    fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  );

  test('gives back the values that it was made of', () => {
    fc.assert(
      fc.property(fc.array(value), fc.nat(9), (values, offset) => {
        const made = tupleOf(values);
        // As in a message: something before it, something after it.
        const bytes = Buffer.concat([Buffer.alloc(offset, 0x74), made.bytes, Buffer.alloc(3)]);
        const tuple = new Tuple(bytes, offset);
        expect(tuple.values()).toEqual(values);
        expect(values.map((_, i) => tuple.value(i))).toEqual(values);
        expect(tuple.end).toBe(offset + made.bytes.length);
        expect(tuple.hasUnchanged).toBe(values.includes('unchanged'));
      }),
    );
  });

  test('takes unchanged values, and no others, from an earlier state', () => {
    const earlier = tupleOf([text('1'), text('a'), null]);
    expect(fillUnchanged(tupleOf([text('2'), 'unchanged', 'unchanged']), earlier).values()).toEqual([
      text('2'),
      text('a'),
      null,
    ]);
  });

  test('refuses what is no tuple', () => {
    expect(() => new Tuple(Buffer.from([0, 1, 0x78]), 0)).toThrow(RangeError);
    expect(() => new Tuple(Buffer.from([0, 1, 0x74, 0, 0, 0, 9, 1]), 0)).toThrow(RangeError);
  });
});
