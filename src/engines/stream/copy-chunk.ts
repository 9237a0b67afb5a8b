import type pg from 'pg';
import type { KeyRange } from '../../databases/digests.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { sleep } from '../../platform/clock.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { becomeApplier } from '../../platform/postgres/applier.ts';
import { cancelStatement, prepareForLongStatements } from '../../platform/postgres/backend.ts';
import { DivertibleSocket } from '../../platform/postgres/divertible-socket.ts';
import type { KeyColumn } from '../../platform/postgres/key.ts';
import { quoteName, quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import { runTransaction } from '../../platform/postgres/server.ts';
import type { Chunk } from '../engine.ts';
import { rangeCondition } from './chunks.ts';
import type { LaneContext } from './context.ts';
import type { CopyFormat } from './copy-format.ts';
import { type Padding, withoutPadding } from './copy-padding.ts';
import { type CopyPipe, type Piped, pipeRows } from './copy-pipe.ts';

/** One range of one table, to be copied in one transaction. */
export interface Piece {
  readonly table: Table;
  /** The key that ranges are of. Empty when the table is copied whole. */
  readonly columns: readonly KeyColumn[];
  readonly range: KeyRange;
  readonly format: CopyFormat;
  /** Columns whose padding is left behind. */
  readonly padding: Padding;
}

/** The two sessions of one copying worker. */
export interface CopySessions {
  readonly reader: pg.Client;
  readonly writer: pg.Client;
  /** Of the server process behind `writer`. */
  readonly writerPid: string;
}

/**
 * Taken shared by each chunk's transaction and exclusively when the journal is read: a transaction of an earlier process
 * may still be committing after that process has died, and its chunk must not be taken for missing.
 */
export const copyLockSql = (lane: string): string => `hashtextextended(${quoteText(`switchback copy ${lane}`)}, 0)`;

/** Opens a worker's sessions. The caller ends both. */
export const openCopySessions = async (context: LaneContext): Promise<CopySessions> => {
  const reader = await context.from.connect('copy', { socket: () => new DivertibleSocket() });
  try {
    // A policy of row security must be an error, never a filter.
    await reader.query('SET row_security = off');
    const writer = await context.to.connect('copy');
    try {
      await becomeApplier(writer);
      return { reader, writer, writerPid: await prepareForLongStatements(writer) };
    } catch (error) {
      await writer.end();
      throw error;
    }
  } catch (error) {
    await reader.end();
    throw error;
  }
};

const END_WITHIN_MS = 2_000;

/** Ends both sessions; one in the middle of a COPY is cut, and its server rolls back. Resolves also when a server is mute. */
export const endCopySessions = async (sessions: CopySessions): Promise<void> => {
  const ended = new AbortController();
  const all = Promise.allSettled([sessions.reader.end(), sessions.writer.end()]).then(() => ended.abort());
  await Promise.race([all, sleep(END_WITHIN_MS, ended.signal).catch(() => undefined)]);
};

/** What copies a piece. */
export interface ChunkCopy {
  readonly context: LaneContext;
  readonly sessions: CopySessions;
  readonly signal: AbortSignal;
  /** As {@link CopyPipe.onBytes}. */
  readonly onBytes?: CopyPipe['onBytes'];
  /** Told of each piece before it is copied. */
  readonly onPiece?: (piece: Piece) => void;
}

/**
 * Copies pieces and journals them, in one transaction on the written side. A table without a key is read under the slot's
 * snapshot, since its changes cannot be applied twice. After an error the sessions are in an unknown state: end them.
 */
export const copyChunks = async (copy: ChunkCopy, pieces: readonly Piece[]): Promise<readonly Chunk[]> => {
  const { context, sessions } = copy;
  const chunks = await runTransaction(sessions.writer, context.to.label, async (sql) => {
    await sql.query(`SELECT pg_advisory_xact_lock_shared(${copyLockSql(context.spec.lane)})`);
    const done: Chunk[] = [];
    for (const piece of pieces) {
      const copied = await underSnapshot(copy, piece, () => pipe(copy, piece));
      const chunk: Chunk = { table: displayName(piece.table), ...piece.range, ...copied };
      await context.spec.store.recordChunk(sql, chunk);
      done.push(chunk);
    }
    failpoint('copy:chunk');
    return done;
  });
  failpoint('copy:chunk-done');
  return chunks;
};

/** Runs the read in the exported snapshot for a table without a key, else in a transaction of its own. */
const underSnapshot = async <T>(copy: ChunkCopy, piece: Piece, work: () => Promise<T>): Promise<T> => {
  const { reader } = copy.sessions;
  const { snapshot } = copy.context;
  if (piece.table.key !== null || snapshot === undefined) return await work();
  await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  await reader.query(`SET TRANSACTION SNAPSHOT ${quoteText(snapshot.name)}`);
  const result = await work();
  await reader.query('COMMIT');
  return result;
};

const pipe = (copy: ChunkCopy, piece: Piece): Promise<Piped> => {
  copy.onPiece?.(piece);
  const { table, columns, range, format, padding } = piece;
  const rows = `ONLY ${quoteTable(table)} t${rangeCondition(columns, range)}`;
  return transfer(copy, { table, format, padding, rows });
};

const carried = (column: string, length: number | undefined): string =>
  length === undefined ? `t.${quoteName(column)}` : withoutPadding(column, length);

/** Which rows are carried over: what stands after FROM, with the table under the name `t`. */
export interface TransferRequest {
  readonly table: Table;
  readonly format: CopyFormat;
  /** None for rows as text. */
  readonly padding?: Padding;
  readonly rows: string;
}

/**
 * Pipes rows from one server's COPY into the other's: no value passes through our hands. Generated columns are left to the
 * receiving side. Memory is the sockets' buffers.
 */
export const transfer = async (
  { context, sessions, signal, onBytes }: ChunkCopy,
  { table, format, padding, rows }: TransferRequest,
): Promise<Piped> => {
  const names = table.columns.filter((c) => !c.generated).map((c) => c.name);
  const columns = names.map(quoteName);
  const wanted = names.map((name) => carried(name, padding?.get(name))).join(', ');
  // A table may have no column to carry; COPY then takes no empty list, and leaves generated columns out by itself.
  const list = columns.length === 0 ? '' : ` (${columns.join(', ')})`;
  const read = `COPY (SELECT ${wanted} FROM ${rows}) TO STDOUT WITH (FORMAT ${format})`;
  const write = `COPY ${quoteTable(table)}${list} FROM STDIN WITH (FORMAT ${format})`;
  try {
    return await pipeRows({ reader: sessions.reader, read, writer: sessions.writer, write, signal, onBytes });
  } catch (error) {
    // A server whose session was cut off goes on with what it does with the rows that it has got.
    if (sessions.writer.connection.stream.destroyed) void cancelStatement(context.to, sessions.writerPid);
    throw error;
  }
};
