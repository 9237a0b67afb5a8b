import type { Selectable } from 'kysely';
import type { PhaseState } from '../domain/phase.ts';
import type { Direction, Position, Side } from '../domain/position.ts';
import type { RouteProof } from '../domain/proof.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { build, execute, fetch, type SidecarTables } from './tables.ts';

/** What a router said of a phase before it was repointed. */
export interface RecordedRoute {
  /** Where it led; null when it had never been told. */
  readonly primary: Side | null;
  /** The condition of the repoint. */
  readonly version: string;
}

/** What routers said, by phase and router. */
export type RecordedRoutes = Readonly<Record<string, Readonly<Record<string, RecordedRoute>>>>;

/** What a switch recorded before and while it acted; everything that undoing or completing it needs. */
export interface SwitchDocument {
  /** States of the phases before the switch, to go back to when it is aborted. */
  readonly before: Readonly<Record<string, PhaseState>>;
  /**
   * What the routers said before the hold, by phase and router. A text is the version of a phase's one router, as it was
   * recorded before a phase could have several.
   */
  readonly routes: Readonly<Record<string, string | Readonly<Record<string, RecordedRoute>>>>;
  /** P: the head of the losing side after the fence. */
  readonly fencedAt?: Position;
  /** R: the head of the winning side while both are fenced; the reverse lane starts there. */
  readonly reverseFrom?: Position;
  /** Names of the slots made for the way back, by phase. */
  readonly reverseSlots: Readonly<Record<string, string>>;
  /** What was known of the routers when clients had been let go on, or when they were asked again. */
  readonly proof?: readonly RouteProof[];
}

/** A switch's intent. */
export interface SwitchRecord {
  readonly id: string;
  readonly direction: Direction;
  readonly phases: readonly string[];
  readonly epoch: bigint;
  readonly document: SwitchDocument;
  readonly at: string;
}

/** How a switch ended, for ever. */
export type Outcome = 'committed' | 'aborted';

/** Records the intent of a switch, or what became known since. The caller has asserted the lease. */
export const writeSwitch = async (sql: SqlExecutor, record: Omit<SwitchRecord, 'at'>): Promise<void> => {
  const doc = JSON.stringify(record.document);
  await execute(
    sql,
    build
      .insertInto('switch')
      .values({
        id: record.id,
        direction: record.direction,
        phases: record.phases.join(','),
        epoch: String(record.epoch),
        doc,
      })
      .onConflict((conflict) => conflict.column('id').doUpdateSet({ doc })),
  );
};

/** Reads a switch, or null. */
export const readSwitch = async (sql: SqlExecutor, id: string): Promise<SwitchRecord | null> => {
  const [row] = await fetch(sql, build.selectFrom('switch').selectAll().where('id', '=', id));
  return row ? recordOf(row) : null;
};

const recordOf = (row: Selectable<SidecarTables['switch']>): SwitchRecord => ({
  id: row.id,
  direction: row.direction === 'reverse' ? 'reverse' : 'forward',
  phases: row.phases.split(','),
  epoch: BigInt(row.epoch),
  document: JSON.parse(row.doc) as SwitchDocument,
  at: row.at,
});

const withOutcomes = () =>
  build
    .selectFrom('switch')
    .leftJoin('outcome', 'outcome.switch_id', 'switch.id')
    .selectAll('switch')
    .select('outcome.outcome');

/** A switch with its outcome, null while it is in doubt. */
export type EndedSwitch = SwitchRecord & { readonly outcome: Outcome | null };

/** What is known of a phase's routers since its newest switch that has committed; the switches come oldest first. */
export const lastProof = (switches: readonly EndedSwitch[], phase: string): readonly RouteProof[] =>
  switches
    .findLast(({ outcome, phases }) => outcome === 'committed' && phases.includes(phase))
    ?.document.proof?.filter((one) => one.phase === phase) ?? [];

/** A phase of which nothing is known among so many was switched long ago, and has been asked for since. */
export const SWITCHES_ASKED_OF = 1_000;

/** The newest switches with their outcomes (null while in doubt), oldest first, at most `limit`. */
export const readSwitches = async (sql: SqlExecutor, limit: number): Promise<readonly EndedSwitch[]> => {
  const rows = await fetch(sql, withOutcomes().orderBy('switch.at', 'desc').limit(limit));
  return rows.map((row) => ({ ...recordOf(row), outcome: outcomeOf(row.outcome) })).reverse();
};

const outcomeOf = (text: string | null): Outcome | null => {
  if (text === null) return null;
  return text === 'committed' ? 'committed' : 'aborted';
};

/** Phases that have been cut over at some time, whether or not they have failed back since. */
export const readMovedPhases = async (sql: SqlExecutor): Promise<readonly string[]> => {
  const rows = await fetch(sql, withOutcomes());
  return rows.filter(({ outcome }) => outcomeOf(outcome) === 'committed').flatMap(({ phases }) => phases.split(','));
};

/** The recorded outcome of a switch, or null while it is in doubt. */
export const readOutcome = async (sql: SqlExecutor, switchId: string): Promise<Outcome | null> => {
  const [row] = await fetch(sql, build.selectFrom('outcome').select('outcome').where('switch_id', '=', switchId));
  return outcomeOf(row?.outcome ?? null);
};

/**
 * Records how a switch ended unless that is recorded already, and returns what is recorded now: exactly one of committed
 * and aborted, ever (S11). The caller's transaction has asserted the lease.
 */
export const decideOutcome = async (
  sql: SqlExecutor,
  decision: { readonly switchId: string; readonly epoch: bigint; readonly outcome: Outcome },
): Promise<Outcome> => {
  await execute(
    sql,
    build
      .insertInto('outcome')
      .values({ switch_id: decision.switchId, outcome: decision.outcome, epoch: String(decision.epoch) })
      .onConflict((conflict) => conflict.doNothing()),
  );
  return (await readOutcome(sql, decision.switchId)) ?? decision.outcome;
};
