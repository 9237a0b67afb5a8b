import { randomBytes } from 'node:crypto';
import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Manifest } from '../../domain/snapshot.ts';
import { drillPlace } from '../../domain/snapshot-id.ts';
import type { SqlSide } from '../../domain/sql.ts';
import { displayName } from '../../domain/table.ts';
import { monotonicMs } from '../../platform/clock.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { redactAll, redactText } from '../../platform/redact.ts';
import { sidecarExists } from '../../sidecar/install.ts';
import { type DrillOutcome, type DrillRecord, readSnapshots, writeDrill } from '../../sidecar/snapshots.ts';
import type { RestoredPlace, Snapshot, SnapshotStore, WaitOptions } from '../../snapshots/store.ts';
import type { OpenPlace, RunContext } from '../context.ts';
import { alone } from './alone.ts';
import { assertBeside } from './beside.ts';
import { pickSnapshot } from './pick.ts';
import { runProbes } from './probes.ts';
import { readRecords, recordWherePossible, storeOf } from './records.ts';
import { digestTables } from './table-digests.ts';

/** A drill that is asked for. */
export interface DrillOptions extends WaitOptions {
  /** The snapshot, or null: the newest that can be restored. */
  readonly id: string | null;
  /** Where the scratch place is to be, or null: where the store chooses. */
  readonly at: string | null;
}

/** How a drill ended, and whether a sidecar has taken note of it. */
export interface Drilled {
  readonly drill: DrillRecord;
  readonly isRecorded: boolean;
  readonly differences: RestoredPlace['differences'];
}

/** A scratch place gets this long to go when everything else was broken off. */
const REMOVE_MS = 60_000;
const NO_SIGNAL = new AbortController().signal;

/**
 * Rehearses a restore: restores into a scratch place, measures that, compares the digests of every table with those that were
 * taken when the snapshot was made, runs the plan's probes, and removes the place. What is wrong is the drill's outcome; kinds
 * that are thrown are the store's: that it refuses to restore what it has is an outcome as well. A drill that was broken off is found by the next one, which goes on with its place and removes it.
 */
export const drillSnapshot = async (context: RunContext, options: DrillOptions): Promise<Drilled> => {
  const store = storeOf(context);
  const snapshot = await pickSnapshot(context, options.id);
  const onTaken = () => {
    options.progress({ text: 'another process is at a drill; waiting for it', percent: null });
    return true;
  };
  const turn = { name: `drill of ${context.plan.name}`, signal: options.signal, onTaken };
  const lockSide = await sideThatAnswers(context);
  const work = async (signal: AbortSignal): Promise<Drilled> => {
    const within = { ...options, signal };
    const resumed = await endOthers(context, store, { snapshot, options: within });
    return await rehearse(context, store, { snapshot, options: within, resumed });
  };
  // With both databases lost there is nobody to keep two drills apart, and every reason for one.
  if (lockSide === null) return await work(options.signal);
  const drilled = await alone(lockSide, turn, work);
  if (drilled === null) throw new SwitchbackError('internal', 'a drill was not waited for');
  return drilled;
};

const sideThatAnswers = async ({ source, target }: RunContext): Promise<SqlSide | null> => {
  for (const { sql } of [source, target]) {
    const answers = await sql.query('SELECT 1').then(
      () => true,
      () => false,
    );
    if (answers) return sql;
  }
  return null;
};

interface Rehearsal {
  readonly snapshot: Snapshot;
  readonly options: DrillOptions;
  /** The record of a drill of the same snapshot that was broken off, or null. */
  readonly resumed: DrillRecord | null;
}

/** Removes the places of other drills that were broken off; returns the one of this snapshot at this place. */
const endOthers = async (
  context: RunContext,
  store: SnapshotStore,
  { snapshot, options }: Omit<Rehearsal, 'resumed'>,
): Promise<DrillRecord | null> => {
  const { drills } = await readRecords(context);
  const running = drills.filter(({ state }) => state === 'running');
  const place = asTold(options.at);
  const isThis = (drill: DrillRecord) => drill.snapshot === snapshot.id && drill.place === place;
  for (const drill of running.filter((one) => !isThis(one))) {
    const text = `removing ${drillPlace(drill.snapshot)}, which an earlier drill may have left`;
    options.progress({ text, percent: null });
    const problems = ['it was broken off', ...(await removeLeft(store, drill, options))];
    const outcome = { ...UNSEEN, problems };
    await recordWherePossible(context, (sql) => writeDrill(sql, { ...drill, state: 'failed', outcome }));
  }
  return running.find(isThis) ?? null;
};

/** A place as it is recorded and told. */
const asTold = (at: string | null): string | null => (at === null ? null : redactText(at));

/** Nothing of the place was looked at. */
const UNSEEN = { tables: 0, compared: 0, probes: 0 } as const;

/** Removes what there is of a drill's scratch place, where that drill had it. What cannot be removed hinders no other drill: it is returned as a problem. */
const removeLeft = async (
  store: SnapshotStore,
  { snapshot, place }: DrillRecord,
  options: DrillOptions,
): Promise<readonly string[]> => {
  // This command may know a password that is not recorded.
  const at = place === asTold(options.at) ? options.at : place;
  try {
    await store.removePlace(snapshot, scratch(snapshot, at), options);
    return [];
  } catch (error) {
    if (!(error instanceof SwitchbackError) || options.signal.aborted) throw error;
    const where = place === null ? drillPlace(snapshot) : `${drillPlace(snapshot)} at ${place}`;
    return [redactText(`${where} may be left: ${error.message}`)];
  }
};

