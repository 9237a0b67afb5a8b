import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Position } from '../../domain/position.ts';
import type { Manifest } from '../../domain/snapshot.ts';
import { restoredName } from '../../domain/snapshot-id.ts';
import { displayName } from '../../domain/table.ts';
import type { Replayed } from '../../engines/archive.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { laneName, laneStore } from '../../sidecar/lanes.ts';
import { readRun } from '../../sidecar/run.ts';
import { salvage } from '../../sidecar/salvage.ts';
import { isWhole, readShape } from '../../sidecar/shape.ts';
import type { WaitOptions } from '../../snapshots/store.ts';
import type { OpenPlace, RunContext } from '../context.ts';
import { scopeOf } from '../scope.ts';
import { baseOf } from './archived.ts';
import { assertBeside } from './beside.ts';
import { findLoss, type TableLoss } from './loss.ts';
import { runProbes } from './probes.ts';
import { storeOf } from './records.ts';
import { digestTables } from './table-digests.ts';
import { takeIn } from './take-in.ts';

/** What is restored, and where to. */
export interface RestoreOptions extends WaitOptions {
  readonly manifest: Manifest;
  /** Connection URL of the database that is to be made, or null: where the store chooses. */
  readonly into: string | null;
  /** Whether the archive is replayed onto it, and on the target up to where; null: all there is. */
  readonly replay: { readonly until: Position | null } | null;
}

/** A restored place that refuses the application's writes until `failback --from-snapshot` leads there. */
export interface RestoredSnapshot {
  readonly snapshot: string;
  /** With secrets as the plan has them. */
  readonly url: string;
  /** By phase, of those that have an archive; empty without a replay. */
  readonly replayed: Readonly<Record<string, Replayed>>;
  readonly differences: readonly Finding[];
  /** Probes that were not answered with true. */
  readonly problems: readonly string[];
  /** What it lacks of what the target has, row by row; null where that cannot be compared. */
  readonly losses: readonly TableLoss[] | null;
}

/**
 * Restores a snapshot beside the source, fences the place before anybody is told of it, compares it with the digests that were
 * taken with the snapshot, and replays the archive onto it if asked. Changes nothing on the plan's two databases. Each part may be
 * repeated, so that the same command goes on after a crash. Throws kind `refused` before anything is touched for a snapshot that
 * cannot be proven and for an archive that does not cover it, and when what was restored is not what the snapshot was made of.
 */
export const restoreSnapshot = async (context: RunContext, options: RestoreOptions): Promise<RestoredSnapshot> => {
  const { manifest, into, replay } = options;
  if (replay?.until) assertPosition(context, replay.until);
  const archived = replay === null ? [] : await assertCovered(context, manifest);
  const destination = { name: restoredName(manifest.id), purpose: 'restore', at: into } as const;
  const place = await storeOf(context).restore(manifest.id, destination, options);
  failpoint('restore:restored');
  const open = context.openPlace(place.url);
  try {
    const until = replay?.until ?? null;
    const { plan } = context;
    const { signal } = options;
    await assertBeside(context, open);
    await assertSameReplay(open, options);
    await takeIn(open, { plan, manifest, replay: { isReplayed: false, until }, signal });
    failpoint('restore:fenced');
    await assertAsMade(open, options);
    const replayed = replay === null ? {} : await replayInto(context, { open, url: place.url, archived, options });
    if (replay !== null) await takeIn(open, { plan, manifest, replay: { isReplayed: true, until }, signal });
    failpoint('restore:replayed');
    const problems = await runProbes(open.sql, plan.snapshots?.probes ?? []);
    const losses = await lossNow(context, open, options);
    return { snapshot: manifest.id, url: place.url, replayed, differences: place.differences, problems, losses };
  } finally {
    await open.close();
  }
};

/** Before anything is done with it: only the engine can read one. Throws kind `usage`. */
export const assertPosition = ({ traces }: RunContext, position: Position): void => {
  try {
    traces.covers(position, position);
  } catch (error) {
    throw new SwitchbackError('usage', `--until ${position} is no position of the target's log`, {
      remedy: 'give it as the target tells it by SELECT pg_current_wal_lsn(), such as 16/B374D848',
      cause: error,
    });
  }
};

/**
 * Names the phases that are to be replayed. The archive is proven once more by that; here a hole is told before the hours that a
 * restore may take. A phase may have nothing there, because it is only planned or has been given up: the rows of the others are not
 * lost for that.
 */
const assertCovered = async (context: RunContext, manifest: Manifest): Promise<readonly string[]> => {
  const { archive, engine, plan } = context;
  if (archive === undefined || engine.archives === undefined) {
    throw new SwitchbackError('usage', `the plan ${plan.path} archives no changes, so there is nothing to replay`, {
      remedy: 'leave --replay out; or name the archive that the run was begun with: soak.archive',
    });
  }
  const empty: (readonly [string, string])[] = [];
  const archived: string[] = [];
  for (const { name: phase } of plan.phases) {
    const place = { objects: archive, run: manifest.run, phase };
    const { missing, end } = await engine.archives.since(place, baseOf(manifest, phase));
    if (missing === null) archived.push(phase);
    else if (end === null) empty.push([phase, missing]);
    else throw uncovered(context, { phase, missing, id: manifest.id });
  }
  const [first] = empty;
  if (first !== undefined && archived.length === 0) {
    const [phase, missing] = first;
    throw uncovered(context, { phase, missing, id: manifest.id });
  }
  for (const [phase] of empty) {
    const text = `the archive of phase ${phase} is empty: its tables are restored as the snapshot has them, without a replay`;
    context.emit({ type: 'note', phase, text });
  }
  return archived;
};

