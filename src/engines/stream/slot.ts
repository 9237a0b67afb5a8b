import { SwitchbackError } from '../../domain/errors.ts';
import { SLOT_LOST } from '../../domain/finding.ts';
import type { Position } from '../../domain/position.ts';
import { TRY_STAGE_AGAIN } from '../../domain/remedy.ts';
import type { Guard, SqlExecutor, TextRow } from '../../domain/sql.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import { codeOf, type PostgresServer } from '../../platform/postgres/server.ts';
import { SLOT_BUDGET_MS, waitedTooLong } from '../../platform/postgres/slot-wait.ts';
import { halted, SLOT_LOST_REMEDY } from './halt.ts';

/** A session of ours that broke may hold the slot until its server notices. */
const INACTIVE_WITHIN_MS = 10_000;
const POLL_MS = 100;
const QUERY_CANCELED = '57014';
const UNDEFINED_OBJECT = '42704';

/**
 * Makes a logical slot for pgoutput and resolves with its consistent point: it streams every transaction that commits there
 * or later. An unused one of the same name is replaced. Throws kind `busy`, naming the transactions that it has to wait for,
 * when it takes longer than a minute; `refused` when the slot is in use.
 */
export const createSlot = async (
  server: PostgresServer,
  slot: string,
  budgetMs: number = SLOT_BUDGET_MS,
): Promise<Position> => {
  await dropSlot(server, slot);
  const session = await server.connect('slot');
  try {
    await session.query(`SET statement_timeout = ${budgetMs}`);
    const { rows } = await session.query<{ lsn: string }>(
      `SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')`,
      [slot],
    );
    return (rows[0]?.lsn ?? '') as Position;
  } catch (error) {
    if (codeOf(error) !== QUERY_CANCELED) throw server.wrap(error);
    await dropSlot(server, slot).catch(() => undefined);
    throw await waitedTooLong(server, slot);
  } finally {
    await session.end().catch(() => undefined);
  }
};

/** For a slot that nobody else knows of. */
const UNGUARDED: Guard = async () => undefined;

/**
 * Drops a slot, if there is one and the guard lets it, and waits for a session of ours that still holds it. Throws kind
 * `refused` if it goes on.
 */
export const dropSlot = async (server: PostgresServer, slot: string, guard: Guard = UNGUARDED): Promise<void> => {
  const deadlineMs = monotonicMs() + INACTIVE_WITHIN_MS;
  for (;;) {
    const { rows } = await server.query(
      'SELECT active_pid::text AS pid FROM pg_replication_slots WHERE slot_name = $1',
      [slot],
    );
    const [found] = rows;
    if (found === undefined) return;
    if (found.pid === null) {
      if (await tryDrop(server, slot, guard)) return;
    } else if (monotonicMs() > deadlineMs) {
      throw new SwitchbackError('refused', `slot ${slot} on the ${server.label} is in use by pid ${found.pid}`, {
        remedy: `end whoever reads it: SELECT pg_terminate_backend(${found.pid}); ${TRY_STAGE_AGAIN}`,
      });
    }
    await sleep(POLL_MS);
  }
};

/** False when somebody has begun to read it in the meantime. */
const tryDrop = async (server: PostgresServer, slot: string, guard: Guard): Promise<boolean> => {
  try {
    await server.transaction(async (sql) => {
      await guard(sql);
      await sql.query('SELECT pg_drop_replication_slot($1)', [slot]);
    });
    return true;
  } catch (error) {
    if (codeOf(error) === UNDEFINED_OBJECT) return true;
    if (codeOf(error) === '55006') return false;
    throw error;
  }
};

/** What {@link lossOf} and the position check look at. Columns differ by version; as JSON a missing one is just absent. */
export const SLOT_FACTS = `plugin, s.database = current_database() AS here, confirmed_flush_lsn::text AS confirmed,
            restart_lsn IS NULL AS discarded, to_jsonb(s) ->> 'wal_status' AS wal_status,
            to_jsonb(s) ->> 'invalidation_reason' AS reason, to_jsonb(s) ->> 'conflicting' AS conflicting`;

/**
 * Makes sure that a slot can bring everything from a position on (S14). Throws kind `halted`, finding `lane/slot-lost`, when
 * it is gone, invalidated, or has been read beyond that position; `internal` when it is intact and there is no position. The
 * position is asked for after the slot has been looked at: a worker that is still at work stores its progress first and
 * confirms it then, never the other way round.
 */
export const inspectSlot = async (
  server: PostgresServer,
  slot: string,
  position: () => Promise<Position | null>,
): Promise<void> => {
  const { rows } = await server.query(`SELECT ${SLOT_FACTS} FROM pg_replication_slots s WHERE slot_name = $1`, [slot]);
  const [row] = rows;
  const from = await position();
  const fact = (row === undefined ? 'does not exist' : lossOf(row)) ?? (await gapOf(server, row, from));
  if (fact === null) return;
  throw halted({
    id: SLOT_LOST,
    subject: `slot ${slot}`,
    fact: `${fact} on the ${server.label}; changes ${from === null ? '' : `after ${from} `}may be missing`,
    remedy: SLOT_LOST_REMEDY,
  });
};

/** Why a slot can bring nothing any more, from its {@link SLOT_FACTS}; null when it can. */
export const lossOf = (slot: TextRow): string | null => {
  if (slot.plugin !== 'pgoutput' || slot.here !== 't') return 'is not ours (another plugin or database)';
  if (slot.reason) return `was invalidated (${slot.reason})`;
  if (slot.discarded === 't' || slot.wal_status === 'lost' || slot.conflicting === 'true') return 'was invalidated';
  return null;
};

/** What is missing between a position and what the slot brings, or null. */
const gapOf = async (
  server: PostgresServer,
  slot: TextRow | undefined,
  from: Position | null,
): Promise<string | null> => {
  if (from === null) throw new SwitchbackError('internal', 'the lane of an intact slot was never opened');
  if (slot?.confirmed && !Lsn.reached(from, slot.confirmed as Position))
    return `has been read up to ${slot.confirmed}, beyond what was applied,`;
  return await otherHistory(server, from);
};

/** A server that was put back to an earlier state would skip what it writes until it is past the position again. */
const otherHistory = async (server: PostgresServer, from: Position): Promise<string | null> => {
  const { rows } = await server.query('SELECT pg_current_wal_insert_lsn()::text AS head');
  const head = rows[0]?.head;
  return head && !Lsn.reached(head as Position, from) ? `is in a log that ends at ${head}` : null;
};

/** Ends whoever streams from a slot. Only for a worker that has just proved that the lane is its own. */
export const evictReader = async (sql: SqlExecutor, slot: string): Promise<void> => {
  await sql.query(
    'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL',
    [slot],
  );
};
