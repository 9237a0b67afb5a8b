import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import type { Table } from '../../domain/table.ts';
import type { RowChange } from '../../rows/change.ts';
import type { FoldedRow } from '../../rows/fold.ts';
import type { Tuple } from '../../rows/tuple.ts';
import { CopyRows } from './copy-rows.ts';
import type { LaneTable } from './lane-table.ts';
import type { Mode, Operation, Staged } from './merge-sql.ts';

/** Tables whose changes are staged at once. A phase of many tables is merged in turns. */
const STAGES = 8;
const FIXED_COLUMNS = 3;
/** Of a table, in PostgreSQL. */
const MAX_COLUMNS = 1_600;

/**
 * Temporary tables on the applier's session that changes are copied into before they are merged. All are alike: an
 * operation, and text columns `n…` for new values and `o…` for what the old row is found by. So a few serve any number of
 * tables (emptying one costs each commit some system calls), and values pass through COPY without being parsed.
 */
export class Stages {
  readonly #client: pg.Client;
  /** Names for SQL. */
  readonly names: readonly string[];
  readonly #filled = new Set<string>();

  private constructor(client: pg.Client, names: readonly string[]) {
    this.#client = client;
    this.names = names;
  }

  /** Creates the tables, wide enough for any of the lane's. Outside a transaction. */
  static async create(client: pg.Client, tables: readonly Table[]): Promise<Stages> {
    const widest = Math.max(1, ...tables.map((t) => t.columns.length));
    const widestOld = Math.max(1, ...tables.map((t) => t.key?.columns.length ?? t.columns.length));
    const olds = Math.min(widestOld, MAX_COLUMNS - FIXED_COLUMNS - widest);
    const columns = [...numbered('n', widest), ...numbered('o', olds)].map((name) => `${name} text`);
    const names = Array.from({ length: Math.min(STAGES, tables.length) }, (_, i) => `pg_temp.switchback_stage_${i}`);
    for (const name of names) {
      await client.query(
        `CREATE TEMP TABLE ${name} (seq int4, op text, mask text, ${columns.join(', ')}) ON COMMIT DELETE ROWS`,
      );
    }
    return new Stages(client, names);
  }

  /** Empties the stages that were filled in this transaction. */
  async empty(): Promise<void> {
    if (this.#filled.size > 0) await this.#client.query(`TRUNCATE ${[...this.#filled].join(', ')}`);
    this.#filled.clear();
  }

  /** A transaction has begun: the end of the one before it has emptied the stages. */
  begin(): void {
    this.#filled.clear();
  }

  /** Copies folded rows in; returns how many there are of each operation, and whether any has unchanged values. */
  async fillFolded(stage: string, table: LaneTable, rows: Iterable<StagedRow>): Promise<Staged> {
    const counts = new Map<Operation, number>();
    const staged = { counts, isMasked: false };
    const encode = function* (): Generator<Buffer> {
      const out = new CopyRows();
      for (const { operation, tuple, isKeyOnly } of rows) {
        counts.set(operation, (counts.get(operation) ?? 0) + 1);
        out.row(2 + table.columns.length);
        out.text(operation);
        out.text(maskOf(tuple));
        staged.isMasked ||= tuple.hasUnchanged;
        writeNew(out, table, { tuple, isKeyOnly });
        yield* out.takeFull();
      }
      yield* out.takeRest();
    };
    await this.#copy(stage, ['op', 'mask', ...numbered('n', table.columns.length)], encode());
    return staged;
  }

  /** Copies changes in as they came, numbered from 0. */
  async fillOrdered(stage: string, table: LaneTable, changes: readonly StagedChange[]): Promise<void> {
    const found = foundBy(table);
    const encode = function* (): Generator<Buffer> {
      const out = new CopyRows();
      for (const [seq, { operation, before, after }] of changes.entries()) {
        out.row(3 + table.columns.length + found.length);
        out.integer(seq);
        out.text(operation);
        out.text(after === null ? null : maskOf(after));
        if (after === null) out.nulls(table.columns.length);
        else out.tuple(after);
        if (before === null) out.nulls(found.length);
        else out.columns(before, found);
        yield* out.takeFull();
      }
      yield* out.takeRest();
    };
    const columns = ['seq', 'op', 'mask', ...numbered('n', table.columns.length), ...numbered('o', found.length)];
    await this.#copy(stage, columns, encode());
  }

  async #copy(stage: string, columns: readonly string[], rows: Generator<Buffer>): Promise<void> {
    this.#filled.add(stage);
    const sink = this.#client.query(copyFrom(`COPY ${stage} (${columns.join(', ')}) FROM STDIN WITH (FORMAT binary)`));
    // The stream reports the end of its session once more after the pipeline has, when nobody would be listening.
    sink.on('error', () => undefined);
    await pipeline(Readable.from(rows, { objectMode: true, highWaterMark: 4 }), sink);
  }
}

/** What a merge stages of a folded row. */
export interface StagedRow {
  readonly operation: Operation;
  readonly tuple: Tuple;
  /** Only the key's columns matter. */
  readonly isKeyOnly: boolean;
}

/** What a replay stages of a change. */
export interface StagedChange {
  readonly operation: Operation;
  /** The row that is looked for. */
  readonly before: Tuple | null;
  readonly after: Tuple | null;
  /** For messages. */
  readonly change: RowChange<LaneTable>;
}

/** Columns by which an old row is found, as places in its tuple. */
export const foundBy = (table: LaneTable): readonly number[] => table.keyAt ?? table.columns.map((_, i) => i);

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

const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${i + 1}`);

const writeNew = (
  out: CopyRows,
  table: LaneTable,
  row: { readonly tuple: Tuple; readonly isKeyOnly: boolean },
): void => {
  const { keyAt } = table;
  if (!row.isKeyOnly || keyAt === null) {
    out.tuple(row.tuple);
    return;
  }
  for (let i = 0; i < table.columns.length; i++) {
    if (keyAt.includes(i)) out.columns(row.tuple, [i]);
    else out.nulls(1);
  }
};

/** A `u` at each column that was not sent, or null when there is none. */
const maskOf = (tuple: Tuple): string | null => {
  if (!tuple.hasUnchanged) return null;
  return tuple
    .values()
    .map((value) => (value === 'unchanged' ? 'u' : '-'))
    .join('');
};
