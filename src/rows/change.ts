import type { Tuple } from './tuple.ts';

/** What folding needs to know of a table: one object per table and form of its columns. */
export interface Keyed {
  /** For people, and to tell that two forms are of one table. */
  readonly name: string;
  /** Places of the key's columns in a tuple, in the order of the key; null when whole rows are compared. */
  readonly keyAt: readonly number[] | null;
}

/** A row that was inserted, updated or deleted. */
export type RowChange<T extends Keyed = Keyed> =
  | { readonly kind: 'insert'; readonly table: T; readonly after: Tuple }
  | {
      readonly kind: 'update';
      readonly table: T;
      /** The old row: its key columns when they changed, all columns under replica identity FULL, else null. */
      readonly before: Tuple | null;
      /** Has no unchanged value under replica identity FULL: the old row has them all. */
      readonly after: Tuple;
    }
  | { readonly kind: 'delete'; readonly table: T; readonly before: Tuple };

/** Tables that were emptied by one TRUNCATE. */
export interface Truncation<T extends Keyed = Keyed> {
  readonly kind: 'truncate';
  readonly tables: readonly T[];
  readonly restartIdentity: boolean;
}

/** One change out of the stream, in the order of its transaction. */
export type Change<T extends Keyed = Keyed> = RowChange<T> | Truncation<T>;
