import { sql as raw } from 'kysely';
import { deposedError, SwitchbackError } from '../domain/errors.ts';
import type { Guard, SqlExecutor } from '../domain/sql.ts';
import { build, execute, fetch } from './tables.ts';

/** Who may write a phase's tables on one side, as that side itself says. */
export interface Ownership {
  readonly phase: string;
  readonly epoch: bigint;
  readonly role: 'primary' | 'replica';
  readonly fenced: boolean;
  /** Server time, ISO-like text. */
  readonly since: string;
  readonly by: string;
}

/** What an act makes of ownership rows. */
export interface OwnershipChange {
  readonly phases: readonly string[];
  readonly epoch: bigint;
  readonly role: 'primary' | 'replica';
  readonly fenced: boolean;
  readonly by: string;
}

/** Reads a side's ownership rows. */
export const readOwnership = async (sql: SqlExecutor): Promise<readonly Ownership[]> => {
  const rows = await fetch(
    sql,
    build.selectFrom('ownership').select(['phase', 'epoch', 'role', 'fenced', 'since', 'by']).orderBy('phase'),
  );
  return rows.map((row) => ({
    phase: row.phase,
    epoch: BigInt(row.epoch),
    role: row.role === 'primary' ? 'primary' : 'replica',
    fenced: row.fenced === 't',
    since: row.since,
    by: row.by,
  }));
};

/**
 * Whether every one of the phases is owned like this on a side. Waits for an act that is just being committed there, so
 * that it is no earlier truth; the caller's transaction should end soon.
 */
export const isOwned = async (
  sql: SqlExecutor,
  like: Pick<OwnershipChange, 'phases' | 'role' | 'fenced'> & { readonly epoch?: bigint },
): Promise<boolean> => {
  const rows = await fetch(
    sql,
    build
      .selectFrom('ownership')
      .select(['phase', 'epoch', 'role', 'fenced'])
      .where('phase', 'in', like.phases)
      .forShare(),
  );
  const fits = rows.filter(
    (row) =>
      row.role === like.role &&
      (row.fenced === 't') === like.fenced &&
      (like.epoch === undefined || BigInt(row.epoch) === like.epoch),
  );
  return fits.length === like.phases.length;
};

/**
 * The guard of an act on a side: writes the phases' ownership rows there if none of them knows a newer epoch, and holds
 * their locks until the act's transaction ends. Throws kind `deposed` otherwise (S7).
 */
export const ownershipGuard =
  (change: OwnershipChange): Guard =>
  async (sql) => {
    for (const phase of [...change.phases].sort()) {
      const row = {
        epoch: String(change.epoch),
        role: change.role,
        fenced: String(change.fenced),
        since: raw<string>`now()`,
        by: change.by,
      };
      const { rowCount } = await execute(
        sql,
        build
          .insertInto('ownership')
          .values({ phase, ...row })
          .onConflict((conflict) =>
            conflict.column('phase').doUpdateSet(row).where('ownership.epoch', '<=', String(change.epoch)),
          ),
      );
      if (rowCount === 0) {
        throw deposedError(`phase ${phase} is owned under an epoch newer than ${change.epoch}`);
      }
    }
  };

/** What an act expects of a side whose ownership it leaves as it is. */
export interface ExpectedOwnership {
  /** The phases that it is about, or all that the side knows. */
  readonly phases: readonly string[] | 'all';
  readonly epoch: bigint;
  /** Every one of the phases must be owned like this; without it a row may also be absent. */
  readonly role?: 'primary' | 'replica';
}

/**
 * The guard of an act that leaves the ownership as it is, such as emptying tables or dropping a slot: throws kind `deposed`
 * when a row of the phases knows a newer epoch, `refused` when one is not owned as expected. FOR SHARE, so that a take-over,
 * which raises the rows, waits until the act's transaction has ended (S7).
 */
export const epochGuard =
  ({ phases, epoch, role }: ExpectedOwnership): Guard =>
  async (sql) => {
    const all = build.selectFrom('ownership').select(['phase', 'epoch', 'role']).forShare();
    const rows = await fetch(sql, phases === 'all' ? all : all.where('phase', 'in', phases));
    const newer = rows.find((row) => BigInt(row.epoch) > epoch);
    if (newer) throw deposedError(`phase ${newer.phase} is owned under an epoch newer than ${epoch}`);
    if (role === undefined || phases === 'all') return;
    const other = phases.find((phase) => rows.find((row) => row.phase === phase)?.role !== role);
    if (other === undefined) return;
    throw new SwitchbackError('refused', `this side is not recorded as the ${role} of phase ${other}`, {
      remedy:
        'see who owns it: switchback status PLAN; what had begun goes on, once that is right again, by: switchback resume PLAN',
    });
  };

/** Who wrote an ownership row that says nothing of who may write; see {@link holdPlaces}. No worker has this id. */
export const PLACE_HOLDER = 'rebuild';

/**
 * Rows for phases whose own are lost, so that a side knows the epoch again before it is known who may write: a worker that
 * sleeps in the middle of a switch would otherwise find no row and act under an old one (S7).
 */
export const holdPlaces = async (sql: SqlExecutor, phases: readonly string[], epoch: bigint): Promise<void> => {
  for (const phase of phases) {
    await execute(
      sql,
      build
        .insertInto('ownership')
        .values({ phase, epoch: String(epoch), role: 'replica', fenced: 'true', by: PLACE_HOLDER })
        .onConflict((conflict) => conflict.doNothing()),
    );
  }
};

/** Removes what {@link holdPlaces} has made, where nothing has taken its place. */
export const removePlaces = async (sql: SqlExecutor): Promise<void> => {
  await execute(sql, build.deleteFrom('ownership').where('by', '=', PLACE_HOLDER));
};

/**
 * Tells a side that a newer worker acts: raises the epoch of every ownership and progress row. It waits for acts and
 * batches of the older worker that are in flight there, so that afterwards none of them can commit any more.
 */
export const raiseSide = async (sql: SqlExecutor, epoch: bigint): Promise<void> => {
  for (const table of ['ownership', 'progress'] as const) {
    await execute(
      sql,
      build
        .updateTable(table)
        .set({ epoch: String(epoch) })
        .where('epoch', '<', String(epoch)),
    );
  }
};
