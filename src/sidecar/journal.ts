import { sql as raw, type Selectable } from 'kysely';
import { SwitchbackError } from '../domain/errors.ts';
import type { StepStatus } from '../domain/event.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { type ChainEnd, type ChainedFields, hashEntry } from './chain.ts';
import { build, execute, fetch, type SidecarTables, sqlStateOf } from './tables.ts';

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

/** The end of the chain: what the next entry is linked to. */
export const readChainEnd = async (sql: SqlExecutor): Promise<ChainEnd> => {
  const [newest] = await fetch(sql, build.selectFrom('journal').select(['id', 'hash']).orderBy('id', 'desc').limit(1));
  if (newest) return { id: BigInt(newest.id), hash: newest.hash };
  const [run] = await fetch(sql, build.selectFrom('run').select('id'));
  return { id: 0n, hash: run?.id ?? '' };
};

/**
 * Writes a line, linked to the end of the chain, and returns the new end. The caller has asserted the lease in the same
 * transaction, and knows the end from that transaction or from one of its own that has committed: whoever else thinks to
 * be at that end is refused by the entry's id, with kind `busy`. `at` is the server's clock, `now()` of the transaction.
 */
export const writeJournal = async (
  sql: SqlExecutor,
  end: ChainEnd,
  entry: Omit<JournalEntry, 'id'>,
): Promise<ChainEnd> => {
  const fields = {
    at: entry.at,
    epoch: String(entry.epoch),
    scope: entry.scope,
    phases: entry.phases.join(','),
    step: entry.step,
    status: entry.status,
    detail: entry.detail,
    ms: entry.ms === null ? null : String(Math.round(entry.ms)),
  };
  const next = { id: end.id + 1n, hash: hashEntry(end.hash, fields) };
  const row = { id: String(next.id), ...fields, previous: end.hash, hash: next.hash };
  try {
    await execute(sql, build.insertInto('journal').values(row));
  } catch (error) {
    throw sqlStateOf(error) === UNIQUE_VIOLATION ? takenError(next.id, error) : error;
  }
  return next;
};

const UNIQUE_VIOLATION = '23505';

/** Under the lease it can only be an entry of our own, of a transaction whose answer was lost, or of somebody's hand. */
const takenError = (id: bigint, cause: unknown): SwitchbackError =>
  new SwitchbackError('busy', `entry ${id} of the journal was written by another transaction`, {
    remedy: 'it is tried again after that entry; whether that is one of ours is told by: switchback audit verify PLAN',
    cause,
  });

/** An entry with its links, as it is stored. */
export interface LinkedEntry {
  readonly id: bigint;
  readonly fields: ChainedFields;
  readonly previous: string;
  readonly hash: string;
}

const AT_TEXT = raw<string>`to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** Entries after `id` with their links, in the order of their ids, at most `limit`. */
export const readLinked = async (
  sql: SqlExecutor,
  query: { readonly after: bigint; readonly limit: number },
): Promise<readonly LinkedEntry[]> => {
  const rows = await fetch(
    sql,
    build
      .selectFrom('journal')
      .select(['id', 'epoch', 'scope', 'phases', 'step', 'status', 'detail', 'ms', 'previous', 'hash'])
      .select(AT_TEXT.as('at_text'))
      .where('id', '>', String(query.after))
      .orderBy('id')
      .limit(query.limit),
  );
  return rows.map(({ id, previous, hash, at_text, ...fields }) => ({
    id: BigInt(id),
    fields: { at: at_text, ...fields },
    previous,
    hash,
  }));
};

/** The ids of entries that have a hash. One, or none; several when an entry was stored twice. */
export const entriesWithHash = async (sql: SqlExecutor, hash: string): Promise<readonly bigint[]> =>
  (await fetch(sql, build.selectFrom('journal').select('id').where('hash', '=', hash).orderBy('id'))).map(({ id }) =>
    BigInt(id),
  );

/** The ends of the chain that were noted on the target, oldest first. */
export const readNotedEnds = async (sql: SqlExecutor): Promise<readonly ChainEnd[]> =>
  (await fetch(sql, build.selectFrom('chain_end').select(['entry', 'hash']).orderBy('entry'))).map((row) => ({
    id: BigInt(row.entry),
    hash: row.hash,
  }));

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

/** What a step of a phase took in all, over its attempts that succeeded. */
export interface PhaseTimes {
  readonly phase: string;
  readonly scope: string;
  readonly step: string;
  readonly ms: number;
}

/** Times of the steps of these scopes, for steps of one phase alone. */
export const readStageTimes = async (sql: SqlExecutor, scopes: readonly string[]): Promise<readonly PhaseTimes[]> => {
  const rows = await fetch(
    sql,
    build
      .selectFrom('journal')
      .select(['phases', 'scope', 'step', raw<string>`sum(ms)`.as('total')])
      .where('scope', 'in', scopes)
      .where('status', '=', 'done')
      .where('ms', 'is not', null)
      .groupBy(['phases', 'scope', 'step']),
  );
  return rows.map(({ phases: phase, scope, step, total }) => ({ phase, scope, step, ms: Number(total) }));
};

/** The newest line's id, zero when there is none. */
export const lastJournalId = async (sql: SqlExecutor): Promise<bigint> => {
  const [row] = await fetch(sql, build.selectFrom('journal').select('id').orderBy('id', 'desc').limit(1));
  return row ? BigInt(row.id) : 0n;
};
