import type { Digest, Digests, KeyText } from '../../databases/digests.ts';
import { displayName, type Table } from '../../domain/table.ts';

/** Rows of a range: a second or so of a server's time, so that a statement never lasts longer than a lost one may. */
const RANGE_ROWS = 500_000;
/** Tables that are read at once. The source has clients to serve. */
const TABLES_AT_ONCE = 2;

/** What tables are digested with. */
export interface DigestOptions {
  /** Name of an exported snapshot under which they are read, or null: as they are. */
  readonly exported: string | null;
  readonly signal: AbortSignal;
  /** Called after each table with how many have been read. */
  readonly onTable: (done: number, of: number) => void;
}

/** Digest of a whole table, put together from its ranges: both of its numbers are sums over rows. */
const digestOf = async (digests: Digests, table: Table, { exported, signal }: DigestOptions): Promise<Digest> => {
  let after: KeyText | null = null;
  let rows = 0n;
  let sum = 0n;
  for (;;) {
    signal.throwIfAborted();
    // Bounds may be of any moment: ranges that follow each other from end to end leave nothing out.
    const range = await digests.nextRange(table, after, RANGE_ROWS);
    const digest = await digests.ofRange(table, range, exported);
    rows += BigInt(digest.rows);
    sum += BigInt(digest.sum);
    if (range.upTo === null) return { rows: String(rows), sum: String(sum) };
    after = range.upTo;
  }
};

/** Digests of whole tables, by display name. */
export const digestTables = async (
  digests: Digests,
  tables: readonly Table[],
  options: DigestOptions,
): Promise<Readonly<Record<string, Digest>>> => {
  const found = new Map<string, Digest>();
  const left = [...tables];
  const readOn = async (): Promise<void> => {
    for (let table = left.shift(); table !== undefined; table = left.shift()) {
      found.set(displayName(table), await digestOf(digests, table, options));
      options.onTable(found.size, tables.length);
    }
  };
  await Promise.all(Array.from({ length: TABLES_AT_ONCE }, readOn));
  return Object.fromEntries([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
};
