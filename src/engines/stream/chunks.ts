import type { KeyRange, KeyText } from '../../databases/digests.ts';
import type { SqlExecutor, SqlSide } from '../../domain/sql.ts';
import type { Table } from '../../domain/table.ts';
import { type KeyColumn, keyCompares, keyOrder } from '../../platform/postgres/key.ts';
import { quoteName, quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import { textOf } from '../../platform/postgres/row.ts';
import type { Chunk } from '../engine.ts';

const expressions = (columns: readonly KeyColumn[]): readonly string[] =>
  columns.map((column) => `t.${quoteName(column.name)}`);

/** The condition ` WHERE …` on table `t` for a range, or nothing for the whole table. Literals, as COPY takes no parameters. */
export const rangeCondition = (columns: readonly KeyColumn[], range: KeyRange): string =>
  conditionOf(columns, range, 'atMost');

const conditionOf = (columns: readonly KeyColumn[], range: KeyRange, toEnd: 'atMost' | 'less'): string => {
  const left = expressions(columns);
  const literals = (key: KeyText) => columns.map((column, at) => `${quoteText(key[at] ?? '')}::${column.type}`);
  const ends: string[] = [];
  if (range.after !== null) ends.push(keyCompares(columns, 'greater', { left, right: literals(range.after) }));
  if (range.upTo !== null) ends.push(keyCompares(columns, toEnd, { left, right: literals(range.upTo) }));
  return ends.length === 0 ? '' : ` WHERE ${ends.join(' AND ')}`;
};

/** Keys of a table at about equal distances, from its statistics. In no order: the server sorts them when it compares. */
export interface KeyBounds {
  readonly keys: readonly string[];
  /** Rows from one to the next, as far as the statistics know. */
  readonly rowsApart: number;
}

const HISTOGRAM = `
  SELECT b.key FROM pg_stats s CROSS JOIN LATERAL unnest(s.histogram_bounds::text::text[]) AS b (key)
   WHERE s.schemaname = $1 AND s.tablename = $2 AND s.attname = $3 AND NOT s.inherited AND b.key IS NOT NULL`;

/** Reads the bounds of the key's histogram; null without one, and for a key of several columns, of which none is kept. */
export const readBounds = async (
  sql: SqlExecutor,
  table: Table,
  columns: readonly KeyColumn[],
): Promise<KeyBounds | null> => {
  const [column, ...more] = columns;
  if (column === undefined || more.length > 0) return null;
  const { rows } = await sql.query(HISTOGRAM, [table.schema, table.name, column.name]);
  if (rows.length < 2) return null;
  return { keys: rows.map((row) => textOf(row, 'key')), rowsApart: table.estimatedRows / (rows.length - 1) };
};

/**
 * Where a range may be cut: before its end. A key that equals the end can be another text (1.0 and 1.00, or a citext whose
 * row was written anew), and a cut there would leave a piece without any key between two that begin at equal keys: nobody
 * could put them into order again, see {@link gapsOf}.
 */
const cutCondition = (columns: readonly KeyColumn[], within: KeyRange): string => conditionOf(columns, within, 'less');

/** Where a cut begins and how far it may go. */
export interface CutRequest {
  readonly table: Table;
  readonly columns: readonly KeyColumn[];
  readonly bounds: KeyBounds | null;
  readonly within: KeyRange;
  readonly rows: number;
}

/**
 * The first piece of `within` with about `rows` rows. Up to a bound of the statistics where these are close enough, which
 * costs nothing; else, and behind the last bound, up to the key of the row at that distance, to which the server has to
 * walk; or to the end.
 */
export const cutChunk = async (side: SqlSide, request: CutRequest): Promise<KeyRange> =>
  (await cutAtBound(side, request)) ?? (await cutAtRow(side, request));

const cutAtBound = async (side: SqlSide, request: CutRequest): Promise<KeyRange | null> => {
  const { table, columns, within, bounds } = request;
  if (bounds === null || bounds.rowsApart > request.rows) return null;
  const [key = ''] = expressions(columns);
  const [{ name, type } = { name: '', type: '' }] = columns;
  const steps = Math.floor(request.rows / Math.max(1, bounds.rowsApart));
  // The empty branch lends the table's collation to the keys that we bring.
  const { rows } = await side.query(
    `SELECT ${key} AS key FROM (
       SELECT u.key::${type} AS ${quoteName(name)} FROM unnest($1::text[]) AS u (key)
       UNION ALL SELECT ${key} FROM ONLY ${quoteTable(table)} t WHERE false) t${cutCondition(columns, within)}
     ORDER BY ${keyOrder(columns, [key])} OFFSET ${Math.max(0, steps - 1)} LIMIT 1`,
    [bounds.keys],
  );
  const [row] = rows;
  return row === undefined ? null : { after: within.after, upTo: [textOf(row, 'key')] };
};

const cutAtRow = async (side: SqlSide, request: CutRequest): Promise<KeyRange> => {
  const { table, columns, within } = request;
  const keys = expressions(columns);
  const { rows } = await side.transaction(async (sql) => {
    // The index gives the order; a sort of the whole table for one row of it would be the planner's other choice.
    await sql.query(`SET LOCAL row_security = off; SET LOCAL jit = off;
      SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off`);
    return await sql.query(
      `SELECT ${keys.map((key, at) => `${key} AS k${at}`).join(', ')}
        FROM ONLY ${quoteTable(table)} t${cutCondition(columns, within)}
        ORDER BY ${keyOrder(columns, keys)} OFFSET ${Math.max(0, request.rows - 1)} LIMIT 1`,
    );
  });
  const [row] = rows;
  if (row === undefined) return within;
  return { after: within.after, upTo: keys.map((_, at) => textOf(row, `k${at}`)) };
};

/**
 * Puts a table's chunks into the order of its key, by the server that defines that order. The empty branch of the union
 * lends the table's collations to the keys that we bring.
 */
export const sortChunks = async (
  side: SqlSide,
  from: { readonly table: Table; readonly columns: readonly KeyColumn[] },
  chunks: readonly Chunk[],
): Promise<readonly Chunk[]> => {
  const first = chunks.filter((chunk) => chunk.after === null);
  const rest = chunks.filter((chunk) => chunk.after !== null);
  const names = from.columns.map((_, at) => `k${at}`);
  const lists = names.map((_, at) => `$${at + 1}::text[]`).join(', ');
  const { rows } = await side.query(
    `SELECT nr FROM (
       SELECT nr, ${from.columns.map((column, at) => `k${at}::${column.type} AS k${at}`).join(', ')}
         FROM unnest(${lists}) WITH ORDINALITY AS u (${names.join(', ')}, nr)
       UNION ALL
       SELECT 0, ${expressions(from.columns).join(', ')} FROM ONLY ${quoteTable(from.table)} t WHERE false) s
     ORDER BY ${keyOrder(from.columns, names)}`,
    names.map((_, at) => rest.map((chunk) => chunk.after?.[at] ?? '')),
  );
  return [...first, ...rows.flatMap((row) => rest[Number(row.nr) - 1] ?? [])];
};

/** Whether two ends of ranges are the same text. */
export const sameKey = (a: KeyText | null, b: KeyText | null): boolean =>
  a === b || (a !== null && b !== null && a.length === b.length && a.every((value, i) => value === b[i]));

/**
 * What is left of a table between chunks sorted by key. A chunk's end and its successor's beginning are the same text,
 * because one was cut from the other; so no ends have to be compared here but for equality.
 */
export const gapsOf = (sorted: readonly Chunk[]): readonly KeyRange[] => {
  const gaps: KeyRange[] = [];
  let reached: KeyText | null = null;
  for (const chunk of sorted) {
    if (!sameKey(chunk.after, reached)) gaps.push({ after: reached, upTo: chunk.after });
    if (chunk.upTo === null) return gaps;
    reached = chunk.upTo;
  }
  return [...gaps, { after: reached, upTo: null }];
};

const TARGET_SECONDS = 2;
const MAX_CHUNK_ROWS = 2_000_000;
/** Bounds what one crash costs and what one transaction writes. */
const MAX_CHUNK_BYTES = 256 * 2 ** 20;
const FIRST_CHUNK_BYTES = 16 * 2 ** 20;
/** Rows are compressed on disk, so that statistics can be wrong about what they are as text by a factor of a hundred. */
const FIRST_CHUNK_ROWS = 5_000;
const MAX_GROWTH = 4;

/** Rows of a table's first chunk, from its statistics: few, because the next ones grow fast. */
export const firstChunkRows = (table: Table): number => {
  const rowBytes = table.estimatedRows > 0 ? Math.max(1, table.bytes / table.estimatedRows) : 1_000;
  return Math.max(1, Math.min(FIRST_CHUNK_ROWS, Math.floor(FIRST_CHUNK_BYTES / rowBytes)));
};

/** What a chunk of `asked` rows turned out to be. */
export interface ChunkMeasure {
  readonly asked: number;
  readonly rows: number;
  readonly bytes: number;
  readonly seconds: number;
}

/**
 * Rows to ask for next, so that a chunk takes about two seconds: short enough that a crash, an abort and the snapshot of one
 * read cost little, long enough that round trips do not count. At most four times and at least half of what it was.
 */
export const nextChunkRows = (measure: ChunkMeasure): number => {
  const { asked, rows, bytes, seconds } = measure;
  // The rest of a table says little about the next chunk.
  if (rows < asked / 2) return asked;
  const byTime = rows * (TARGET_SECONDS / Math.max(seconds, 0.001));
  const bySteps = Math.min(Math.max(byTime, asked / 2), asked * MAX_GROWTH);
  const byBytes = MAX_CHUNK_BYTES / Math.max(1, bytes / Math.max(1, rows));
  return Math.max(1, Math.floor(Math.min(bySteps, byBytes, MAX_CHUNK_ROWS)));
};

/**
 * Rows to cut off next when so many are thought to be left: at the end of a table chunks get smaller, so that its connections
 * end at about the same time and none is left alone with a large piece. What the statistics do not know of is no end.
 */
export const rowsToCut = (chunkRows: number, left: { readonly rows: number; readonly connections: number }): number => {
  if (left.rows <= 0) return chunkRows;
  const share = Math.floor(left.rows / (2 * left.connections));
  return Math.min(chunkRows, Math.max(share, FIRST_CHUNK_ROWS));
};
