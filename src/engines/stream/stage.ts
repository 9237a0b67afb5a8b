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

/** Stages on a session. The first is shared by all small fills, the others take large ones in turn. */
const STAGES = 6;
/**
 * A fill of more rows has a stage to itself, since every statement of a merge reads the whole stage; and a stage with more is
 * emptied before the next fill, not after each one: that costs the server some milliseconds (new files), more than a small
 * batch itself, and ON COMMIT DELETE ROWS pays it at every commit for every temporary table there is.
 */
const LARGE_ROWS = 2_000;
const FIXED_COLUMNS = 4;
/** Of a table, in PostgreSQL. */
const MAX_COLUMNS = 1_600;

/** Where a fill went: `part` tells its rows from older ones in the same stage. */
export interface Place {
  /** For SQL. */
  readonly stage: string;
  readonly part: number;
}

/**
 * Temporary tables on the applier's session that changes are copied into before they are merged. All are alike: an
 * operation, and text columns `n…` for new values and `o…` for what the old row is found by. So they serve any table, and
 * values pass through COPY without being parsed.
 */
export class Stages {
  readonly #client: pg.Client;
  /** Rows in each stage. */
  readonly #rows: Map<string, number>;
  #part = 0;
  #turn = 0;

  private constructor(client: pg.Client, names: readonly string[]) {
    this.#client = client;
    this.#rows = new Map(names.map((name) => [name, 0]));
  }

  /** Creates the stages, wide enough for any of the lane's tables. Outside a transaction. */
  static async create(client: pg.Client, tables: readonly Table[]): Promise<Stages> {
    const widest = Math.max(1, ...tables.map((t) => t.columns.length));
    const widestOld = Math.max(1, ...tables.map((t) => t.key?.columns.length ?? t.columns.length));
    const olds = Math.min(widestOld, MAX_COLUMNS - FIXED_COLUMNS - widest);
    const columns = [...numbered('n', widest), ...numbered('o', olds)].map((name) => `${name} text`).join(', ');
    const names = Array.from({ length: STAGES }, (_, i) => `pg_temp.switchback_stage_${i}`);
    for (const name of names) {
      await client.query(`CREATE TEMP TABLE ${name} (part int4, seq int4, op text, mask text, ${columns})`);
    }
    return new Stages(client, names);
  }

  /** Empties stages that have grown. Everything that was filled before is lost. */
  async sweep(): Promise<void> {
    const full = [...this.#rows].filter(([, rows]) => rows >= LARGE_ROWS).map(([name]) => name);
    if (full.length === 0) return;
    await this.#client.query(`TRUNCATE ${full.join(', ')}`);
    for (const name of full) this.#rows.set(name, 0);
  }

  /** Copies folded rows in; tells how many there are of each operation, and whether any has unchanged values. */
  async fillFolded(table: LaneTable, rows: readonly StagedRow[]): Promise<Staged & Place> {
    const place = this.#place(rows.length);
    const counts = new Map<Operation, number>();
    for (const { operation } of rows) counts.set(operation, (counts.get(operation) ?? 0) + 1);
    const encode = function* (): Generator<Buffer> {
      const out = new CopyRows();
      for (const { operation, tuple, isKeyOnly } of rows) {
        out.row(3 + table.columns.length);
        out.integer(place.part);
        out.text(operation);
        out.text(maskOf(tuple));
        writeNew(out, table, { tuple, isKeyOnly });
        yield* out.takeFull();
      }
      yield* out.takeRest();
    };
    await this.#copy(place.stage, ['part', 'op', 'mask', ...numbered('n', table.columns.length)], encode());
    return { ...place, counts, isMasked: rows.some((row) => row.tuple.hasUnchanged) };
  }

  /** Copies changes in as they came, numbered from 0. */
  async fillOrdered(table: LaneTable, changes: readonly StagedChange[]): Promise<Place> {
    const place = this.#place(changes.length);
    const found = foundBy(table);
    const encode = function* (): Generator<Buffer> {
      const out = new CopyRows();
      for (const [seq, { operation, before, after }] of changes.entries()) {
        out.row(4 + table.columns.length + found.length);
        out.integer(place.part);
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
    const columns = [...numbered('n', table.columns.length), ...numbered('o', found.length)];
    await this.#copy(place.stage, ['part', 'seq', 'op', 'mask', ...columns], encode());
    return place;
  }

  #place(rows: number): Place {
    const [small = '', ...large] = this.#rows.keys();
    this.#part += 1;
    if (rows >= LARGE_ROWS) this.#turn += 1;
    const stage = rows >= LARGE_ROWS ? (large[this.#turn % large.length] ?? small) : small;
    this.#rows.set(stage, (this.#rows.get(stage) ?? 0) + rows);
    return { stage, part: this.#part };
  }

  async #copy(stage: string, columns: readonly string[], rows: Generator<Buffer>): Promise<void> {
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
