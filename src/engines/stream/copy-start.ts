import { displayName } from '../../domain/table.ts';
import { becomeApplier } from '../../platform/postgres/applier.ts';
import { holdSnapshot, type PositionedSnapshot } from '../../platform/postgres/held-snapshot.ts';
import { quoteTable } from '../../platform/postgres/quote.ts';
import { runTransaction } from '../../platform/postgres/server.ts';
import type { LaneProgress } from '../engine.ts';
import type { LaneContext } from './context.ts';
import { copyLockSql } from './copy-chunk.ts';

/**
 * Prepares the copy of tables without a key, which cannot be applied to idempotently: they are read under a snapshot whose
 * position is known, and the lane starts there instead of at its slot's consistent point. That the other tables' chunks are
 * read later is no harm. Resolves with null when there are no such tables, or all have been copied.
 *
 * When an earlier copy died before it had read them all, its chunks belong to an earlier start, and so the whole lane's copy
 * begins again: what it had copied is emptied in the transaction that forgets it. The slot stays.
 */
export const startKeylessCopy = async (context: LaneContext): Promise<PositionedSnapshot | null> => {
  const { spec, from, to } = context;
  const progress = await spec.store.progress(to);
  if (progress === null || progress.strictFrom !== null) return null;
  const copied = new Set((await spec.store.chunks(to)).map((chunk) => chunk.table));
  if (spec.tables.every((table) => table.key !== null || copied.has(displayName(table)))) return null;
  // It shows exactly the transactions that commit before its position, from which the lane then follows strictly.
  const snapshot = await holdSnapshot(from, `${spec.slot.slice(0, 58)}_copy`);
  try {
    await startOver(context, { ...progress, position: snapshot.position });
    return snapshot;
  } catch (error) {
    await snapshot.release();
    throw to.wrap(error);
  }
};

const LOCK_TIMEOUT_MS = 30_000;

const startOver = async (context: LaneContext, progress: LaneProgress): Promise<void> => {
  const { spec, to } = context;
  const session = await to.connect('copy');
  try {
    await becomeApplier(session);
    await runTransaction(session, to.label, async (sql) => {
      await sql.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
      // A chunk of an earlier process may still be committing.
      await sql.query(`SELECT pg_advisory_xact_lock(${copyLockSql(spec.lane)})`);
      const hasChunks = (await spec.store.chunks(sql)).length > 0;
      await spec.store.restart(sql, progress);
      if (hasChunks) await sql.query(`TRUNCATE ONLY ${spec.tables.map(quoteTable).join(', ONLY ')}`);
    });
  } finally {
    await session.end().catch(() => undefined);
  }
};
