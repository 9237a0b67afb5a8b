import type { Change, Keyed, RowChange, Truncation } from './change.ts';
import { fillUnchanged, type Tuple } from './tuple.ts';

/** What a run of changes did to one key. */
export interface FoldedRow {
  /** Whether the first change found the row: the precondition that strict apply checks. */
  readonly found: boolean;
  /** A tuple that has the key's columns. */
  readonly key: Tuple;
  /** The row as the last change left it, or null when it is gone. */
  readonly after: Tuple | null;
}

/**
 * A run of changes to one table, in two forms: folded to one state per key, for a merge, and as they came, for ordered
 * replay. The folded form is null for a table without a key that saw more than inserts.
 */
export interface TableRun<T extends Keyed> {
  readonly table: T;
  readonly changes: readonly RowChange<T>[];
  readonly rows: readonly FoldedRow[] | null;
}

/**
 * A part of a batch that can be applied at once. Tables are independent of each other: appliers fire neither foreign keys
 * nor triggers. So within a `merge` only each table's own order matters; segments follow one another.
 */
export type Segment<T extends Keyed> =
  | { readonly kind: 'merge'; readonly runs: readonly TableRun<T>[] }
  /** Updates that change the key and leave a TOASTed value alone: only the other side has it, under the old key. */
  | { readonly kind: 'ordered'; readonly changes: readonly RowChange<T>[] }
  | { readonly kind: 'truncate'; readonly truncation: Truncation<T> };

/**
 * Folds changes by key, table by table, in as few segments as possible. Applying the segments in order has the same effect
 * as applying the changes in order.
 */
export const fold = <T extends Keyed>(changes: readonly Change<T>[]): readonly Segment<T>[] => {
  const segments: Segment<T>[] = [];
  let folders = new Map<T, TableFolder<T>>();
  let ordered: RowChange<T>[] = [];
  const flush = (): void => {
    if (ordered.length > 0) segments.push({ kind: 'ordered', changes: ordered });
    if (folders.size > 0) segments.push({ kind: 'merge', runs: [...folders.values()].map((folder) => folder.run()) });
    ordered = [];
    folders = new Map();
  };
  for (const change of changes) {
    if (change.kind === 'truncate') {
      flush();
      segments.push({ kind: 'truncate', truncation: change });
      continue;
    }
    let folder = folders.get(change.table);
    if (folder === undefined) {
      // The table had another form before, and what was changed then comes first.
      if ([...folders.keys()].some((table) => table.name === change.table.name)) flush();
      folder = new TableFolder(change.table);
    }
    const isFolded = folder.add(change);
    // One of the two is always empty: a change of the other sort ends the segment.
    if (isFolded ? ordered.length > 0 : folders.size > 0) flush();
    if (isFolded) folders.set(change.table, folder);
    else ordered.push(change);
  }
  flush();
  return segments;
};

/** Folds the changes to one table. */
class TableFolder<T extends Keyed> {
  readonly #table: T;
  readonly #changes: RowChange<T>[] = [];
  readonly #rows = new Map<string, FoldedRow>();
  #isOrdered = false;

  constructor(table: T) {
    this.#table = table;
  }

  /** False when the change cannot be folded; nothing has been done then. */
  add(change: RowChange<T>): boolean {
    const { keyAt } = this.#table;
    if (keyAt === null) {
      if (change.kind !== 'insert') this.#isOrdered = true;
    } else if (!this.#fold(change, keyAt)) {
      return false;
    }
    this.#changes.push(change);
    return true;
  }

  run(): TableRun<T> {
    return { table: this.#table, changes: this.#changes, rows: this.#folded() };
  }

  #folded(): readonly FoldedRow[] | null {
    if (this.#table.keyAt !== null) return [...this.#rows.values()];
    if (this.#isOrdered) return null;
    return this.#changes.flatMap((change) =>
      change.kind === 'insert' ? [{ found: false, key: change.after, after: change.after }] : [],
    );
  }

  #fold(change: RowChange<T>, keyAt: readonly number[]): boolean {
    if (change.kind === 'insert') {
      this.#set(change.after.identity(keyAt), { found: false, key: change.after, after: change.after });
      return true;
    }
    if (change.kind === 'delete') {
      this.#set(change.before.identity(keyAt), { found: true, key: change.before, after: null });
      return true;
    }
    const { before } = change;
    const newKey = change.after.identity(keyAt);
    const oldKey = before === null ? newKey : before.identity(keyAt);
    const earlier = this.#rows.get(oldKey)?.after ?? null;
    const after = fillUnchanged(change.after, earlier);
    if (before === null || oldKey === newKey) {
      this.#set(newKey, { found: true, key: after, after });
      return true;
    }
    if (after.hasUnchanged) return false;
    this.#set(oldKey, { found: true, key: before, after: null });
    this.#set(newKey, { found: false, key: after, after });
    return true;
  }

  /** The first change to a key says what it found; the last one what it left. */
  #set(key: string, row: FoldedRow): void {
    const earlier = this.#rows.get(key);
    const isFirst = earlier === undefined || earlier.found === row.found;
    this.#rows.set(key, isFirst ? row : { found: earlier.found, key: row.key, after: row.after });
  }
}