const uncovered = (
  { plan }: RunContext,
  { phase, missing, id }: { readonly phase: string; readonly missing: string; readonly id: string },
): SwitchbackError =>
  new SwitchbackError('refused', `the archive of phase ${phase} does not cover snapshot ${id}: ${missing}`, {
    remedy: `restore a newer snapshot (switchback snapshot list ${plan.path}), or this one without --replay`,
  });

/**
 * What a replay has brought cannot be taken out again, also where it was broken off: the place would hold what was to be left out,
 * and say that it does not.
 */
const assertSameReplay = async (open: OpenPlace, { manifest, replay }: RestoreOptions): Promise<void> => {
  const { sql, sessions } = open;
  const row = isWhole(await readShape(sql), 'run') ? await readRun(sql) : null;
  const before = row?.facts.restored;
  if (row === null || before?.snapshot !== manifest.id || !(await hasReplayed(open, manifest))) return;
  // That it has become somebody's source is told when it is taken in.
  if (row.identity === (await sessions.describe()).identity) return;
  if (replay !== null && replay.until === before.until) return;
  throw new SwitchbackError('refused', `it was restored with a replay up to ${before.until ?? 'the end'} before`, {
    remedy: 'restore into another database: switchback snapshot restore PLAN ID --into URL',
  });
};

/** Nothing has been replayed into it by an earlier call, or it cannot be compared any more. */
const assertAsMade = async (open: OpenPlace, { manifest, signal, progress }: RestoreOptions): Promise<void> => {
  if (manifest.digests === null || (await hasReplayed(open, manifest))) return;
  const { tables } = await open.database.inventory();
  const told = manifest.digests;
  const compared = tables.filter((table) => told[displayName(table)] !== undefined);
  const onTable = (done: number, of: number) =>
    progress({ text: `proved ${done} of ${of} tables`, percent: Math.floor((100 * done) / of) });
  const digests = await digestTables(open.digests, compared, { exported: null, signal, onTable });
  const wrong = Object.entries(told).filter(
    ([name, { rows, sum }]) => digests[name]?.rows !== rows || digests[name]?.sum !== sum,
  );
  if (wrong.length === 0) return;
  const names = wrong.map(([name]) => name).slice(0, 5);
  throw new SwitchbackError(
    'refused',
    `what was restored is not what snapshot ${manifest.id} was made of: ${wrong.length} tables differ (${names.join(', ')})`,
    { remedy: 'the place stays fenced; remove it, and restore another snapshot: switchback snapshot list PLAN' },
  );
};

const hasReplayed = async ({ sql }: OpenPlace, manifest: Manifest): Promise<boolean> => {
  const { progress } = await salvage(sql);
  return [...progress].some(
    ([lane, { position }]) =>
      lane.endsWith('/replay') || (lane.endsWith('/reverse') && manifest.lanes[lane]?.position !== position),
  );
};

interface Replaying {
  readonly open: OpenPlace;
  readonly url: string;
  /** Phases that have an archive. */
  readonly archived: readonly string[];
  readonly options: RestoreOptions;
}

const replayInto = async (
  context: RunContext,
  { open, url, archived, options }: Replaying,
): Promise<Readonly<Record<string, Replayed>>> => {
  const { archive, engine, plan } = context;
  const { manifest, replay, signal } = options;
  if (archive === undefined || engine.archives === undefined) return {};
  const { epoch } = await salvage(open.sql);
  const until = replay?.until ? ({ direction: 'reverse', position: replay.until } as const) : null;
  const scope = scopeOf(plan, await open.database.inventory());
  const replayed: Record<string, Replayed> = {};
  for (const { name: phase, tables } of scope.phases.values()) {
    if (!archived.includes(phase)) continue;
    const progress = ({ done, of }: { readonly done: number; readonly of: number }) =>
      options.progress({ text: `replayed ${done} of ${of} segments of phase ${phase}`, percent: null });
    const stores = {
      forward: laneStore(`${phase}/replay`, () => epoch),
      reverse: laneStore(laneName(phase, 'reverse'), () => epoch),
    };
    const into = { url, label: 'restored place', tables, stores, source: manifest.position, until };
    const place = { objects: archive, run: manifest.run, phase };
    replayed[phase] = await engine.archives.replay(place, into, { signal, progress });
  }
  return replayed;
};

/** By what the target has now; nothing depends on it, so that a target that is gone as well is told and hinders nothing. */
const lossNow = async (
  context: RunContext,
  open: OpenPlace,
  { signal }: RestoreOptions,
): Promise<readonly TableLoss[] | null> => {
  try {
    const scope = scopeOf(context.plan, await open.database.inventory());
    const tables = [...scope.phases.values()].flatMap((phase) => phase.tables);
    return await findLoss({ tables, primary: context.target.digests, restored: open.digests, signal });
  } catch (error) {
    signal.throwIfAborted();
    const text = `what it lacks of the target's rows cannot be told: ${messageOf(error)}`;
    context.emit({ type: 'note', phase: null, text });
    return null;
  }
};
