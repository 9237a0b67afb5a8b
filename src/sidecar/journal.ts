import type { Selectable } from 'kysely';
import type { StepStatus } from '../domain/event.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { build, execute, fetch, type SidecarTables } from './tables.ts';

/** One line of the journal. */
export interface JournalEntry {
  readonly id: bigint;
  readonly at: string;
  readonly epoch: bigint;
  /** The stage (`prepare`) or switch (`cutover-7`) that the step belongs to. */
  readonly scope: string;
  readonly phases: readonly string[];
  readonly step: string;
  readonly status: StepStatus;
  readonly detail: string | null;
  readonly ms: number | null;
}

/** Writes a line. The caller has asserted the lease in the same transaction. */
export const writeJournal = async (sql: SqlExecutor, entry: Omit<JournalEntry, 'id' | 'at'>): Promise<void> => {
  await execute(
    sql,
    build.insertInto('journal').values({
      epoch: String(entry.epoch),
      scope: entry.scope,
      phases: entry.phases.join(','),
      step: entry.step,
      status: entry.status,
      detail: entry.detail,
      ms: entry.ms === null ? null : String(Math.round(entry.ms)),
    }),
  );
};

/** Lines after `id`, oldest first, at most `limit`. */
export const readJournal = async (
  sql: SqlExecutor,
  query: { readonly after: bigint; readonly limit: number },
): Promise<readonly JournalEntry[]> => {
  const rows = await fetch(
    sql,
    build.selectFrom('journal').selectAll().where('id', '>', String(query.after)).orderBy('id').limit(query.limit),
  );
  return rows.map(entryOf);
};

const entryOf = (row: Selectable<SidecarTables['journal']>): JournalEntry => ({
  id: BigInt(row.id),
  at: row.at,
  epoch: BigInt(row.epoch),
  scope: row.scope,
  phases: row.phases === '' ? [] : row.phases.split(','),
  step: row.step,
  status: row.status as StepStatus,
  detail: row.detail,
  ms: row.ms === null ? null : Number(row.ms),
});

/** The newest lines of all switches that were begun, oldest first, at most `limit`. */
export const readSwitchJournal = async (sql: SqlExecutor, limit: number): Promise<readonly JournalEntry[]> => {
  const rows = await fetch(
    sql,
    build
      .selectFrom('journal')
      .selectAll()
      .where('scope', 'in', build.selectFrom('switch').select('id'))
      .orderBy('id', 'desc')
      .limit(limit),
  );
  return rows.map(entryOf).reverse();
};

/** The newest line's id, zero when there is none. */
export const lastJournalId = async (sql: SqlExecutor): Promise<bigint> => {
  const [row] = await fetch(sql, build.selectFrom('journal').select('id').orderBy('id', 'desc').limit(1));
  return row ? BigInt(row.id) : 0n;
};
