import { type SqlExecutor, type TextRow, underSnapshot } from '../../domain/sql.ts';
import type { Column, Table } from '../../domain/table.ts';
import { type KeyColumn, keyCompares, keyEquals, keyOrder, readKeyColumns } from '../../platform/postgres/key.ts';
import { quoteName, quoteTable } from '../../platform/postgres/quote.ts';
import { onlyRow, textOf } from '../../platform/postgres/row.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { Digest, Digests, KeyRange, KeyText } from '../digests.ts';

/** A "char" beyond ASCII is printed as its byte before version 16 and as an octal escape since; its number never changed. */
const printed = (column: Column): string => {
  const value = `t.${quoteName(column.name)}`;
  return column.type === '"char"' ? `${value}::int` : value;
};

/**
 * 64 bits over the row's text. All columns, generated ones too: a reader sees them like any other, so they must be equal.
 * COLLATE "C" makes the function hash the bytes as they are, whatever the database's default collation is.
 */
const rowHash = (table: Table): string => {
  const columns = table.columns.map(printed).join(', ');
  return `hashtextextended(ROW(${columns})::text COLLATE "C", 0)`;
};

/** A sum does not depend on the order of rows and, unlike an exclusive or, sees a row that is there twice. */
const digestOf = (table: Table): string => `SELECT count(*) AS rows, coalesce(sum(${rowHash(table)}), 0) AS sum`;

const toDigest = (row: TextRow): Digest => ({ rows: textOf(row, 'rows'), sum: textOf(row, 'sum') });

const expressions = (columns: readonly KeyColumn[]): readonly string[] =>
  columns.map((column) => `t.${quoteName(column.name)}`);

/** Parameters for one key, cast to the columns' types, numbered from `first`. */
const parameters = (columns: readonly KeyColumn[], first: number): readonly string[] =>
  columns.map((column, at) => `$${first + at}::text::${column.type}`);

interface Condition {
  readonly sql: string;
  readonly values: readonly string[];
}

/**
 * The rows of a range, in the order of this side's own index. Where the two sides sort text differently, a row can fall
 * into another range on one side than on the other, or into several, but never into none: along the bounds, "beyond this
 * one" begins true and ends false, so somewhere it changes. Equal digests therefore prove equal rows; unequal ones have to
 * be settled by key, with `ofKeys`, before they count.
 */
const inRange = (columns: readonly KeyColumn[], range: KeyRange): Condition => {
  const left = expressions(columns);
  const parts: string[] = [];
  const values: string[] = [];
  for (const [comparison, bound] of [['greater', range.after] as const, ['atMost', range.upTo] as const]) {
    if (bound === null) continue;
    parts.push(keyCompares(columns, comparison, { left, right: parameters(columns, values.length + 1) }));
    values.push(...bound);
  }
  return { sql: parts.length === 0 ? 'true' : parts.join(' AND '), values };
};

/** Given keys as a relation: numbered from 1 by `nr`, each column cast to the key's type under a name of ours. */
const keyList = (columns: readonly KeyColumn[], keys: readonly KeyText[]) => {
  const names = columns.map((_, at) => `k${at}`);
  const texts = names.map((_, at) => `$${at + 1}::text[]`).join(', ');
  return {
    given: names.map((name, at) => `${name}::${columns[at]?.type} AS ${name}`).join(', '),
    from: `unnest(${texts}) WITH ORDINALITY AS u(${names.join(', ')}, nr)`,
    wanted: names.map((name) => `k.${name}`),
    values: columns.map((_, at) => keys.map((key) => key[at] ?? null)),
  };
};

/** Compiling expressions costs more than it gives on statements of a second or two. */
const NO_JIT = 'SET LOCAL jit = off';
/** A range is read by the key's index also while the table has no statistics yet. */
const BY_INDEX = `${NO_JIT}; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off;
  SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off`;

const isBounded = (range: KeyRange): boolean => range.after !== null || range.upTo !== null;

/** Reads digests of one side's tables. Keeps what it learns about keys: make a new one when the schema has changed. */
class PostgresDigests implements Digests {
  readonly #server: PostgresServer;
  readonly #keys = new Map<string, Promise<readonly KeyColumn[]>>();

  constructor(server: PostgresServer) {
    this.#server = server;
  }

