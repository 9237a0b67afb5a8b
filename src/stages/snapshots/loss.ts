import type { Digests, KeyText } from '../../databases/digests.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { verifyTables } from '../verify.ts';

/** What going back to a restored source loses of one table. */
export interface TableLoss {
  readonly table: string;
  /** Rows that the primary has and the restored source has not: inserts that are lost. */
  readonly missing: number;
  /** Rows that both have, with other values: updates that are lost. */
  readonly differing: number;
  /** Rows that only the restored source has: deletes that are lost. */
  readonly extra: number;
  /** False where rows cannot be told one by one, or are too many: then the numbers are the least that it can be. */
  readonly isExact: boolean;
}

/** What is compared. */
export interface LossOptions {
  readonly tables: readonly Table[];
  readonly primary: Digests;
  readonly restored: Digests;
  readonly signal: AbortSignal;
}

/**
 * Rows of a table that are told one by one; above that a person wants to know how many there are at least. Their keys are held in
 * memory, so it is one table after another: a schema whose tables all differ would need as much of all of them at once.
 */
const TOLD_AT_MOST = 200_000;
const KEYS_PER_STATEMENT = 2_000;

/**
 * Compares a primary with what was restored, row by row where digests differ, and tells what is not there. Exact where both sides
 * stand still; of a primary that is written to, as of the time of the comparison. Tables that are equal are left out. Kinds as
 * {@link Digests}.
 */
export const findLoss = async ({ tables, ...sides }: LossOptions): Promise<readonly TableLoss[]> => {
  const losses: TableLoss[] = [];
  for (const table of tables) {
    const loss = await findTableLoss(table, sides);
    if (loss !== null) losses.push(loss);
  }
  return losses;
};

const findTableLoss = async (
  table: Table,
  { primary, restored, signal }: Omit<LossOptions, 'tables'>,
): Promise<TableLoss | null> => {
  const { tables } = await verifyTables({
    tables: [table],
    from: primary,
    to: restored,
    isApart: true,
    appliedPast: async () => undefined,
    divergentAtMost: TOLD_AT_MOST,
    signal,
  });
  const told = tables.flatMap(({ divergent, unsettled }) => [...divergent, ...unsettled]);
  // A row may have been told twice, where ranges overlap.
  const keys = [...new Map(told.map((key) => [JSON.stringify(key), key])).values()];
  if (keys.length === 0) return null;
  const counted =
    table.key === null ? await countWhole(table, primary, restored) : await count(table, keys, { primary, restored });
  const isExact = table.key !== null && tables.every(({ stopped }) => !stopped);
  return { table: displayName(table), ...counted, isExact };
};

type Counts = Pick<TableLoss, 'missing' | 'differing' | 'extra'>;

const count = async (
  table: Table,
  keys: readonly KeyText[],
  sides: Pick<LossOptions, 'primary' | 'restored'>,
): Promise<Counts> => {
  const counts = { missing: 0, differing: 0, extra: 0 };
  for (let at = 0; at < keys.length; at += KEYS_PER_STATEMENT) {
    const some = keys.slice(at, at + KEYS_PER_STATEMENT);
    const [there, here] = await Promise.all([
      sides.primary.hashesOf(table, some),
      sides.restored.hashesOf(table, some),
    ]);
    for (const [i, hash] of there.entries()) {
      const own = here[i] ?? null;
      if (hash === own) continue;
      if (own === null) counts.missing += 1;
      else if (hash === null) counts.extra += 1;
      else counts.differing += 1;
    }
  }
  return counts;
};

/** Without a key only the numbers of rows can be compared; that the rows differ is known. */
const countWhole = async (table: Table, primary: Digests, restored: Digests): Promise<Counts> => {
  const whole = { after: null, upTo: null };
  const [there, here] = await Promise.all([primary.ofRange(table, whole), restored.ofRange(table, whole)]);
  const more = Number(there.rows) - Number(here.rows);
  return { missing: Math.max(0, more), differing: more === 0 ? 1 : 0, extra: Math.max(0, -more) };
};

/** The loss of all tables as one line. */
export const lossText = (losses: readonly TableLoss[]): string => {
  if (losses.length === 0) return 'no row differs from the target';
  const sum = (of: (loss: TableLoss) => number): number => losses.reduce((all, loss) => all + of(loss), 0);
  const least = losses.every(({ isExact }) => isExact) ? '' : 'at least ';
  const parts = [
    `${sum(({ missing }) => missing)} rows that are on the target only`,
    `${sum(({ differing }) => differing)} that have newer values there`,
    `${sum(({ extra }) => extra)} that were deleted there and come back`,
  ];
  const names = losses.slice(0, 5).map(({ table }) => table);
  return `lost are ${least}${parts.join(', ')} (${names.join(', ')}${losses.length > 5 ? ', …' : ''})`;
};
