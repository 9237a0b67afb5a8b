import type { Guard, SqlExecutor } from '../domain/sql.ts';
import type { Table, TableName } from '../domain/table.ts';

/** Where the target's schema comes from: the source as pg_dump writes it, SQL files in their order, or what is there. */
export type SchemaOrigin =
  | { readonly from: 'pg_dump' }
  | { readonly from: 'files'; readonly files: readonly string[] }
  | { readonly from: 'existing' };

/** What was created or altered on the target while its schema was made. Plain data: it can be stored and read back. */
export interface CreatedObject {
  /** As the catalogue calls it: `table`, `function`, `schema`, `table constraint`; `schema owner` and the like if altered. */
  readonly kind: string;
  /** Its quoted name, as the catalogue spells it. */
  readonly identity: string;
  /** The statement that removes it without CASCADE, or puts back what was altered. */
  readonly drop: string;
}

/** A created object that could not be removed. */
export interface RemainingObject extends CreatedObject {
  readonly reason: string;
}

/**
 * What a deferred item is, which decides when it may be built (DESIGN 4.2, 4.3):
 * `key` right after the rows, since the lane finds rows by it; `index` at any time after the rows of its table;
 * `unique` (unique indexes and exclusion constraints) and `foreign key` only once apply is strict.
 */
export type DeferredKind = 'key' | 'index' | 'unique' | 'foreign key';

/** An index or constraint that is dropped for the copy and built after it. Plain data: it can be stored and read back. */
export interface DeferredItem {
  readonly kind: DeferredKind;
  readonly table: TableName;
  /** Name of the index or the constraint. */
  readonly name: string;
  /** What a foreign key refers to; null for the others. */
  readonly references: TableName | null;
  /** The statement that makes its index, where the index is made by itself. */
  readonly index: string | null;
  /** The statement that makes it a constraint of the table. */
  readonly constraint: string | null;
  /** Statements that give it the rest (place in a partitioned index, marks, comments). Each may be repeated. */
  readonly marks: readonly string[];
  /** The statement that drops it, or null when it goes with the one of the partitioned table above. */
  readonly drop: string | null;
  /** The tablespace of its index, when that is not the database's. */
  readonly tablespace: string | null;
  /** True on a partitioned table: holds no entries, is made before those of its partitions, which then join it. */
  readonly partitioned: boolean;
}

/** How much is built at once, under which condition, and who is told. */
export interface BuildOptions {
  readonly guard: Guard;
  /** Builds at once, by which the server's memory is divided. */
  readonly parallel: number;
  /**
   * True while rows of other tables are still missing: nothing is done to a partitioned table. What is a part of one of its
   * indexes is made by itself, and becomes a part in a later build without this.
   */
  readonly early?: boolean;
  /** Tables of which planner statistics are gathered, each once its indexes are there; so are those of partitioned tables above. */
  readonly statistics?: readonly TableName[];
  readonly signal: AbortSignal;
  /** Called after each item's commit, also for one that was there already. Must not throw. */
  readonly onProgress: (progress: {
    readonly item: DeferredItem;
    readonly done: number;
    readonly total: number;
    readonly ms: number;
  }) => void;
}

/** How the schema is made. */
export interface CreateSchema {
  readonly origin: SchemaOrigin;
  /** Runs in the transaction that makes the schema, so that the objects and the record of them are one commit. */
  readonly record: (sql: SqlExecutor, created: readonly CreatedObject[]) => Promise<void>;
}

/**
 * Makes the target's schema, and takes it away again; puts indexes and constraints off until the rows are there.
 *
 * Order: `create` once per run; per phase `capture`, then the caller stores the items, then `drop`, the copy, and `build` by
 * kind. A crash at any point loses no definition: `capture` changes nothing, and `drop`, `build` and `undo` may be
 * repeated with the stored list.
 * Guards run first in each transaction of an act, so that a worker that slept changes nothing (S7); what they throw is thrown on.
 * Errors: `usage` when pg_dump is missing or too old, or a file cannot be read; `findings` when the target refuses a
 * statement (named with file and line), or data breaks a constraint; `busy` when a lock cannot be had; `unreachable`.
 */
export interface SchemaTool {
  /** Makes the schema in one transaction. With `existing` it records that nothing was created. */
  create(schema: CreateSchema): Promise<void>;
  /**
   * Removes exactly the objects given, foreign keys first, without CASCADE, in passes until nothing more goes. Returns what
   * remains and why; something of somebody else's that depends on an object keeps it.
   */
  undo(created: readonly CreatedObject[], guard: Guard): Promise<readonly RemainingObject[]>;
  /** Reads what can be put off on the target, for tables as the inventory of either side gives them. Changes nothing. */
  capture(tables: readonly Table[]): Promise<readonly DeferredItem[]>;
  /** Drops the items that are there. */
  drop(items: readonly DeferredItem[], guard: Guard): Promise<void>;
  /**
   * Builds the items that are not there: those of partitioned tables, then indexes, several at once, then foreign keys.
   * Items that come by and by are keys and indexes of plain tables and partitions; they must end when the signal is aborted.
   */
  build(items: readonly DeferredItem[] | AsyncIterable<readonly DeferredItem[]>, options: BuildOptions): Promise<void>;
  /** Empties the tables, past the fence, in one transaction. */
  empty(tables: readonly TableName[], guard: Guard): Promise<void>;
}
