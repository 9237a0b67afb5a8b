import type { KeyText } from '../../databases/digests.ts';
import type { RowChange } from '../../rows/change.ts';
import type { TableRun } from '../../rows/fold.ts';
import type { Tuple } from '../../rows/tuple.ts';
import type { Touched } from '../engine.ts';
import type { LaneTable } from './lane-table.ts';

/** Beyond this many keys of a table in one commit they are not told one by one: a transaction has no bound, memory has. */
const MAX_KEYS = 20_000;

/** Keys of one table: of what is being applied as tuples, of what was applied before as texts. */
interface Collected {
  readonly texts: KeyText[];
  /** By the form of the table's columns, where that changes in between. */
  readonly forms: Map<LaneTable, Tuple[]>;
}

/** Collects the keys that one transaction on the written side has changed; their texts are made only for who asks. */
export class TouchedKeys {
  readonly #tables = new Map<string, Collected | 'all'>();

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

  /**
   * Lets go of the rows whose keys it has, and keeps their texts. To be called between the parts of a transaction that is
   * larger than a batch: a key would else keep its whole row in memory, and the block that it came in.
   */
  detach(): void {
    for (const collected of this.#tables.values()) {
      if (collected === 'all') continue;
      for (const text of textsOf(collected.forms)) collected.texts.push(text);
      collected.forms.clear();
    }
  }

  /** All that was collected. */
  list(): readonly Touched[] {
    return [...this.#tables].map(([table, collected]) => ({
      table,
      keys: collected === 'all' ? collected : [...collected.texts, ...textsOf(collected.forms)],
    }));
  }

  #add(table: LaneTable, tuple: Tuple): void {
    const collected = this.#tables.get(table.name) ?? { texts: [], forms: new Map<LaneTable, Tuple[]>() };
    if (collected === 'all') return;
    const tuples = collected.forms.get(table) ?? [];
    if (table.keyAt === null || collected.texts.length + tuples.length >= MAX_KEYS) {
      this.#tables.set(table.name, 'all');
      return;
    }
    if (tuples.length === 0) this.#tables.set(table.name, { ...collected, forms: collected.forms.set(table, tuples) });
    tuples.push(tuple);
  }
}

const textsOf = (forms: ReadonlyMap<LaneTable, readonly Tuple[]>): readonly KeyText[] =>
  [...forms].flatMap(([{ keyAt }, tuples]) =>
    tuples.map((tuple) => tuple.texts(keyAt ?? []).map((text) => text ?? '')),
  );
