import type pg from 'pg';
import type { Position } from '../../domain/position.ts';
import { becomeApplier } from '../../platform/postgres/applier.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import { quoteTable } from '../../platform/postgres/quote.ts';
import { codeOf } from '../../platform/postgres/server.ts';
import type { Change, RowChange, Truncation } from '../../rows/change.ts';
import { fold, type Segment, type TableRun } from '../../rows/fold.ts';
import type { LaneContext } from './context.ts';
import { copyIn } from './copy-in.ts';
import { type EncodedInserts, type EncodedMerge, encodeMerge } from './encode.ts';
import type { LaneTable } from './lane-table.ts';
import { type MergeStatement, type Mode, mergeStatements } from './merge-sql.ts';
import { isMove, moveRow } from './move.ts';
import { isRefusal, replayInOrder } from './replay.ts';
import { Stages } from './stage.ts';
import type { TouchedKeys } from './touched.ts';

/**
 * The merge joins a stage, which has no statistics, to a table by its key. Left to itself the planner reads the whole table
 * (measured: 2.5 times slower); only a loop over the key's index is wanted, whatever the estimates. JIT would add its own
 * time to each of these short statements.
 */
const PLANNER = ['enable_hashjoin', 'enable_mergejoin', 'enable_seqscan', 'enable_bitmapscan', 'jit'];

/** A run of one table; encoded unless it has to be replayed in order. */
interface PreparedRun {
  readonly run: TableRun<LaneTable>;
  readonly encoded: EncodedMerge | null;
}

/** Changes that are folded and encoded, for the applier that did it. */
export interface Prepared {
  readonly mode: Mode;
  readonly segments: readonly (
    | { readonly kind: 'merge'; readonly runs: readonly PreparedRun[] }
    | Exclude<Segment<LaneTable>, { readonly kind: 'merge' }>
  )[];
}

/** A run whose rows are staged. */
interface Merge {
  readonly run: TableRun<LaneTable>;
  readonly statements: readonly MergeStatement[];
  readonly inserts: EncodedInserts | null;
}

/** Writes changes to the other side. All of it runs in transactions of the caller on {@link Applier.client}. */
export class Applier {
  /** The session, with the rights of an applier. */
  readonly client: pg.Client;
  readonly #context: LaneContext;
  readonly #stages: Stages;
  #onBusy: () => void = () => undefined;

  /** Opens the session. The caller closes it. Throws kind `unreachable` or `refused`. */
  static async open(context: LaneContext): Promise<Applier> {
    const client = await context.to.connect('apply');
    try {
      await becomeApplier(client);
      await client.query(PLANNER.map((name) => `SET ${name} = off`).join('; '));
      return new Applier(context, client, await Stages.create(client, context.spec.tables));
    } catch (error) {
      await client.end().catch(() => undefined);
      throw context.to.wrap(error);
    }
  }

  private constructor(context: LaneContext, client: pg.Client, stages: Stages) {
    this.#context = context;
    this.client = client;
    this.#stages = stages;
  }

  /** Applies changes in order. Resolves with a later `strictFrom` when a row had to be read from the origin again. */
  async apply(changes: readonly Change<LaneTable>[], mode: Mode, touched: TouchedKeys): Promise<Position | null> {
    return await this.applyPrepared(this.prepare(changes, mode), touched);
  }

