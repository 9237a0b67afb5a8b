import type { KeyText } from '../../databases/digests.ts';
import type { RowChange } from '../../rows/change.ts';
import type { TableRun } from '../../rows/fold.ts';
import type { Tuple } from '../../rows/tuple.ts';
import type { Touched } from '../engine.ts';
import type { LaneTable } from './lane-table.ts';

/** Beyond this many keys of a table in one commit they are not told one by one: a transaction has no bound, memory has. */
const MAX_KEYS = 20_000;

/** Collects the keys that one transaction on the written side has changed; their texts are made only for who asks. */
export class TouchedKeys {
  /** By table, and by the form of its columns, where that changes in between. */
  readonly #tables = new Map<string, Map<LaneTable, Tuple[]> | 'all'>();

  /** Tables whose keys cannot be told. */
  addAll(tables: readonly LaneTable[]): void {
    for (const table of tables) this.#tables.set(table.name, 'all');
  }

  /** The keys of one table's run. */
  addRun(run: TableRun<LaneTable>): void {
    for (const row of run.rows ?? []) this.#add(run.table, row.key);
    if (run.table.keyAt === null) this.addAll([run.table]);
  }

  /** Old and new keys of changes. */
  addChanges(changes: readonly RowChange<LaneTable>[]): void {
    for (const change of changes) {
      if (change.kind !== 'insert' && change.before !== null) this.#add(change.table, change.before);
      if (change.kind !== 'delete') this.#add(change.table, change.after);
    }
  }

  /** All that was collected. */
  list(): readonly Touched[] {
    return [...this.#tables].map(([table, forms]) => ({ table, keys: forms === 'all' ? forms : textsOf(forms) }));
  }

  #add(table: LaneTable, tuple: Tuple): void {
    const forms = this.#tables.get(table.name) ?? new Map<LaneTable, Tuple[]>();
    if (forms === 'all') return;
    const tuples = forms.get(table) ?? [];
    if (table.keyAt === null || tuples.length >= MAX_KEYS) {
      this.#tables.set(table.name, 'all');
      return;
    }
    if (tuples.length === 0) this.#tables.set(table.name, forms.set(table, tuples));
    tuples.push(tuple);
  }
}

const textsOf = (forms: ReadonlyMap<LaneTable, readonly Tuple[]>): readonly KeyText[] =>
  [...forms].flatMap(([{ keyAt }, tuples]) =>
    tuples.map((tuple) => tuple.texts(keyAt ?? []).map((text) => text ?? '')),
  );
