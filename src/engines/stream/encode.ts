import { quoteTable } from '../../platform/postgres/quote.ts';
import type { FoldedRow } from '../../rows/fold.ts';
import type { Tuple } from '../../rows/tuple.ts';
import { CopyRows } from './copy-rows.ts';
import { CopyText } from './copy-text.ts';
import type { LaneTable } from './lane-table.ts';
import { insertColumns, type Mode, type Operation, type Staged } from './merge-sql.ts';

/** Rows of a merge as a stage takes them. */
export interface EncodedRows extends Staged {
  readonly chunks: readonly Buffer[];
  /** The stage's columns that the rows have. */
  readonly columns: readonly string[];
  /** Tells them from others in the same stage. */
  readonly part: number;
  readonly count: number;
}

/** Rows that are new to their table: COPY puts them straight into it. */
export interface EncodedInserts {
  readonly chunks: readonly Buffer[];
  readonly sql: string;
}

/** Folded rows of one table, ready to be sent: what has to find a row goes through a stage. */
export interface EncodedMerge {
  readonly staged: EncodedRows | null;
  readonly inserts: EncodedInserts | null;
}

/** What a merge stages of a folded row. */
export interface StagedRow {
  readonly operation: Operation;
  readonly tuple: Tuple;
  /** Only the key's columns matter. */
  readonly isKeyOnly: boolean;
}

/** Operations as a stage has them. */
export const OPERATION_BYTES: Readonly<Record<Operation, Buffer>> = {
  insert: Buffer.from('insert'),
  update: Buffer.from('update'),
  delete: Buffer.from('delete'),
  absent: Buffer.from('absent'),
  upsert: Buffer.from('upsert'),
};

/**
 * Encodes the folded rows of a table. Strict inserts need no stage: the target's COPY writes many rows at once, reads each
 * value once, and fails on a key that is there, as the merge would (measured: less than half of the server's time).
 */
export const encodeMerge = (
  table: LaneTable,
  rows: readonly FoldedRow[],
  how: { readonly mode: Mode; readonly part: number },
): EncodedMerge => {
  // COPY needs a column.
  const isDirect = how.mode === 'strict' && table.columns.length > 0;
  const staged: StagedRow[] = [];
  const inserts = new CopyText();
  let inserted = 0;
  for (const row of rows) {
    if (isDirect && !row.found && row.after !== null) {
      inserts.row(row.after);
      inserted += 1;
    } else {
      staged.push(stageRow(row, how.mode));
    }
  }
  const sql = `COPY ${quoteTable(table.table)} ${insertColumns(table)} FROM STDIN`;
  return {
    staged: staged.length === 0 ? null : encodeStaged(table, staged, how.part),
    inserts: inserted === 0 ? null : { sql, chunks: inserts.take() },
  };
};

/** Encodes rows for a stage, with the operation only where there are several, and the mask only where it is needed. */
export const encodeStaged = (table: LaneTable, rows: readonly StagedRow[], part: number): EncodedRows => {
  const counts = new Map<Operation, number>();
  for (const { operation } of rows) counts.set(operation, (counts.get(operation) ?? 0) + 1);
  const isMasked = rows.some((row) => row.tuple.hasUnchanged);
  const isMixed = counts.size > 1;
  const columns = ['part', ...(isMixed ? ['op'] : []), ...(isMasked ? ['mask'] : [])];
  const fields = columns.length + table.columns.length;
  const out = new CopyRows();
  for (const { operation, tuple, isKeyOnly } of rows) {
    out.row(fields);
    out.integer(part);
    if (isMixed) out.text(OPERATION_BYTES[operation]);
    if (isMasked) out.text(maskOf(tuple));
    if (isKeyOnly && table.keyAt !== null) writeKey(out, table, table.keyAt, tuple);
    else out.tuple(tuple);
  }
  const values = table.columns.map((_, i) => `n${i + 1}`);
  return { chunks: out.take(), columns: [...columns, ...values], part, count: rows.length, counts, isMasked };
};

/** How a folded row is staged, by mode; see {@link Operation}. */
export const stageRow = (row: FoldedRow, mode: Mode): StagedRow => {
  if (row.after !== null) {
    const isUpdate = mode === 'strict' ? row.found : row.after.hasUnchanged;
    const otherwise: Operation = mode === 'strict' ? 'insert' : 'upsert';
    return { operation: isUpdate ? 'update' : otherwise, tuple: row.after, isKeyOnly: false };
  }
  const isDelete = row.found || mode === 'idempotent';
  return { operation: isDelete ? 'delete' : 'absent', tuple: row.key, isKeyOnly: true };
};

/** A `u` at each column that was not sent, or null when there is none. */
export const maskOf = (tuple: Tuple): Buffer | null => {
  if (!tuple.hasUnchanged) return null;
  const marks = tuple.values().map((value) => (value === 'unchanged' ? 'u' : '-'));
  return Buffer.from(marks.join(''));
};

const writeKey = (out: CopyRows, table: LaneTable, keyAt: readonly number[], tuple: Tuple): void => {
  for (let i = 0; i < table.columns.length; i++) {
    if (keyAt.includes(i)) out.columns(tuple, [i]);
    else out.nulls(1);
  }
};