  async nextRange(table: Table, after: KeyText | null, rows: number): Promise<KeyRange> {
    if (table.key === null) return { after: null, upTo: null };
    const columns = await this.#keyColumns(table);
    const condition = inRange(columns, { after, upTo: null });
    const keys = expressions(columns);
    const found = await this.#read(BY_INDEX, {
      sql: `SELECT ${keys.map((key, at) => `${key} AS k${at}`).join(', ')} FROM ONLY ${quoteTable(table)} t
            WHERE ${condition.sql} ORDER BY ${keyOrder(columns, keys)} OFFSET ${Math.max(1, Math.floor(rows)) - 1} LIMIT 1`,
      values: condition.values,
    });
    const [last] = found;
    return { after, upTo: last === undefined ? null : keys.map((_, at) => textOf(last, `k${at}`)) };
  }

  async ofRange(table: Table, range: KeyRange, exported: string | null = null): Promise<Digest> {
    const columns = isBounded(range) ? await this.#keyColumns(table) : [];
    const condition = inRange(columns, range);
    const under = exported === null ? '' : `${underSnapshot(exported)}; `;
    const rows = await this.#read(`${under}${isBounded(range) ? BY_INDEX : NO_JIT}`, {
      sql: `${digestOf(table)} FROM ONLY ${quoteTable(table)} t WHERE ${condition.sql}`,
      values: condition.values,
    });
    return toDigest(onlyRow({ rows, rowCount: rows.length }));
  }

  async ofKeys(table: Table, keys: readonly KeyText[]): Promise<Digest> {
    if (keys.length === 0) return { rows: '0', sum: '0' };
    const columns = await this.#keyColumns(table);
    const { given, from, wanted, values } = keyList(columns, keys);
    const rows = await this.#read(BY_INDEX, {
      sql: `${digestOf(table)} FROM (SELECT DISTINCT ${given} FROM ${from}) k
            JOIN ONLY ${quoteTable(table)} t ON ${keyEquals(columns, expressions(columns), wanted)}`,
      values,
    });
    return toDigest(onlyRow({ rows, rowCount: rows.length }));
  }

  async hashesOf(table: Table, keys: readonly KeyText[]): Promise<readonly (string | null)[]> {
    if (keys.length === 0) return [];
    const columns = await this.#keyColumns(table);
    const { given, from, wanted, values } = keyList(columns, keys);
    const rows = await this.#read(BY_INDEX, {
      sql: `SELECT k.nr, ${rowHash(table)} AS hash FROM (SELECT nr, ${given} FROM ${from}) k
            JOIN ONLY ${quoteTable(table)} t ON ${keyEquals(columns, expressions(columns), wanted)}`,
      values,
    });
    const found = Map.groupBy(rows, (row) => Number(row.nr));
    const hashes = keys.map((_, at) => found.get(at + 1)?.map((row) => textOf(row, 'hash')) ?? []);
    // Two rows under one key are what a broken unique index looks like; they must not pass for one of them.
    return hashes.map((own) => (own.length === 0 ? null : own.sort().join(' ')));
  }

  async rowsOf(table: Table, range: KeyRange): Promise<readonly { readonly key: KeyText; readonly hash: string }[]> {
    const columns = table.key === null ? [] : await this.#keyColumns(table);
    const condition = inRange(columns, range);
    const keys = expressions(columns);
    const listed = [...keys.map((key, at) => `${key} AS k${at}`), `${rowHash(table)} AS hash`].join(', ');
    const rows = await this.#read(isBounded(range) ? BY_INDEX : NO_JIT, {
      sql: `SELECT ${listed} FROM ONLY ${quoteTable(table)} t WHERE ${condition.sql}`,
      values: condition.values,
    });
    return rows.map((row) => ({ key: keys.map((_, at) => textOf(row, `k${at}`)), hash: textOf(row, 'hash') }));
  }

  #keyColumns(table: Table): Promise<readonly KeyColumn[]> {
    const id = `${table.schema}\0${table.name}`;
    const known = this.#keys.get(id);
    if (known !== undefined) return known;
    const reading = readKeyColumns(this.#server, table);
    this.#keys.set(id, reading);
    reading.catch(() => this.#keys.delete(id));
    return reading;
  }

  async #read(
    settings: string,
    statement: { readonly sql: string; readonly values: Parameters<SqlExecutor['query']>[1] },
  ): Promise<readonly TextRow[]> {
    return await this.#server.transaction(async (sql) => {
      await sql.query(settings);
      return (await sql.query(statement.sql, statement.values)).rows;
    });
  }
}

/** Digests of one PostgreSQL database; see {@link Digests}. */
export const postgresDigests = (server: PostgresServer): Digests => new PostgresDigests(server);
