import type pg from 'pg';
import type { Table } from '../../domain/table.ts';
import type { RowChange } from '../../rows/change.ts';
import type { Tuple } from '../../rows/tuple.ts';
import { copyIn } from './copy-in.ts';
import { CopyRows } from './copy-rows.ts';
import type { EncodedRows } from './encode.ts';
import { maskOf, OPERATION_BYTES } from './encode.ts';
import type { LaneTable } from './lane-table.ts';
import type { Operation, Staged } from './merge-sql.ts';

/** Stages on a session. The first is shared by all small fills, the others take large ones in turn. */
const STAGES = 6;
/**
 * A fill of more rows has a stage to itself, since every statement of a merge reads the whole stage; and a stage with more is
 * emptied before the next fill, not after each one: that costs the server some milliseconds (new files), more than a small
 * batch itself, and ON COMMIT DELETE ROWS pays it at every commit for every temporary table there is.
 */
const LARGE_ROWS = 2_000;
const FIXED_COLUMNS = 4;
const BINARY = 'FROM STDIN WITH (FORMAT binary)';
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
    // As one transaction: each that commits waits for the disk, and clients may be waiting for us.
    const create = (name: string) => `CREATE TEMP TABLE ${name} (part int4, seq int4, op text, mask text, ${columns})`;
    await client.query(names.map(create).join('; '));
    return new Stages(client, names);
  }

  /** Empties stages that have grown. Everything that was filled before is lost. */
  async sweep(): Promise<void> {
    const full = [...this.#rows].filter(([, rows]) => rows >= LARGE_ROWS).map(([name]) => name);
    if (full.length === 0) return;
    await this.#client.query(`TRUNCATE ${full.join(', ')}`);
    for (const name of full) this.#rows.set(name, 0);
  }

  /** A number for the rows of one fill. */
  nextPart(): number {
    this.#part += 1;
    return this.#part;
  }

  /** Copies rows of a merge in. */
  async fillFolded(rows: EncodedRows): Promise<Staged & Place> {
    const stage = this.#stageFor(rows.count);
    const sql = `COPY ${stage} (${rows.columns.join(', ')}) ${BINARY}`;
    await copyIn(this.#client, { sql, chunks: rows.chunks });
    return { stage, part: rows.part, counts: rows.counts, isMasked: rows.isMasked };
  }

  /** Copies changes in as they came, numbered from 0. */
  async fillOrdered(table: LaneTable, changes: readonly StagedChange[]): Promise<Place> {
    const part = this.nextPart();
    const found = foundBy(table);
    const out = new CopyRows();
    for (const [seq, { operation, before, after }] of changes.entries()) {
      out.row(4 + table.columns.length + found.length);
      out.integer(part);
      out.integer(seq);
      out.text(OPERATION_BYTES[operation]);
      out.text(after === null ? null : maskOf(after));
      if (after === null) out.nulls(table.columns.length);
      else out.tuple(after);
      if (before === null) out.nulls(found.length);
      else out.columns(before, found);
    }
    const stage = this.#stageFor(changes.length);
    // A table may have no columns.
    const values = [...numbered('n', table.columns.length), ...numbered('o', found.length)];
    const columns = ['part', 'seq', 'op', 'mask', ...values];
    const sql = `COPY ${stage} (${columns.join(', ')}) ${BINARY}`;
    await copyIn(this.#client, { sql, chunks: out.take() });
    return { stage, part };
  }

  #stageFor(rows: number): string {
    const [small = '', ...large] = this.#rows.keys();
    if (rows >= LARGE_ROWS) this.#turn += 1;
    const stage = rows >= LARGE_ROWS ? (large[this.#turn % large.length] ?? small) : small;
    this.#rows.set(stage, (this.#rows.get(stage) ?? 0) + rows);
    return stage;
  }
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

const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${i + 1}`);
