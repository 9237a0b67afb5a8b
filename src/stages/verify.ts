import type { Digest, KeyRange, KeyText } from '../databases/digests.ts';
import { displayName, type Table } from '../domain/table.ts';
import { monotonicMs } from '../platform/clock.ts';
import { type Comparison, type Suspect, settle } from './settle.ts';

/** What was found of one table. */
export interface TableResult {
  readonly table: string;
  /** Of the origin, as it was when each range was looked at. Decimal text, as digests are. */
  readonly rows: string;
  readonly digest: string;
  readonly ranges: number;
  /** Keys of rows that differ for good, in no order. One empty key stands for a whole table that has no key. */
  readonly divergent: readonly KeyText[];
  /** Keys of rows that changed for as long as we looked, so that it is not known whether they are equal. */
  readonly unsettled: readonly KeyText[];
  /** So many rows differ that the rest of the table was not looked at. */
  readonly stopped: boolean;
}

/** What was found of all tables. */
export interface VerifyResult {
  readonly tables: readonly TableResult[];
  /** Every row is equal: nothing divergent, nothing unsettled. */
  readonly clean: boolean;
}

/** How far a verification is. */
export interface VerifyProgress {
  readonly table: string;
  readonly rows: number;
  readonly finished: boolean;
}

/** What is verified. */
export interface VerifyOptions extends Comparison {
  readonly tables: readonly Table[];
  readonly onProgress?: (progress: VerifyProgress) => void;
  /** Divergent rows after which a table is given up; a thousand when absent. */
  readonly divergentAtMost?: number;
  /** No lane leads from one side to the other, so that nothing is under way and what differs at the first look differs. */
  readonly isApart?: boolean;
}

/** What is proven by key. */
export interface VerifyKeysOptions extends Comparison {
  readonly table: Table;
  readonly keys: readonly KeyText[];
  /** Both sides stand still: what differs at the first look differs. */
  readonly isStatic: boolean;
}

/** Ranges compared at once: one being read while the next is being found keeps both servers busy. */
const PARALLEL = 2;
const RANGE_BYTES = 32 * 2 ** 20;
const MAX_RANGE_ROWS = 100_000;
const MIN_RANGE_ROWS = 500;
const FIRST_RANGE_ROWS = 5_000;
/** A range that takes longer is followed by one of half the rows, one that takes less than a tenth of it by a larger one. */
const SLOW_RANGE_SECONDS = 5;
const MAX_GROWTH = 4;
/** A range that differs is cut down to this before its rows are fetched one by one. */
const LISTED_ROWS = 4_000;
const SPLIT_INTO = 8;
/** Suspects of a table that are collected before they are settled. */
const SUSPECTS_AT_ONCE = 5_000;
/** Divergent rows after which a table is given up: it has to be looked at, not listed. */
const DIVERGENT_AT_MOST = 1_000;
const KEYS_AT_ONCE = 5_000;

/**
 * Compares tables while rows change (DESIGN 5). Servers compute digests of key ranges, both sides at the same time. A range
 * that differs is looked at again when the lane has passed the origin's head; if it still differs it is narrowed down to
 * rows, and only what {@link settle} finds to differ for good counts. Rejects with the signal's reason, or as the digests
 * and `appliedPast` do.
 */
export const verifyTables = async (options: VerifyOptions): Promise<VerifyResult> => {
  const tables = options.tables.map((table) => new TableVerification(table, options));
  const tasks = tasksOf(tables);
  const worker = async (): Promise<void> => {
    try {
      for (let task = await tasks.next(); !task.done; task = await tasks.next()) {
        options.signal.throwIfAborted();
        await task.value.table.compare(task.value.range);
      }
    } finally {
      await tasks.return(undefined);
    }
  };
  // All workers end before the first failure is told, so that no statement of ours is left running.
  const ended = await Promise.allSettled(Array.from({ length: PARALLEL }, worker));
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
  for (const table of tables) await table.finish();
  const results = tables.map((table) => table.result());
  return { tables: results, clean: results.every((r) => r.divergent.length === 0 && r.unsettled.length === 0) };
};

interface Task {
  readonly table: TableVerification;
  readonly range: KeyRange;
}

async function* tasksOf(tables: readonly TableVerification[]): AsyncGenerator<Task> {
  for (const table of tables) for await (const range of table.ranges()) yield { table, range };
}

