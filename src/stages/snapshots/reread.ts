import type { KeyText } from '../../databases/digests.ts';
import { SwitchbackError } from '../../domain/errors.ts';
import { SLOT_LOST } from '../../domain/finding.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { failpoint } from '../../platform/failpoint.ts';
import {
  laneName,
  laneStore,
  readLanes,
  readProgress,
  type StoredLane,
  writeHalt,
  writeLane,
} from '../../sidecar/lanes.ts';
import { repairAndCertify } from '../certify.ts';
import type { Executor } from '../execute.ts';
import { guardOn } from '../guard.ts';
import type { LaneRunner } from '../lane-runner.ts';
import type { Phase } from '../machine.ts';
import { publicationName, slotName } from '../names.ts';
import { verifyTables } from '../verify.ts';

/** Keys that are held at a time, of one table: what is over it is found by the next pass. */
const KEYS_AT_ONCE = 100_000;

/** What a phase had to read again. */
export interface Reread {
  readonly phase: string;
  readonly rows: number;
}

/**
 * Makes phases' tables on a restored source what they are on the target, where no slot can bring what is missing. The target is
 * the primary and holds every acknowledged write, so nothing is lost by it (S2). A phase whose lane goes on is left alone.
 *
 * A new slot first, then every row that differs is read again while the lane stands still, then the lane follows from the slot's
 * start, idempotently up to the newest of those reads: as a copy does (DESIGN 4), but of what differs. The lane's halt stays
 * recorded until then, so whoever comes after a crash begins it anew. What is equal is proven afterwards, with the lane
 * following, and once more by the switch. Throws kind `refused` when a table that differs has no key.
 */
export const rereadLanes = async (worker: Executor, phases: readonly Phase[]): Promise<readonly Reread[]> => {
  const lanes = await worker.tenure.act(readLanes);
  const done: Reread[] = [];
  for (const phase of phases) {
    const lane = lanes.find(({ name }) => name === laneName(phase.name, 'reverse'));
    await publishBothWays(worker, phase);
    if (phase.state.name !== 'soaking' || lane?.halt?.finding.id !== SLOT_LOST) continue;
    done.push({ phase: phase.name, rows: await worker.exclusively([phase], () => reread(worker, phase, lane)) });
  }
  return done;
};

/** A snapshot that was made before the phase was prepared has no publication, nor has a target on which the soak was ended. */
const publishBothWays = async ({ context, tenure }: Executor, phase: Phase): Promise<void> => {
  const { tables, roots } = phase.scope;
  const publication = publicationName(context, phase.name);
  for (const [direction, from] of [
    ['forward', 'source'],
    ['reverse', 'target'],
  ] as const) {
    await context.engine.publish({ direction, tables, roots, publication, guard: guardOn(tenure, from, [phase.name]) });
  }
};

const reread = async (worker: Executor, phase: Phase, lane: StoredLane): Promise<number> => {
  const { context, tenure, signal } = worker;
  const runner = await openAnew(worker, phase, lane);
  failpoint('acted reread/slot');
  let rows = 0;
  for (const table of phase.scope.tables) rows += await rereadTable(worker, { phase: phase.name, runner, table });
  failpoint('acted reread/rows');
  await tenure.act((sql) => writeHalt(sql, lane.name, null));
  runner.start();
  const { repaired } = await repairAndCertify(context, { tenure, phase, signal });
  return rows + repaired;
};

interface RereadTable {
  readonly phase: string;
  readonly runner: LaneRunner;
  readonly table: Table;
}

const rereadTable = async (worker: Executor, { phase, runner, table }: RereadTable): Promise<number> => {
  const { context, signal } = worker;
  let rows = 0;
  for (let isWhole = false; !isWhole; ) {
    const { keys, isStopped } = await differing(worker, table);
    const read = keys.length === 0 ? 0 : await runner.reread([{ table, keys }], signal);
    if (read === 0 && isStopped) throw stuck(phase);
    const text = `${read} rows of ${displayName(table)} that differed were read again from the target`;
    if (read > 0) context.emit({ type: 'note', phase, text });
    rows += read;
    isWhole = !isStopped;
  }
  return rows;
};

const stuck = (phase: string): SwitchbackError =>
  new SwitchbackError('internal', `phase ${phase}: rows differ on the restored source and cannot be told`);

/** The slot's name is recorded before it is made, with the halt that it is to end. One of an attempt before goes. */
const openAnew = async (worker: Executor, phase: Phase, lane: StoredLane): Promise<LaneRunner> => {
  const { context, tenure, signal } = worker;
  const guard = guardOn(tenure, 'target', [phase.name]);
  const guardWritten = guardOn(tenure, 'source', [phase.name]);
  await context.engine.retire({ direction: 'reverse', slot: lane.slot, publication: null, guard, guardWritten });
  const slot = slotName(context, phase.name, { direction: 'reverse', generation: `reread_${tenure.epoch}` });
  await tenure.act((sql) => writeLane(sql, { ...lane, slot }));
  await phase.runner?.close();
  const runner = worker.switchTools(signal).runnerFor(phase.scope, 'reverse', slot);
  phase.runner = runner;
  await runner.open({ kind: 'create' });
  // The copy of this lane has ended: what is read from here on is read as a repair, which moves it further.
  const strictFrom = await context.target.database.head();
  const progress = (await readProgress(context.source.sql)).get(lane.name);
  if (!progress) throw new SwitchbackError('internal', `lane ${lane.name} has no progress although it was opened`);
  const store = laneStore(lane.name, () => tenure.epoch);
  await context.source.sql.transaction((sql) => store.begin(sql, { ...progress, strictFrom }));
  return runner;
};

interface Pass {
  readonly keys: readonly KeyText[];
  /** The table has more rows that differ than were told. */
  readonly isStopped: boolean;
}

/** The lane stands still: rows that change meanwhile may be read again for nothing, and none that differs now is missed. */
const differing = async ({ context, signal }: Executor, table: Table): Promise<Pass> => {
  const { tables } = await verifyTables({
    tables: [table],
    from: context.target.digests,
    to: context.source.digests,
    isApart: true,
    appliedPast: async () => undefined,
    divergentAtMost: KEYS_AT_ONCE,
    signal,
  });
  const keys = tables.flatMap(({ divergent, unsettled }) => [...divergent, ...unsettled]);
  return { keys, isStopped: tables.some(({ stopped }) => stopped) };
};
