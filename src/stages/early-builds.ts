import type { DeferredItem } from '../databases/schema.ts';
import { displayName } from '../domain/table.ts';

/** What {@link EarlyBuilds} is made from. */
export interface EarlyBuildsOptions {
  /** What may be built before the lane has caught up. */
  readonly items: readonly DeferredItem[];
  /** Builds items as they come. They end when all tables are there, or with the signal. */
  readonly build: (items: AsyncIterable<readonly DeferredItem[]>, signal: AbortSignal) => Promise<void>;
  /** The stage's. */
  readonly signal: AbortSignal;
}

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
  #waiting: DeferredItem[] = [];
  #ended = false;
  /** Undefined until a table is there: a build makes sessions. */
  #building: Promise<void> | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(options: EarlyBuildsOptions) {
    this.#options = options;
    this.signal = AbortSignal.any([options.signal, this.#failed.signal]);
    this.signal.addEventListener('abort', () => this.#changed.resolve(), { once: true });
    this.#byTable = Map.groupBy(options.items, (item) => displayName(item.table));
  }

  /** All rows of a table are there. May be told again. */
  add(table: string): void {
    this.#waiting.push(...(this.#byTable.get(table) ?? []));
    this.#byTable.delete(table);
    if (this.#waiting.length === 0 || this.signal.aborted) return;
    this.#building ??= this.#build();
    this.#changed.resolve();
  }

  /** All tables are there. Resolves when what was added is built. Throws what a build threw, or the signal's reason. */
  async finish(): Promise<void> {
    this.#ended = true;
    this.#changed.resolve();
    await this.#building;
    this.#options.signal.throwIfAborted();
    this.#failed.signal.throwIfAborted();
  }

  /** Cancels what is being built because the copy has failed, and throws why: the copy's error, or the build's behind it. */
  async fail(error: unknown): Promise<never> {
    this.#failed.abort(error);
    await this.finish();
    throw error;
  }

  async #build(): Promise<void> {
    try {
      await this.#options.build(this.#items(), this.signal);
    } catch (error) {
      this.#failed.abort(error);
    }
  }

  async *#items(): AsyncGenerator<readonly DeferredItem[]> {
    while (!this.signal.aborted) {
      const items = this.#waiting;
      this.#waiting = [];
      this.#changed = Promise.withResolvers();
      if (items.length > 0) yield items;
      else if (this.#ended) return;
      else await this.#changed.promise;
    }
  }
}
