import { randomBytes } from 'node:crypto';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { monotonicMs, sleep } from '../clock.ts';
import { type HeldSnapshot, holdSnapshot } from './held-snapshot.ts';
import { quoteText } from './quote.ts';
import { codeOf, type PostgresServer } from './server.ts';
import { SLOT_BUDGET_MS, waitedTooLong } from './slot-wait.ts';

/** A snapshot that other sessions can take, and where in the log it stands. */
export interface ExportedSnapshot extends HeldSnapshot {
  /** Every transaction that committed before it is seen. */
  readonly atLeast: Position;
  /** No transaction that committed at it or later is. */
  readonly atMost: Position;
}

/** No right to replicate, no slot left, no logical decoding: a snapshot whose place is known only between bounds is had all the same. */
const NO_SLOT = new Set(['42501', '53400', '55000']);
const POLL_MS = 100;

type Session = Awaited<ReturnType<PostgresServer['connect']>>;

const exportHeld = async (session: Session): Promise<string> => {
  const { rows } = await session.query<{ name: string }>('SELECT pg_export_snapshot() AS name');
  return rows[0]?.name ?? '';
};

const BEGIN = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY';

/**
 * The snapshot of a temporary slot, exported again by an ordinary transaction, so that the slot can go at once: it would keep
 * the server's log for as long as somebody reads.
 */
const exportExactly = async (server: PostgresServer, session: Session) => {
  const held = await holdSnapshot(server, `switchback_snapshot_${randomBytes(6).toString('hex')}`);
  try {
    await session.query(`${BEGIN}; SET TRANSACTION SNAPSHOT ${quoteText(held.name)}`);
    return { name: await exportHeld(session), atLeast: held.position, atMost: held.position };
  } finally {
    await held.release();
  }
};

const INSERT_POSITION = 'SELECT pg_current_wal_insert_lsn()::text AS lsn';

/**
 * A commit record can be in the log before its transaction can be seen: every transaction that was running when the lower bound
 * was read has to have ended before the snapshot is taken.
 */
const exportBetween = async (server: PostgresServer, session: Session) => {
  const { rows } = await server.query(`${INSERT_POSITION}, pg_snapshot_xmax(pg_current_snapshot())::text AS xmax`);
  const atLeast = (rows[0]?.lsn ?? '') as Position;
  const xmax = rows[0]?.xmax ?? '0';
  const deadlineMs = monotonicMs() + SLOT_BUDGET_MS;
  for (;;) {
    const seen = await server.query(
      'SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::numeric >= $1::numeric)::text AS ended',
      [xmax],
    );
    if (seen.rows[0]?.ended === 'true') break;
    if (monotonicMs() > deadlineMs) throw await waitedTooLong(server, 'of a snapshot');
    await sleep(POLL_MS);
  }
  await session.query(BEGIN);
  const name = await exportHeld(session);
  const after = await server.query(INSERT_POSITION);
  return { name, atLeast, atMost: (after.rows[0]?.lsn ?? '') as Position };
};

/**
 * Exports a snapshot: exactly placed where a logical slot can be had, else between two bounds. The caller releases it. Throws kind
 * `busy`, with their names, when transactions that are writing take longer than a minute to end.
 */
export const exportSnapshot = async (server: PostgresServer): Promise<ExportedSnapshot> => {
  const session = await server.connect('snapshot');
  const release = async (): Promise<void> => {
    await session.end().catch(() => undefined);
  };
  try {
    const { rows } = await server.query("SELECT current_setting('wal_level') AS level");
    const exact = rows[0]?.level === 'logical' ? await exportExactly(server, session).catch(unlessNoSlot) : null;
    if (exact !== null) return { ...exact, release };
    return { ...(await exportBetween(server, session)), release };
  } catch (error) {
    await release();
    throw server.wrap(error);
  }
};

const unlessNoSlot = (error: unknown): null => {
  if (error instanceof SwitchbackError ? NO_SLOT.has(codeOf(error.cause)) : NO_SLOT.has(codeOf(error))) return null;
  throw error;
};
