import type { Table } from '../domain/table.ts';

/** A row's key as text values in the order of `Table.key.columns`. */
export type KeyText = readonly string[];

/** Half-open range of keys, `after` exclusive and `upTo` inclusive; null is the end of the table. */
export interface KeyRange {
  readonly after: KeyText | null;
  readonly upTo: KeyText | null;
}

/** Number of rows and an order-independent digest of their full text, as decimal text; equal on both sides iff rows are. */
export interface Digest {
  readonly rows: string;
  readonly sum: string;
}

/**
 * Digests computed by a server over rows' text, so that no value passes through us. The same rows give the same digest on
 * every supported version. Each call is one statement in a transaction of its own, on a connection of its own from a pool.
 */
export interface Digests {
  /** The next range of about `rows` rows after a key; its `upTo` is null when it reaches the end of the table. */
  nextRange(table: Table, after: KeyText | null, rows: number): Promise<KeyRange>;
  /**
   * Digest of a range; of the whole table for one without a key, whose only range is open at both ends. With the name of an
   * exported snapshot, of the rows that are seen under it.
   */
  ofRange(table: Table, range: KeyRange, exported?: string | null): Promise<Digest>;
  /** Digest of the rows that exist among the given keys. */
  ofKeys(table: Table, keys: readonly KeyText[]): Promise<Digest>;
  /** Hash of each key's row, in the order of the keys; null where there is none. The caller bounds the number of keys. */
  hashesOf(table: Table, keys: readonly KeyText[]): Promise<readonly (string | null)[]>;
  /** Key and row hash of each row in a range, to narrow a mismatch down. The caller bounds the range. */
  rowsOf(table: Table, range: KeyRange): Promise<readonly { readonly key: KeyText; readonly hash: string }[]>;
}