  /** Folds and encodes changes: all of the work that needs no server. */
  prepare(changes: readonly Change<LaneTable>[], mode: Mode): Prepared {
    const segments = fold(changes).map((segment) => {
      if (segment.kind !== 'merge') return segment;
      return { kind: segment.kind, runs: segment.runs.map((run) => this.#encode(run, mode)) };
    });
    return { mode, segments };
  }

  /**
   * As {@link Applier.apply}. `onBusy` is called whenever the server has got work for a while, and may use the time; it must
   * not throw.
   */
  async applyPrepared(
    { mode, segments }: Prepared,
    touched: TouchedKeys,
    onBusy: () => void = () => undefined,
  ): Promise<Position | null> {
    this.#onBusy = onBusy;
    let strictFrom: Position | null = null;
    for (const segment of segments) {
      await this.#stages.sweep();
      if (segment.kind === 'truncate') {
        await this.#truncate(segment.truncation);
        touched.addAll(segment.truncation.tables);
      } else if (segment.kind === 'ordered') {
        strictFrom = latest(strictFrom, await this.#replayMoves(segment.changes, mode));
        touched.addChanges(segment.changes);
      } else {
        strictFrom = latest(strictFrom, await this.#merge(segment.runs, mode));
        for (const { run } of segment.runs) touched.addRun(run);
      }
    }
    return strictFrom;
  }

  /** Ends the session. */
  async close(): Promise<void> {
    await this.client.end().catch(() => undefined);
  }

  /** Merges each table's rows; a table whose merge fails is replayed in order, which passes or names the row. */
  async #merge(runs: readonly PreparedRun[], mode: Mode): Promise<Position | null> {
    const merges: Merge[] = [];
    for (const prepared of runs) if (prepared.encoded !== null) merges.push(await this.#stage(prepared, mode));
    const unmerged = runs.filter(({ encoded }) => encoded === null).map(({ run }) => run);
    if (!(await this.#attempt(merges))) {
      for (const merge of merges) if (!(await this.#attempt([merge]))) unmerged.push(merge.run);
    }
    let strictFrom: Position | null = null;
    for (const run of unmerged) strictFrom = latest(strictFrom, await this.#replay(run.table, run.changes, mode));
    return strictFrom;
  }

  async #stage({ run, encoded }: PreparedRun, mode: Mode): Promise<Merge> {
    const inserts = encoded?.inserts ?? null;
    if (!encoded?.staged) return { run, statements: [], inserts };
    const staged = await this.#stages.fillFolded(encoded.staged);
    return { run, statements: mergeStatements(run.table, staged, modeOf(run.table, mode)), inserts };
  }

  /** Runs merges, which must find what they expect; undoes them and resolves with false when one does not. */
  async #attempt(merges: readonly Merge[]): Promise<boolean> {
    if (merges.length === 0) return true;
    const statements = merges.flatMap((merge) => merge.statements);
    try {
      const text = ['SAVEPOINT merge', ...statements.map((s) => s.sql)].join(';\n');
      // Several statements in one text give an array of results.
      const answer = this.client.query(text);
      if (statements.length > 0) setImmediate(this.#onBusy);
      const results = [await answer].flat();
      if (statements.every(({ expect }, i) => expect === null || results[i + 1]?.rowCount === expect)) {
        // What is new comes last: a value may have moved out of its way.
        for (const { inserts } of merges) if (inserts !== null) await copyIn(this.client, inserts, this.#onBusy);
        return true;
      }
    } catch (error) {
      if (!isRefusal(codeOf(error))) throw error;
    }
    await this.client.query('ROLLBACK TO SAVEPOINT merge');
    return false;
  }

  #encode(run: TableRun<LaneTable>, mode: Mode): PreparedRun {
    if (run.rows === null) return { run, encoded: null };
    const how = { mode: modeOf(run.table, mode), part: this.#stages.nextPart() };
    return { run, encoded: encodeMerge(run.table, run.rows, how) };
  }

  async #replayMoves(changes: readonly RowChange<LaneTable>[], mode: Mode): Promise<Position | null> {
    let strictFrom: Position | null = null;
    for (const [table, own] of Map.groupBy(changes, (change) => change.table)) {
      strictFrom = latest(strictFrom, await this.#replay(table, own, mode));
    }
    return strictFrom;
  }

  async #replay(table: LaneTable, changes: readonly RowChange<LaneTable>[], laneMode: Mode): Promise<Position | null> {
    const mode = modeOf(table, laneMode);
    const replay = { client: this.client, stages: this.#stages, mode, side: this.#context.to.label };
    let strictFrom: Position | null = null;
    let together: RowChange<LaneTable>[] = [];
    for (const change of changes) {
      if (mode === 'strict' || !isMove(change)) {
        together.push(change);
        continue;
      }
      await replayInOrder(replay, table, together);
      together = [];
      const move = { context: this.#context, client: this.client, stages: this.#stages };
      strictFrom = latest(strictFrom, await moveRow(move, change));
    }
    await replayInOrder(replay, table, together);
    return strictFrom;
  }

  async #truncate(truncation: Truncation<LaneTable>): Promise<void> {
    const tables = truncation.tables.map((t) => quoteTable(t.table)).join(', ONLY ');
    await this.client.query(`TRUNCATE ONLY ${tables} ${truncation.restartIdentity ? 'RESTART IDENTITY' : ''}`);
  }
}

/** A table without a key was copied as it was at the lane's start, and is strict from there. */
const modeOf = (table: LaneTable, mode: Mode): Mode => (table.keyAt === null ? 'strict' : mode);

const latest = (a: Position | null, b: Position | null): Position | null =>
  a === null || b === null ? (a ?? b) : Lsn.max(a, b);