const scratch = (id: string, at: string | null) => ({ name: drillPlace(id), purpose: 'drill', at }) as const;

const rehearse = async (context: RunContext, store: SnapshotStore, rehearsal: Rehearsal): Promise<Drilled> => {
  const { snapshot, options, resumed } = rehearsal;
  const drill: DrillRecord = resumed ?? {
    id: `${snapshot.id}-${randomBytes(2).toString('hex')}`,
    snapshot: snapshot.id,
    by: context.by,
    place: asTold(options.at),
    state: 'running',
    restoreMs: null,
    outcome: null,
  };
  await recordWherePossible(context, (sql) => writeDrill(sql, drill));
  failpoint('drill:intended');
  const begun = monotonicMs();
  let place: RestoredPlace;
  try {
    place = await store.restore(snapshot.id, scratch(snapshot.id, options.at), options);
  } catch (error) {
    if (!isKind(error, 'refused')) throw error;
    return await endRefused(context, store, { drill, options, why: error.message });
  }
  // What an earlier process had done of it would not be in the time.
  const restoreMs = resumed === null ? monotonicMs() - begun : null;
  failpoint('drill:restored');
  let outcome: DrillOutcome;
  try {
    outcome = redactAll(await inspect(context, { place, manifest: snapshot.manifest, options }));
  } catch (error) {
    await place.remove({ ...options, signal: AbortSignal.timeout(REMOVE_MS) });
    throw error;
  }
  failpoint('drill:inspected');
  await place.remove({ ...options, signal: NO_SIGNAL });
  failpoint('drill:removed');
  const ended = { ...drill, restoreMs, outcome, state: outcome.problems.length === 0 ? 'passed' : 'failed' } as const;
  const isRecorded = await recordWherePossible(context, (sql) => writeDrill(sql, ended));
  return { drill: ended, isRecorded, differences: place.differences };
};

/** A snapshot that cannot be restored is what a drill is there to find. */
const endRefused = async (
  context: RunContext,
  store: SnapshotStore,
  about: { readonly drill: DrillRecord; readonly options: DrillOptions; readonly why: string },
): Promise<Drilled> => {
  const { drill, options, why } = about;
  const left = await removeLeft(store, drill, options);
  const outcome = { ...UNSEEN, problems: [redactText(`it cannot be restored: ${why}`), ...left] };
  const ended = { ...drill, restoreMs: null, outcome, state: 'failed' } as const;
  const isRecorded = await recordWherePossible(context, (sql) => writeDrill(sql, ended));
  return { drill: ended, isRecorded, differences: [] };
};

/** What can be seen of a restored place. */
interface Inspection {
  readonly place: RestoredPlace;
  readonly manifest: Manifest | null;
  readonly options: DrillOptions;
}

const inspect = async (context: RunContext, { place, manifest, options }: Inspection): Promise<DrillOutcome> => {
  const open = context.openPlace(place.url);
  try {
    await assertBeside(context, open);
    const { tables } = await open.database.inventory();
    const there = new Map(tables.map((table) => [displayName(table), table]));
    const wanted = Object.values(manifest?.phases ?? {}).flat();
    const missing = wanted.filter((name) => !there.has(name)).map((name) => `${name} is not there`);
    const compared = wanted.flatMap((name) => (manifest?.digests?.[name] === undefined ? [] : (there.get(name) ?? [])));
    const onTable = (done: number, of: number) =>
      options.progress({ text: `compared ${done} of ${of} tables`, percent: Math.floor((100 * done) / of) });
    const digests = await digestTables(open.digests, compared, { exported: null, signal: options.signal, onTable });
    const differing = Object.entries(digests).flatMap(([name, { rows, sum }]) => {
      const told = manifest?.digests?.[name];
      if (told === undefined || (told.rows === rows && told.sum === sum)) return [];
      return [`${name} has ${rows} rows, which are not the ${told.rows} that the snapshot was made of`];
    });
    const probes = context.plan.snapshots?.probes ?? [];
    const problems = [
      ...missing,
      ...differing,
      ...(await markProblems(open, manifest)),
      ...(await runProbes(open.sql, probes)),
    ];
    return { tables: wanted.length, compared: compared.length, probes: probes.length, problems };
  } finally {
    await open.close();
  }
};

/**
 * A store that cannot see the state which its snapshot holds has no digests of it. The row that was committed on the source right
 * before this snapshot was begun is in it all the same, if it is what it says.
 */
const markProblems = async ({ sql }: OpenPlace, manifest: Manifest | null): Promise<readonly string[]> => {
  if (manifest === null || manifest.digests !== null || manifest.run === '') return [];
  try {
    const known = (await sidecarExists(sql)) ? await readSnapshots(sql) : [];
    if (known.some(({ id }) => id === manifest.id)) return [];
    return ['the record that was written before it was made is not in it: it is of an earlier state'];
  } catch (error) {
    return [`the record that was written before it was made cannot be read: ${messageOf(error)}`];
  }
};
