import { sql as raw } from 'kysely';
import type { Finding } from '../domain/finding.ts';
import type { PhaseState } from '../domain/phase.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { build, execute, fetch } from './tables.ts';

/** A phase and its durable state. */
export interface StoredPhase {
  readonly name: string;
  readonly state: PhaseState;
  readonly updatedAt: string;
  /** Why its stage cannot go on by itself, or null. */
  readonly stuck: Finding | null;
}

/** All phases of the run, in the plan's order. */
export const readPhases = async (sql: SqlExecutor): Promise<readonly StoredPhase[]> => {
  const rows = await fetch(
    sql,
    build.selectFrom('phase').select(['name', 'doc', 'stuck', 'updated_at']).orderBy('ordinal'),
  );
  return rows.map((row) => ({
    name: row.name,
    state: JSON.parse(row.doc) as PhaseState,
    updatedAt: row.updated_at,
    stuck: row.stuck === null ? null : (JSON.parse(row.stuck) as Finding),
  }));
};

/** Makes the rows of phases that the run does not know yet, as `planned`. */
export const seedPhases = async (sql: SqlExecutor, names: readonly string[]): Promise<void> => {
  const planned: PhaseState = { name: 'planned' };
  const rows = names.map((name, ordinal) => ({ name, ordinal: String(ordinal), doc: JSON.stringify(planned) }));
  if (rows.length === 0) return;
  await execute(
    sql,
    build
      .insertInto('phase')
      .values(rows)
      .onConflict((conflict) => conflict.doNothing()),
  );
};

/** Stores a phase's state for a rebuild, whatever is left of its row. The caller's transaction has asserted the lease. */
export const restorePhase = async (
  sql: SqlExecutor,
  phase: { readonly name: string; readonly ordinal: number; readonly state: PhaseState },
): Promise<void> => {
  const values = { doc: JSON.stringify(phase.state), stuck: null, updated_at: raw<string>`now()` };
  await execute(
    sql,
    build
      .insertInto('phase')
      .values({ name: phase.name, ordinal: String(phase.ordinal), ...values })
      .onConflict((conflict) => conflict.column('name').doUpdateSet(values)),
  );
};

/** Stores why phases, at least one, cannot go on by themselves, or null when they may try again. */
export const writeStuck = async (sql: SqlExecutor, names: readonly string[], stuck: Finding | null): Promise<void> => {
  await execute(
    sql,
    build
      .updateTable('phase')
      .set({ stuck: stuck === null ? null : JSON.stringify(stuck) })
      .where('name', 'in', names),
  );
};

/** Stores a phase's state. Only `machine.ts` calls it, in a transaction that has asserted the lease. */
export const writePhase = async (sql: SqlExecutor, name: string, state: PhaseState): Promise<void> => {
  await execute(
    sql,
    build
      .updateTable('phase')
      .set({ doc: JSON.stringify(state), updated_at: raw<string>`now()` })
      .where('name', '=', name),
  );
};

/** The server's clock as ISO 8601 UTC, for the states' `since` and `at`. */
export const serverTime = async (sql: SqlExecutor): Promise<string> => {
  const [row] = (await sql.query(`SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS now`))
    .rows;
  return row?.now ?? '';
};
