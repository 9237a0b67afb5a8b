import type { PhaseState } from '../domain/phase.ts';
import type { SqlExecutor, TextRow } from '../domain/sql.ts';
import type { LaneProgress } from '../engines/engine.ts';
import { readProgress } from './lanes.ts';
import { type Lease, readLease } from './lease.ts';
import { type Ownership, readOwnership } from './ownership.ts';
import type { RunFacts } from './run.ts';
import { isPhaseState, isWhole, parsedOrNull, readShape, type SidecarShape } from './shape.ts';
import type { Outcome, SwitchDocument } from './switches.ts';

/** A run row, as far as it can be read. */
export interface SalvagedRun {
  readonly id: string;
  readonly planHash: string;
  /** Null when they are no JSON. */
  readonly facts: RunFacts | null;
}

/** A switch, as far as it can be read. */
export interface SalvagedSwitch {
  readonly id: string;
  readonly direction: 'forward' | 'reverse';
  readonly phases: readonly string[];
  readonly epoch: bigint;
  readonly document: SwitchDocument | null;
  /** Null when none is recorded, or when the records of outcomes are gone. */
  readonly outcome: Outcome | null;
}

/** All that can still be read of one side's sidecar. What is empty here may never have been, or may be gone. */
export interface Salvage {
  readonly shape: SidecarShape;
  readonly run: SalvagedRun | null;
  readonly lease: Lease | null;
  readonly ownership: readonly Ownership[];
  /** States of phases whose row can be read. */
  readonly phases: ReadonlyMap<string, PhaseState>;
  /** Oldest first. */
  readonly switches: readonly SalvagedSwitch[];
  /** Slot names by lane name. */
  readonly slots: ReadonlyMap<string, string>;
  readonly progress: ReadonlyMap<string, LaneProgress>;
  /** Lanes of which chunks are journaled. */
  readonly chunked: ReadonlySet<string>;
  /** The mirrored status, or null; what a rebuild that did not end has put aside goes first. */
  readonly mirror: unknown;
  /** The newest epoch that any row knows, zero when none does. */
  readonly epoch: bigint;
}

/** Tables with an epoch. */
const EPOCHS = ['lease', 'ownership', 'progress', 'journal', 'switch', 'outcome'] as const;

/** Reads what can be read of a side's sidecar. Changes nothing and never throws for damage. */
export const salvage = async (sql: SqlExecutor): Promise<Salvage> => {
  const shape = await readShape(sql);
  const rows = async (table: string, text: string): Promise<readonly TextRow[]> =>
    isWhole(shape, table) ? (await sql.query(text)).rows : [];
  const [run] = await rows('run', 'SELECT id, plan_hash, facts FROM switchback.run');
  const phases = await rows('phase', 'SELECT name, doc FROM switchback.phase');
  const lanes = await rows('lane', 'SELECT name, slot FROM switchback.lane');
  const chunked = await rows('chunk', 'SELECT DISTINCT lane FROM switchback.chunk');
  const [mirror] = await rows(
    'mirror',
    `SELECT doc FROM switchback.mirror WHERE key IN ('rebuild', 'status') ORDER BY key`,
  );
  return {
    shape,
    run: run
      ? { id: run.id ?? '', planHash: run.plan_hash ?? '', facts: parsedOrNull(run.facts ?? '') as RunFacts | null }
      : null,
    lease: isWhole(shape, 'lease') ? await readLease(sql) : null,
    ownership: isWhole(shape, 'ownership') ? await readOwnership(sql) : [],
    phases: new Map(phases.flatMap((row) => stateOf(row))),
    switches: await readSwitches(sql, shape),
    slots: new Map(lanes.map((row) => [row.name ?? '', row.slot ?? ''])),
    progress: isWhole(shape, 'progress') ? await readProgress(sql) : new Map(),
    chunked: new Set(chunked.map((row) => row.lane ?? '')),
    mirror: mirror ? parsedOrNull(mirror.doc ?? '') : null,
    epoch: await newestEpoch(sql, shape),
  };
};

const stateOf = ({ name, doc }: TextRow): readonly (readonly [string, PhaseState])[] => {
  const parsed = parsedOrNull(doc ?? '');
  return isPhaseState(parsed) ? [[name ?? '', parsed as PhaseState]] : [];
};

const readSwitches = async (sql: SqlExecutor, shape: SidecarShape): Promise<readonly SalvagedSwitch[]> => {
  if (!isWhole(shape, 'switch')) return [];
  const outcomes = new Map<string, Outcome>();
  if (isWhole(shape, 'outcome')) {
    const { rows } = await sql.query('SELECT switch_id, outcome FROM switchback.outcome');
    for (const row of rows) outcomes.set(row.switch_id ?? '', row.outcome === 'committed' ? 'committed' : 'aborted');
  }
  const { rows } = await sql.query('SELECT id, direction, phases, epoch, doc FROM switchback.switch ORDER BY epoch');
  return rows.map((row) => ({
    id: row.id ?? '',
    direction: row.direction === 'reverse' ? 'reverse' : 'forward',
    phases: (row.phases ?? '').split(','),
    epoch: BigInt(row.epoch ?? '0'),
    document: parsedOrNull(row.doc ?? '') as SwitchDocument | null,
    outcome: outcomes.get(row.id ?? '') ?? null,
  }));
};

const newestEpoch = async (sql: SqlExecutor, shape: SidecarShape): Promise<bigint> => {
  const parts = EPOCHS.filter((table) => isWhole(shape, table)).map(
    (table) => `SELECT max(epoch) AS epoch FROM switchback.${table}`,
  );
  if (parts.length === 0) return 0n;
  const { rows } = await sql.query(`SELECT coalesce(max(epoch), 0) AS epoch FROM (${parts.join(' UNION ALL ')}) e`);
  return BigInt(rows[0]?.epoch ?? '0');
};
