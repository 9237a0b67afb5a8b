import type { KeyText } from '../databases/digests.ts';
import { displayName, type Table } from '../domain/table.ts';
import type { Touched } from '../engines/engine.ts';

/** Keys remembered per phase before they are verified while following; about 100 bytes each. */
export const TOUCHED_KEYS_KEPT = 50_000;

/**
 * The keys that have changed since they were last verified. The final proof of a switch covers exactly these, so the set
 * has to be complete: it is not after a restart, until a new verification has begun.
 */
export class TouchedKeys {
  #complete = false;
  #tables = new Map<string, Map<string, KeyText> | 'all'>();
  #size = 0;

  /** Whether every change since the certificate is in here. */
  get complete(): boolean {
    return this.#complete;
  }

  /** Number of keys remembered. */
  get size(): number {
    return this.#size;
  }

  /**
   * Whether a table with a key is in here as a whole (TRUNCATE, a very large transaction). It is verified before the window,
   * because there only keys can be compared in short time.
   */
  hasWholeKeyedTable(tables: readonly Table[]): boolean {
    return tables.some((table) => table.key !== null && this.#tables.get(displayName(table)) === 'all');
  }

  /** Forgets everything and counts from now on: a verification of all tables begins. */
  restart(): void {
    this.#tables = new Map();
    this.#size = 0;
    this.#complete = true;
  }

  /** Adds what a batch changed. */
  add(batch: readonly Touched[]): void {
    if (!this.#complete) return;
    for (const { table, keys } of batch) {
      const known = this.#tables.get(table);
      if (known === 'all') continue;
      if (keys === 'all') {
        this.#size -= known?.size ?? 0;
        this.#tables.set(table, 'all');
        continue;
      }
      const set = known ?? new Map<string, KeyText>();
      this.#tables.set(table, set);
      this.#size -= set.size;
      for (const key of keys) set.set(JSON.stringify(key), key);
      this.#size += set.size;
    }
    // Nobody verified them away in time: rather no proof than an incomplete one.
    if (this.#size > 4 * TOUCHED_KEYS_KEPT) this.invalidate();
  }

  /** Takes everything out, to be verified. Put back with `add` what could not be. */
  take(): readonly Touched[] {
    const taken = this.peek();
    this.#tables = new Map();
    this.#size = 0;
    return taken;
  }

  /** What is in here. */
  peek(): readonly Touched[] {
    return [...this.#tables].map(([table, keys]) => ({ table, keys: keys === 'all' ? 'all' : [...keys.values()] }));
  }

  /** Changes may have been missed: only a new verification of all tables makes it complete again. */
  invalidate(): void {
    this.#complete = false;
    this.#tables = new Map();
    this.#size = 0;
  }
}