const sameDigest = (a: Digest, b: Digest): boolean => a.rows === b.rows && a.sum === b.sum;

interface DigestPair {
  readonly from: Digest;
  readonly to: Digest;
}

/** One table's part. Ranges may be compared at the same time. */
class TableVerification {
  readonly #table: Table;
  readonly #options: VerifyOptions;
  readonly #divergent: KeyText[] = [];
  readonly #unsettled: KeyText[] = [];
  #suspects = new Map<string, Suspect>();
  #rows = 0n;
  #sum = 0n;
  #ranges = 0;
  #rangeRows: number;

  constructor(table: Table, options: VerifyOptions) {
    this.#table = table;
    this.#options = options;
    this.#rangeRows = firstRangeRows(table);
  }

  /** Ranges of the origin's keys from one end of the table to the other; fewer when it has been given up. */
  async *ranges(): AsyncGenerator<KeyRange> {
    let after: KeyText | null = null;
    do {
      const range: KeyRange =
        this.#table.key === null
          ? { after: null, upTo: null }
          : await this.#options.from.nextRange(this.#table, after, this.#rangeRows);
      yield range;
      after = range.upTo;
    } while (after !== null && !this.#isGivenUp());
  }

  async compare(range: KeyRange): Promise<void> {
    const begun = monotonicMs();
    let { from, to } = await this.#digests(range);
    this.#rangeRows = nextRangeRows(this.#table, { rows: this.#rangeRows, seconds: (monotonicMs() - begun) / 1_000 });
    if (!sameDigest(from, to)) {
      await this.#options.appliedPast();
      ({ from, to } = await this.#digests(range));
      if (!sameDigest(from, to)) await this.#narrow(range, { from, to });
    }
    this.#ranges += 1;
    this.#rows += BigInt(from.rows);
    this.#sum += BigInt(from.sum);
    this.#tell(false);
  }

  /** Settles what is left. */
  async finish(): Promise<void> {
    await this.#settle();
    this.#tell(true);
  }

  result(): TableResult {
    return {
      table: displayName(this.#table),
      rows: this.#rows.toString(),
      digest: this.#sum.toString(),
      ranges: this.#ranges,
      divergent: this.#divergent,
      unsettled: this.#unsettled,
      stopped: this.#isGivenUp(),
    };
  }

  #isGivenUp(): boolean {
    return this.#divergent.length >= (this.#options.divergentAtMost ?? DIVERGENT_AT_MOST);
  }

  async #digests(range: KeyRange): Promise<DigestPair> {
    const { from, to } = this.#options;
    const [ours, theirs] = await Promise.all([from.ofRange(this.#table, range), to.ofRange(this.#table, range)]);
    return { from: ours, to: theirs };
  }

  /** Finds the rows that differ in a range whose digests did. */
  async #narrow(range: KeyRange, pair: DigestPair): Promise<void> {
    this.#options.signal.throwIfAborted();
    if (this.#isGivenUp()) return;
    if (this.#table.key === null) {
      this.#suspect([]);
      return;
    }
    if (Math.max(Number(pair.from.rows), Number(pair.to.rows)) <= LISTED_ROWS) {
      await this.#list(range);
      return;
    }
    for await (const part of this.#split(range, pair)) {
      const digests = await this.#digests(part);
      if (!sameDigest(digests.from, digests.to)) await this.#narrow(part, digests);
    }
  }

  /**
   * Cuts a range by the side that has more rows in it. Keys cannot be compared here, so a part may reach beyond the range
   * when rows have gone meanwhile; then some rows are looked at twice, and none is missed.
   */
  async *#split(range: KeyRange, pair: DigestPair): AsyncGenerator<KeyRange> {
    const isOurs = Number(pair.from.rows) >= Number(pair.to.rows);
    const side = isOurs ? this.#options.from : this.#options.to;
    const rows = Math.ceil(Number(isOurs ? pair.from.rows : pair.to.rows) / SPLIT_INTO);
    let { after } = range;
    for (let part = 1; part < SPLIT_INTO; part++) {
      const { upTo } = await side.nextRange(this.#table, after, rows);
      if (upTo === null) break;
      yield { after, upTo };
      after = upTo;
    }
    yield { after, upTo: range.upTo };
  }

  async #list(range: KeyRange): Promise<void> {
    const { from, to } = this.#options;
    const [ours, theirs] = await Promise.all([from.rowsOf(this.#table, range), to.rowsOf(this.#table, range)]);
    const left = new Map(ours.map(({ key, hash }) => [JSON.stringify(key), { key, hash }]));
    for (const { key, hash } of theirs) {
      const id = JSON.stringify(key);
      if (left.get(id)?.hash !== hash) this.#suspect(key);
      left.delete(id);
    }
    for (const { key } of left.values()) this.#suspect(key);
    if (this.#suspects.size >= SUSPECTS_AT_ONCE) await this.#settle();
  }

  #suspect(key: KeyText): void {
    this.#suspects.set(JSON.stringify(key), { table: this.#table, key });
  }

  async #settle(): Promise<void> {
    const suspects = [...this.#suspects.values()];
    this.#suspects = new Map();
    const { divergent, unsettled } =
      this.#options.isApart === true ? { divergent: suspects, unsettled: [] } : await settle(this.#options, suspects);
    for (const { key } of divergent) this.#divergent.push(key);
    for (const { key } of unsettled) this.#unsettled.push(key);
  }

  #tell(finished: boolean): void {
    this.#options.onProgress?.({ table: displayName(this.#table), rows: Number(this.#rows), finished });
  }
}

/** Rows that the statistics say take a range's bytes. */
const fittingRows = (table: Table): number => {
  const rowBytes = table.bytes / Math.max(1, table.estimatedRows);
  return Math.min(MAX_RANGE_ROWS, Math.max(MIN_RANGE_ROWS, Math.floor(RANGE_BYTES / Math.max(1, rowBytes))));
};

/** What statistics say of a table with few rows says nothing of those that have come since: it may have been empty. */
const isUnknown = (table: Table): boolean => table.estimatedRows < MIN_RANGE_ROWS;

/** Rows of a table's first range, from its statistics; few, since rows may have become wider than these know, and fewer where they have seen few. */
export const firstRangeRows = (table: Table): number =>
  isUnknown(table) ? MIN_RANGE_ROWS : Math.min(fittingRows(table), FIRST_RANGE_ROWS);

/**
 * Rows to compare next when so many took so long on the slower side. Statistics are those of the phase's beginning, and one
 * statement over what a table has become since could take longer than a server may be silent: a table that was empty and
 * got 2,000 rows of a megabyte did (a minute).
 */
export const nextRangeRows = (table: Table, last: { readonly rows: number; readonly seconds: number }): number => {
  if (last.seconds > SLOW_RANGE_SECONDS) return Math.max(1, Math.floor(last.rows / 2));
  if (last.seconds > SLOW_RANGE_SECONDS / 10) return last.rows;
  return Math.min(isUnknown(table) ? MAX_RANGE_ROWS : fittingRows(table), last.rows * MAX_GROWTH);
};

/**
 * Compares rows by key: those that have changed since a certificate, for the proof before and within a switch. Unless both
 * sides stand still, rows that differ are settled as {@link verifyTables} settles them.
 */
export const verifyKeys = async (options: VerifyKeysOptions): Promise<Pick<TableResult, 'divergent' | 'unsettled'>> => {
  const { table, keys, from, to } = options;
  const suspects: Suspect[] = [];
  for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
    options.signal.throwIfAborted();
    const some = keys.slice(at, at + KEYS_AT_ONCE);
    const [ours, theirs] = await Promise.all([from.ofKeys(table, some), to.ofKeys(table, some)]);
    if (sameDigest(ours, theirs)) continue;
    const [a, b] = await Promise.all([from.hashesOf(table, some), to.hashesOf(table, some)]);
    const differing = some.filter((_, i) => a[i] !== b[i]);
    // Digests that differ over rows that do not are no proof of anything: on sides that stand still, all of them count.
    const counted = options.isStatic && differing.length === 0 ? some : differing;
    suspects.push(...counted.map((key) => ({ table, key })));
  }
  if (options.isStatic) return { divergent: suspects.map(({ key }) => key), unsettled: [] };
  const { divergent, unsettled } = await settle(options, suspects);
  return { divergent: divergent.map(({ key }) => key), unsettled: unsettled.map(({ key }) => key) };
};
