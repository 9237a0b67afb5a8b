/** A schema-qualified name, exactly as the catalogue spells it (unquoted). */
export interface TableName {
  readonly schema: string;
  readonly name: string;
}

/** One column that holds rows' data. Columns are listed in catalogue order; dropped ones are absent. */
export interface Column {
  readonly name: string;
  /** Type as SQL text without a length or precision, safe in a cast (`bpchar`, `"bit"`, `public.mood`). */
  readonly type: string;
  /** Type as SQL text with its length or precision (`character varying(20)`). */
  readonly fullType: string;
  readonly notNull: boolean;
  /** A generated column is computed by each side and never carried. */
  readonly generated: boolean;
  readonly identity: 'always' | 'by default' | null;
}

/** The unique, immediate, non-partial index over NOT NULL columns by which a row is addressed. */
export interface Key {
  readonly index: string;
  readonly columns: readonly string[];
}

/** What the database writes to its log about the old row of an update or delete. */
export type ReplicaIdentity = 'default' | 'index' | 'full' | 'nothing';

/**
 * A relation that holds rows: a plain table or a leaf partition. A partitioned root holds none and appears only as the
 * `root` of its leaves, because changes, chunks, fences and digests are all per leaf.
 */
export interface Table extends TableName {
  readonly columns: readonly Column[];
  /** The key that changes are addressed by (replica identity index, else primary key), or null: whole rows are compared. */
  readonly key: Key | null;
  readonly replicaIdentity: ReplicaIdentity;
  /** The topmost partitioned table, when this is a leaf partition. */
  readonly root: TableName | null;
  /** From statistics, not counted. */
  readonly estimatedRows: number;
  /** Heap and TOAST, without indexes. */
  readonly bytes: number;
}

/** A sequence and the tables whose columns use it, by ownership or by default expression. */
export interface Sequence extends TableName {
  readonly increment: bigint;
  /** Empty for a sequence that no column refers to; it then belongs to the phase whose patterns take its name. */
  readonly usedBy: readonly TableName[];
}

/** `schema.name`, for people and for map keys. Not quoted: never put it into SQL. */
export const displayName = (table: TableName): string => `${table.schema}.${table.name}`;
