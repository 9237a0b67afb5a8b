import type { DeferredItem } from '../databases/schema.ts';
import { displayName } from '../domain/table.ts';

/** What {@link EarlyBuilds} is made from. */
export interface EarlyBuildsOptions {
  /** What may be built before the lane has caught up. */
  readonly items: readonly DeferredItem[];
  /** Builds at once. */
  readonly parallel: number;
  /** Builds items one after the other. */
  readonly build: (items: readonly DeferredItem[], signal: AbortSignal) => Promise<void>;
  /** The stage's. */
  readonly signal: AbortSignal;
}

/** Items of one build: small tables come by the thousand, and each build makes a session. */
const ITEMS_AT_ONCE = 20;

/**
 * Builds keys and indexes of each table as soon as its rows are in, while other tables are still being copied, so that the
 * cores and disks that a copy leaves idle are used.
 *
 * A key can be built before the lane has caught up, although the rows are of no one moment: a table's chunks are disjoint
 * ranges of its key, as the origin orders it, and each was read under one snapshot, in which the key was unique. A row that
 * moved from one range to another in between may be there twice or not at all, but under different keys.
 * Other unique indexes can not: the two versions of such a row may hold the same value.
 */
export class EarlyBuilds {
  /** Aborted by the stage's signal, and when a build has failed: the copy need not go on then. Its reason is the error. */
  readonly signal: AbortSignal;
  readonly #options: EarlyBuildsOptions;
  readonly #byTable: Map<string, DeferredItem[]>;
  readonly #failed = new AbortController();
  readonly #built = new Set<DeferredItem>();
  readonly #waiting: DeferredItem[] = [];
  readonly #running = new Set<Promise<void>>();

  constructor(options: EarlyBuildsOptions) {
    this.#options = options;
    this.signal = AbortSignal.any([options.signal, this.#failed.signal]);
    this.#byTable = Map.groupBy(options.items, (item) => displayName(item.table));
  }

  /** What has been built so far by this object. */
  get built(): ReadonlySet<DeferredItem> {
    return this.#built;
  }

  /** All rows of a table are there. May be told again. */
  add(table: string): void {
    this.#waiting.push(...(this.#byTable.get(table) ?? []));
    this.#byTable.delete(table);
    while (this.#running.size < this.#options.parallel && this.#waiting.length > 0) this.#start();
  }

  /** Resolves when all that was added is built. Throws what a build threw, or the signal's reason. */
  async finish(): Promise<void> {
    while (this.#running.size > 0) await Promise.race(this.#running);
    this.#options.signal.throwIfAborted();
    this.#failed.signal.throwIfAborted();
  }

  /** Cancels what is being built because the copy has failed, and throws why: the copy's error, or the build's behind it. */
  async fail(error: unknown): Promise<never> {
    this.#failed.abort(error);
    await this.finish();
    throw error;
  }

  #start(): void {
    const running: Promise<void> = this.#work().finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #work(): Promise<void> {
    const { signal } = this;
    while (this.#waiting.length > 0 && !signal.aborted) {
      const items = this.#waiting.splice(0, ITEMS_AT_ONCE);
      try {
        await this.#options.build(items, signal);
      } catch (error) {
        this.#failed.abort(error);
        return;
      }
      for (const item of items) this.#built.add(item);
    }
  }
}
