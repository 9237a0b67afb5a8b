import type { KeyRange } from '../../databases/digests.ts';
import { SwitchbackError } from '../../domain/errors.ts';
import { beginAnew } from '../../domain/remedy.ts';
import type { SqlExecutor, SqlSide } from '../../domain/sql.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { type KeyColumn, readKeyColumns } from '../../platform/postgres/key.ts';
import { quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import { codeOf } from '../../platform/postgres/server.ts';
import { type Chunk, phaseOfLane } from '../engine.ts';
import { firstChunkRows, gapsOf, type KeyBounds, readBounds, sortChunks } from './chunks.ts';
import type { LaneContext } from './context.ts';
import { copyLockSql } from './copy-chunk.ts';
import { type CopyFormat, chooseFormats } from './copy-format.ts';
import { findPadding, type Padding } from './copy-padding.ts';

/** What is left to copy of one table, and how far it is. */
export interface TableWork {
  readonly table: Table;
  /** Of its key, to cut by. Empty when it is copied whole: without a key, or small. */
  readonly columns: readonly KeyColumn[];
  /** To cut at. */
  readonly bounds: KeyBounds | null;
  readonly format: CopyFormat;
  readonly padding: Padding;
  /** Not yet handed out, in key order. */
  gaps: readonly KeyRange[];
  /** Handed out and not yet committed. */
  inFlight: number;
  /** Committed, by this process and earlier ones. */
  rows: number;
  bytes: number;
  /** Rows that are not to be cut any more: those of earlier processes, and those that this one has asked for since. */
  handedOut: number;
  /** Rows to cut next. */
  chunkRows: number;
}

/** What is left to copy of a lane. */
export interface CopyPlan {
  readonly works: readonly TableWork[];
  /** Whether an earlier process has copied a chunk, and so has waited for what the first chunk must see. */
  readonly isBegun: boolean;
}

/** Whether every chunk of a table is committed. */
export const isFinished = (work: TableWork): boolean => work.gaps.length === 0 && work.inFlight === 0;

/** Under this size of heap and TOAST a table is one chunk: cutting it would cost more than a repeated copy. */
const SMALL_TABLE_BYTES = 8 * 2 ** 20;
const LOCK_TIMEOUT_MS = 30_000;
const LOCK_NOT_AVAILABLE = '55P03';
const TABLES_PER_QUERY = 200;

/**
 * Finds out what is left to copy: the tables less the chunks in the journal. Large tables come first, so that the last
 * worker does not begin with the largest; tables without a key come before all, because a snapshot is held for them.
 * Throws kind `refused` when a table that nothing was copied to has rows, `busy` when an earlier copy is still committing.
 */
export const planCopy = async (context: LaneContext): Promise<CopyPlan> => {
  const { tables } = context.spec;
  requireDistinctNames(tables);
  const journal = await readJournal(context);
  const formats = await chooseFormats(context, tables);
  const paddings = await findPadding(context, tables, formats);
  const works: TableWork[] = [];
  for (const table of tables) {
    const chunks = journal.get(displayName(table)) ?? [];
    if (isCutDifferently(table, chunks)) throw cutDifferently(context, table);
    const columns = isCut(table, chunks) ? await readKeyColumns(context.from, table) : [];
    works.push({
      table,
      columns,
      bounds: await readBounds(context.from, table, columns),
      format: formats.get(displayName(table)) ?? 'text',
      padding: paddings.get(displayName(table)) ?? new Map(),
      gaps: await remaining(context.from, { table, columns }, chunks),
      inFlight: 0,
      rows: chunks.reduce((sum, chunk) => sum + chunk.rows, 0),
      bytes: chunks.reduce((sum, chunk) => sum + chunk.bytes, 0),
      handedOut: chunks.reduce((sum, chunk) => sum + chunk.rows, 0),
      chunkRows: firstChunkRows(table),
    });
  }
  const rank = (work: TableWork): number => (work.table.key === null ? Number.POSITIVE_INFINITY : work.table.bytes);
  works.sort((a, b) => (rank(a) === rank(b) ? 0 : rank(b) - rank(a)));
  return { works, isBegun: journal.size > 0 };
};

/** A table of which a part is done goes on by its key; another one, if it has a key and is not small. */
const isCut = (table: Table, chunks: readonly Chunk[]): boolean => {
  if (chunks.some((chunk) => chunk.after !== null || chunk.upTo !== null)) return true;
  return table.key !== null && chunks.length === 0 && table.bytes > SMALL_TABLE_BYTES;
};

const remaining = async (
  side: SqlSide,
  from: Pick<TableWork, 'table' | 'columns'>,
  chunks: readonly Chunk[],
): Promise<readonly KeyRange[]> => {
  if (chunks.length <= 1 || from.columns.length === 0) return gapsOf(chunks);
  return gapsOf(await sortChunks(side, from, chunks));
};

/** The journal knows a table by its display name, which two hostile names can share: `"a.b".c` and `a."b.c"`. */
const requireDistinctNames = (tables: readonly Table[]): void => {
  const names = new Set<string>();
  for (const table of tables) {
    const name = displayName(table);
    if (names.has(name)) throw new SwitchbackError('internal', `two tables of one phase are both shown as ${name}`);
    names.add(name);
  }
};

/** Ends of chunks of another key would be compared with what they are not. */
const isCutDifferently = (table: Table, chunks: readonly Chunk[]): boolean =>
  chunks.some(({ after, upTo }) => {
    const end = after ?? upTo;
    return end !== null && end.length !== table.key?.columns.length;
  });

const cutDifferently = (context: LaneContext, table: Table): SwitchbackError =>
  new SwitchbackError('halted', `the key of ${displayName(table)} has changed since a part of it was copied`, {
    remedy: `bring the key back as it was, then: switchback resume PLAN PHASE; or begin anew: ${beginAnew(phaseOfLane(context.spec.lane))}`,
  });

const readJournal = async (context: LaneContext): Promise<ReadonlyMap<string, readonly Chunk[]>> => {
  try {
    return await context.to.transaction(async (sql) => {
      await sql.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
      await sql.query(`SELECT pg_advisory_xact_lock(${copyLockSql(context.spec.lane)})`);
      const journal = Map.groupBy(await context.spec.store.chunks(sql), (chunk) => chunk.table);
      await refuseStrangers(
        sql,
        context.spec.tables.filter((t) => !journal.has(displayName(t))),
      );
      return journal;
    });
  } catch (error) {
    if (codeOf(error) !== LOCK_NOT_AVAILABLE) throw error;
    throw new SwitchbackError(
      'busy',
      `an earlier copy of ${context.spec.lane} is still ending on the ${context.to.label}`,
      {
        remedy:
          "look who that is: select pid, state, query from pg_stat_activity where application_name like 'switchback%:copy'; it is tried again",
        cause: error,
      },
    );
  }
};

/** Rows that we did not write would be mixed with the copy, or break it in the middle. */
const refuseStrangers = async (sql: SqlExecutor, tables: readonly Table[]): Promise<void> => {
  const filled: string[] = [];
  for (let i = 0; i < tables.length; i += TABLES_PER_QUERY) {
    const parts = tables
      .slice(i, i + TABLES_PER_QUERY)
      .map((t) => `SELECT ${quoteText(displayName(t))} AS name WHERE EXISTS (SELECT 1 FROM ONLY ${quoteTable(t)})`);
    const { rows } = await sql.query(parts.join(' UNION ALL '));
    filled.push(...rows.map((row) => row.name ?? ''));
  }
  if (filled.length === 0) return;
  const quoted = tables.filter((table) => filled.includes(displayName(table))).map(quoteTable);
  throw new SwitchbackError('refused', `tables to be copied to are not empty: ${filled.join(', ')}`, {
    remedy: `look at where these rows come from, and empty the tables past their fence (SET session_replication_role = replica; TRUNCATE ${quoted.join(', ')};), then: switchback resume PLAN PHASE`,
  });
};
