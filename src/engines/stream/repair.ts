import type { KeyText } from '../../databases/digests.ts';
import { SwitchbackError } from '../../domain/errors.ts';
import { beginAnew } from '../../domain/remedy.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { type KeyColumn, keyEquals, readKeyColumns } from '../../platform/postgres/key.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import { quoteName, quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import { runTransaction } from '../../platform/postgres/server.ts';
import { type FollowOptions, phaseOfLane, type RepairRequest } from '../engine.ts';
import type { LaneContext } from './context.ts';
import { type CopySessions, endCopySessions, openCopySessions, transfer } from './copy-chunk.ts';
import { originHead } from './origin.ts';
import { waitUntilVisible } from './visibility.ts';

const KEYS_PER_TRANSACTION = 500;

/**
 * Makes rows on the written side what they are on the origin: deletes them by key and copies again those that the origin
 * has, a batch in one transaction. Returns the number of keys.
 *
 * The lane must not follow meanwhile. A row that is read now may hold changes which the stream is still to bring, so the
 * same transaction moves `strictFrom` to the origin's position after the read: up to there the lane applies idempotently
 * again, as it did behind the copy. Throws kind `refused` for a table without a key.
 */
export const repairRows = async (
  context: LaneContext,
  requests: readonly RepairRequest[],
  { signal, observer }: FollowOptions,
): Promise<number> => {
  // What the lane has applied must be visible, or an older row would be copied over a newer one.
  await waitUntilVisible({ sql: context.from, signal, onBlocked: (blockers) => observer.blocked?.(blockers) });
  const sessions = await openCopySessions(context);
  let repaired = 0;
  try {
    for (const { table, keys } of requests) {
      const columns = await requireKey(context, table);
      for (let at = 0; at < keys.length; at += KEYS_PER_TRANSACTION) {
        signal.throwIfAborted();
        const some = keys.slice(at, at + KEYS_PER_TRANSACTION);
        await repairBatch({ context, sessions, signal }, { table, columns, keys: some });
        repaired += some.length;
      }
    }
    return repaired;
  } catch (error) {
    throw context.to.wrap(error);
  } finally {
    await endCopySessions(sessions);
  }
};

const requireKey = async (context: LaneContext, table: Table): Promise<readonly KeyColumn[]> => {
  if (table.key !== null) return await readKeyColumns(context.from, table);
  throw new SwitchbackError('refused', `${displayName(table)} has no key, so its rows cannot be repaired one by one`, {
    remedy: `make them equal by hand on the side that is not the primary, past its fence (SET session_replication_role = replica); or, before a cutover, begin anew: ${beginAnew(phaseOfLane(context.spec.lane))}`,
  });
};

interface Repair {
  readonly context: LaneContext;
  readonly sessions: CopySessions;
  readonly signal: AbortSignal;
}

interface Batch extends RepairRequest {
  readonly columns: readonly KeyColumn[];
}

const repairBatch = async (repair: Repair, { table, columns, keys }: Batch): Promise<void> => {
  const { context, sessions, signal } = repair;
  const { spec, from, to } = context;
  const left = columns.map((column) => `t.${quoteName(column.name)}`);
  const right = columns.map((_, at) => `k.k${at}`);
  const matches = keyEquals(columns, left, right);
  const values = keyValues(columns, keys);
  await runTransaction(sessions.writer, to.label, async (sql) => {
    await sql.query(`DELETE FROM ONLY ${quoteTable(table)} t USING ${values} WHERE ${matches}`);
    const rows = `${values} JOIN ONLY ${quoteTable(table)} t ON ${matches}`;
    await transfer({ context, sessions, signal }, { table, format: 'text', rows });
    await raiseStrictFrom(sql, spec.store, await originHead(from));
  });
};

/** The keys as a relation `k`, by literals: neither COPY nor its query takes parameters. Each key once. */
const keyValues = (columns: readonly KeyColumn[], keys: readonly KeyText[]): string => {
  const rows = keys.map((key) => `(${columns.map((c, at) => `${quoteText(key[at] ?? '')}::${c.type}`).join(', ')})`);
  return `(VALUES ${[...new Set(rows)].join(', ')}) AS k (${columns.map((_, at) => `k${at}`).join(', ')})`;
};

const raiseStrictFrom = async (
  sql: SqlExecutor,
  store: LaneContext['spec']['store'],
  head: Awaited<ReturnType<typeof originHead>>,
): Promise<void> => {
  const progress = await store.progress(sql);
  if (progress === null || progress.strictFrom === null) {
    throw new SwitchbackError('internal', 'rows can be repaired only once the copy has ended');
  }
  await store.record(sql, { ...progress, strictFrom: Lsn.max(progress.strictFrom, head) });
};
