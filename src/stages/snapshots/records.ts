import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { sidecarExists } from '../../sidecar/install.ts';
import { type RunRow, readRun } from '../../sidecar/run.ts';
import { readDrills, readSnapshots, type StoredDrill, type StoredSnapshot } from '../../sidecar/snapshots.ts';
import type { SnapshotStore } from '../../snapshots/store.ts';
import { portsOf, type RunContext } from '../context.ts';
import { assertSide } from '../open.ts';

/** What the sidecars know of snapshots and drills, newest first. */
export interface SnapshotRecords {
  /** Which side answered, or null: no run has been begun, or neither answers. */
  readonly from: Side | null;
  readonly run: RunRow | null;
  readonly snapshots: readonly StoredSnapshot[];
  readonly drills: readonly StoredDrill[];
  /** Why they are not the source's own, or nobody can tell whether there is a run; else null. */
  readonly trouble: string | null;
}

/** The plan's store. Throws kind `usage` for a plan without. */
export const storeOf = ({ snapshots, plan }: RunContext): SnapshotStore => {
  if (snapshots !== null) return snapshots;
  throw new SwitchbackError('usage', `the plan ${plan.path} makes no snapshots`, {
    remedy: 'add `snapshots` to it, as docs/snapshots.md says',
  });
};

/**
 * The run that a side belongs to, or null before one is begun. It need not answer on the other side. Throws kind `refused` for a
 * database of another run, as every other command does.
 */
export const runOf = async (context: RunContext, side: Side): Promise<RunRow | null> => {
  const ports = portsOf(context, side);
  if (!(await sidecarExists(ports.sql))) return null;
  const row = await readRun(ports.sql);
  if (row) assertSide(side, row, (await ports.sessions.describe()).identity);
  return row;
};

const NOTHING: SnapshotRecords = { from: null, run: null, snapshots: [], drills: [], trouble: null };

const readSide = async (context: RunContext, side: Side): Promise<SnapshotRecords | null> => {
  const run = await runOf(context, side);
  if (run === null) return null;
  const { sql } = portsOf(context, side);
  const [snapshots, drills] = await Promise.all([readSnapshots(sql), readDrills(sql)]);
  return { from: side, run, snapshots, drills, trouble: null };
};

/**
 * What is known of snapshots besides the store: by the source, or by the target's copy where that does not answer, or has none: it may
 * have been restored by hand from before the run, so that only both sides can say that there is no run. Never throws.
 */
export const readRecords = async (context: RunContext): Promise<SnapshotRecords> => {
  let trouble: string | null = null;
  try {
    const own = await readSide(context, 'source');
    if (own !== null) return own;
  } catch (error) {
    trouble = messageOf(error);
  }
  try {
    const copy = await readSide(context, 'target');
    if (copy === null) return { ...NOTHING, trouble };
    return { ...copy, trouble: trouble ?? `the source has no record of run ${copy.run?.id}, of which the target is` };
  } catch (error) {
    return { ...NOTHING, trouble: trouble ?? `the source has no run, and the target cannot say: ${messageOf(error)}` };
  }
};

/** Writes to a side's sidecar, if it is this run's. Returns whether there is one. Kinds as {@link runOf}. */
const writeTo = async (
  context: RunContext,
  side: Side,
  write: (sql: SqlExecutor) => Promise<void>,
): Promise<boolean> => {
  if ((await runOf(context, side)) === null) return false;
  return await portsOf(context, side).sql.transaction(async (sql) => {
    // The run may have been ended meanwhile, and its sidecar with it.
    if (!(await sidecarExists(sql))) return false;
    await write(sql);
    return true;
  });
};

/**
 * Records on the source, and copies it to the target, which stands in for it when it is lost; that copy may fail, and is told
 * then. Returns whether it was recorded: before a run is begun there is no sidecar, and nothing is recorded anywhere.
 */
export const record = async (context: RunContext, write: (sql: SqlExecutor) => Promise<void>): Promise<boolean> => {
  const isRecorded = await writeTo(context, 'source', write);
  if (isRecorded) await copyRecord(context, write);
  return isRecorded;
};

const copyRecord = async (context: RunContext, write: (sql: SqlExecutor) => Promise<void>): Promise<void> => {
  try {
    await writeTo(context, 'target', write);
  } catch (error) {
    const text = `the target has no copy of the snapshots' records: ${messageOf(error)}`;
    context.emit({ type: 'note', phase: null, text });
  }
};

/** As {@link record}, on the target alone where the source does not answer. Never throws. */
export const recordWherePossible = async (
  context: RunContext,
  write: (sql: SqlExecutor) => Promise<void>,
): Promise<boolean> => {
  try {
    return await record(context, write);
  } catch (error) {
    context.emit({ type: 'note', phase: null, text: `not recorded on the source: ${messageOf(error)}` });
    return await writeTo(context, 'target', write).catch(() => false);
  }
};
