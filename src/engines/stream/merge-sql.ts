import { quoteName, quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import type { LaneTable } from './lane-table.ts';
import type { WrittenColumn } from './written-tables.ts';

/**
 * How changes are applied (DESIGN 4.3). `strict`: every change finds exactly what the origin had. `idempotent`: until the
 * copy is caught up with, a row may hold a later state already.
 */
export type Mode = 'strict' | 'idempotent';

/**
 * What is to be done with a staged row. `insert`, `update`, `delete` and `absent` (it was inserted and is gone again: there
 * must be no row) have to find what they expect, when strict. `upsert` takes the row's place whatever is there.
 */
export type Operation = 'insert' | 'update' | 'delete' | 'absent' | 'upsert';

/** What was staged for a merge. */
export interface Staged {
  readonly counts: ReadonlyMap<Operation, number>;
  /** Whether any row has an unchanged value. */
  readonly isMasked: boolean;
}

/** A statement of a merge; `expect` is the number of rows that it must find, or null when any will do. */
export interface MergeStatement {
  readonly sql: string;
  readonly expect: number | null;
}

/**
 * The statements that merge a stage into its table, in an order in which a value that moves from one row to another meets
 * no unique index: what goes, what changes, what comes.
 */
export const mergeStatements = (table: LaneTable, staged: StagedAt, mode: Mode): readonly MergeStatement[] => {
  const { counts, stage } = staged;
  const target = `ONLY ${quoteTable(table.table)} AS t`;
  const of: Readonly<Record<Operation, () => string>> = {
    absent: () => `SELECT 1 FROM ${target}, ${stage} AS s WHERE ${matches(table, staged, 'absent')}`,
    delete: () => `DELETE FROM ${target} USING ${stage} AS s WHERE ${matches(table, staged, 'delete')}`,
    update: () => updateSql(table, staged),
    upsert: () => `${insertSql(table, staged, 'upsert')} ${onConflict(table)}`,
    insert: () => insertSql(table, staged, 'insert'),
  };
  const order = ['absent', 'delete', 'update', 'upsert', 'insert'] as const;
  return order
    .filter((operation) => counts.has(operation))
    .map((operation) => ({ sql: of[operation](), expect: expected(operation, counts.get(operation) ?? 0, mode) }));
};

const expected = (operation: Operation, count: number, mode: Mode): number | null => {
  if (operation === 'absent') return 0;
  return mode === 'strict' || operation === 'insert' ? count : null;
};

/** A staged text as a value of its column. `text` is an SQL expression. */
export const typed = (column: WrittenColumn, text: string): string => {
  const value = `${column.reading.before}${text}${column.reading.after}::${column.type}`;
  // The stage's text has the default collation; two different ones cannot be compared.
  return column.collation === null ? value : `(${value} COLLATE ${column.collation})`;
};

/** Columns that an UPDATE may set, with their places. */
export const settable = (table: LaneTable, withKey: boolean): readonly (readonly [WrittenColumn, number])[] =>
  table.columns
    .map((column, i) => [column, i] as const)
    .filter(([column, i]) => !column.isIdentityAlways && (withKey || !table.keyAt?.includes(i)));

/**
 * An assignment of a staged value. Where it was not sent the column is set to itself, which leaves a TOASTed value where it
 * is; `mask` is null when the stage has none.
 */
export const assign = (
  [column, i]: readonly [WrittenColumn, number],
  names: { readonly row: string; readonly staged: string; readonly isMasked: boolean },
): string => {
  const name = quoteName(column.name);
  const value = typed(column, `${names.staged}.n${i + 1}`);
  if (!names.isMasked || !column.isToastable) return `${name} = ${value}`;
  const isUnchanged = `pg_catalog.substr(${names.staged}.mask, ${i + 1}, 1) = 'u'`;
  return `${name} = CASE WHEN ${isUnchanged} THEN ${names.row}.${name} ELSE ${value} END`;
};

/** Conditions on identity columns outside the key, which cannot be set: they must be right already. */
export const fixed = (table: LaneTable, names: { readonly row: string; readonly staged: string }): readonly string[] =>
  table.columns.flatMap((column, i) =>
    column.isIdentityAlways && !table.keyAt?.includes(i)
      ? [`${names.row}.${quoteName(column.name)} = ${typed(column, `${names.staged}.n${i + 1}`)}`]
      : [],
  );

/** Column list of an INSERT; a table may have no columns. */
export const insertColumns = (table: LaneTable): string =>
  table.columns.length === 0 ? '' : `(${table.columns.map((c) => quoteName(c.name)).join(', ')})`;

/** What an INSERT does when the key is there already. */
export const onConflict = (table: LaneTable): string => {
  const key = (table.keyAt ?? []).map((i) => quoteName(table.columns[i]?.name ?? '')).join(', ');
  const sets = settable(table, false).map(
    ([column]) => `${quoteName(column.name)} = excluded.${quoteName(column.name)}`,
  );
  return `ON CONFLICT (${key}) DO ${sets.length === 0 ? 'NOTHING' : `UPDATE SET ${sets.join(', ')}`}`;
};

const matches = (table: LaneTable, staged: StagedAt, operation: Operation): string => {
  const keys = (table.keyAt ?? []).flatMap((i) => {
    const column = table.columns[i];
    return column === undefined ? [] : [`t.${quoteName(column.name)} ${column.equals} ${typed(column, `s.n${i + 1}`)}`];
  });
  return [chosen(staged, operation), ...keys].join(' AND ');
};

type StagedAt = Staged & { readonly stage: string; readonly part: number };

/** Of one fill the rows of one operation; where there is but one, the rows do not name it. */
const chosen = ({ part, counts }: StagedAt, operation: Operation): string =>
  counts.size > 1 ? `s.part = ${part} AND s.op = ${quoteText(operation)}` : `s.part = ${part}`;

const updateSql = (table: LaneTable, staged: StagedAt): string => {
  const { stage, isMasked } = staged;
  const names = { row: 't', staged: 's', isMasked };
  const where = [matches(table, staged, 'update'), ...fixed(table, names)].join(' AND ');
  const sets = settable(table, false).map((column) => assign(column, names));
  // A table that is all key has nothing to set, but the row must be there.
  if (sets.length === 0) return `SELECT 1 FROM ONLY ${quoteTable(table.table)} AS t, ${stage} AS s WHERE ${where}`;
  return `UPDATE ONLY ${quoteTable(table.table)} AS t SET ${sets.join(', ')} FROM ${stage} AS s WHERE ${where}`;
};

const insertSql = (table: LaneTable, staged: StagedAt, operation: Operation): string => {
  const values = table.columns.map((column, i) => typed(column, `s.n${i + 1}`));
  const into = `INSERT INTO ${quoteTable(table.table)} ${insertColumns(table)} OVERRIDING SYSTEM VALUE`;
  return `${into} SELECT ${values.join(', ')} FROM ${staged.stage} AS s WHERE ${chosen(staged, operation)}`;
};
