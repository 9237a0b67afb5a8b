import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { sidecarExists } from '../../sidecar/install.ts';
import { readPhases } from '../../sidecar/phases.ts';
import { writeSnapshot } from '../../sidecar/snapshots.ts';
import type { Snapshot, WaitOptions } from '../../snapshots/store.ts';
import type { RunContext } from '../context.ts';
import { judge, type KeepVerdict } from './keep.ts';
import { isOurs, listOwned, type Owner, restorable, takenAt } from './ours.ts';
import { type UnneededArchive, unneededArchive } from './prune-archive.ts';
import { readRecords, recordWherePossible, type SnapshotRecords, storeOf } from './records.ts';

/** What a prune would do, in the order of the store: the newest first. */
export interface PrunePlan {
  readonly verdicts: readonly (KeepVerdict & { readonly snapshot: Snapshot })[];
  /** What no snapshot that stays needs of the soak's archive. */
  readonly archive: readonly UnneededArchive[];
}

/** Which snapshots would go, and why the others stay. Changes nothing. */
export const planPrune = async (context: RunContext): Promise<PrunePlan> => {
  const { snapshots, owner } = await listOwned(context);
  const records = await readRecords(context);
  const referred = await readReferences(context, { records, snapshots, owner });
  const candidates = snapshots.map((snapshot) => ({
    id: snapshot.id,
    state: snapshot.state,
    at: takenAt(snapshot),
    // By the plan's name alone those of another database would go.
    isOurs: owner.isKnown && isOurs(owner, snapshot),
  }));
  const rules = context.plan.snapshots?.keep ?? { last: 1, daily: 0, weekly: 0 };
  const judged = judge(candidates, rules, referred);
  const verdicts = judged.map((verdict, at) => ({ ...verdict, snapshot: snapshots[at] as Snapshot }));
  const kept = restorable(
    owner,
    verdicts.filter(({ keeps }) => keeps).map(({ snapshot }) => snapshot),
  );
  return { verdicts, archive: await unneededArchive(context, records.run?.id ?? null, kept) };
};

/** What a prune has removed. */
export interface Pruned {
  readonly snapshots: readonly string[];
  /** What could not be removed, and why; the next prune tries it again. */
  readonly left: readonly { readonly id: string; readonly why: string }[];
  /** Objects of archives, by phase. */
  readonly archive: Readonly<Record<string, number>>;
}

/**
 * Removes what {@link planPrune} names at this moment, one after the other; what is gone already is no error. What an earlier
 * process has begun to remove is among them. Of an archive the oldest goes first, so that what is left is one chain.
 */
export const prune = async (context: RunContext, options: WaitOptions): Promise<Pruned> => {
  const { verdicts, archive } = await planPrune(context);
  const done = await removeSnapshots(context, verdicts, options);
  for (const { phase, objects } of archive) {
    options.progress({ text: `removing ${objects.length} objects of the archive of phase ${phase}`, percent: null });
    for (const { key } of objects) {
      options.signal.throwIfAborted();
      await context.archive?.remove(key);
    }
  }
  return { ...done, archive: Object.fromEntries(archive.map(({ phase, objects }) => [phase, objects.length])) };
};

const removeSnapshots = async (
  context: RunContext,
  verdicts: PrunePlan['verdicts'],
  options: WaitOptions,
): Promise<Omit<Pruned, 'archive'>> => {
  const store = storeOf(context);
  const removed: string[] = [];
  const left: { readonly id: string; readonly why: string }[] = [];
  for (const { id, keeps, snapshot } of verdicts) {
    if (keeps) continue;
    options.signal.throwIfAborted();
    options.progress({ text: `removing ${id}`, percent: null });
    try {
      await store.remove(id, options);
    } catch (error) {
      // One that cannot go, as a copy of it is on its way, is no reason for the older ones to stay.
      if (!isKind(error, 'refused')) throw error;
      left.push({ id, why: messageOf(error) });
      continue;
    }
    failpoint('prune:removed');
    const { by = '', reason = '' } = snapshot.manifest ?? {};
    const gone = { id, by, reason, state: 'removed', detail: null, takenAt: takenAt(snapshot) } as const;
    await recordWherePossible(context, (sql) => writeSnapshot(sql, gone));
    removed.push(id);
  }
  return { snapshots: removed, left };
};

interface Listed {
  readonly records: SnapshotRecords;
  readonly snapshots: readonly Snapshot[];
  readonly owner: Owner;
}

/** What a run refers to, by id with the reason. Throws kind `refused` when nobody can tell. */
const readReferences = async (
  context: RunContext,
  { records, ...listed }: Listed,
): Promise<ReadonlyMap<string, string>> => {
  if (records.run === null && records.trouble !== null && (await isUnknown(context))) {
    throw new SwitchbackError('refused', `nobody can tell which snapshots a run refers to: ${records.trouble}`, {
      remedy: 'when the source or the target answers again: switchback snapshot prune PLAN',
    });
  }
  const referred = new Map<string, string>();
  for (const id of await basesOfSoak(context, { records, ...listed }))
    referred.set(id, 'what the archive of the soak begins from');
  const restored = records.run?.facts.restored?.snapshot;
  if (restored !== undefined) referred.set(restored, 'the source was restored from it');
  for (const { snapshot, state } of records.drills)
    if (state === 'running') referred.set(snapshot, 'a drill of it is under way');
  for (const { id, state } of records.snapshots) if (state === 'creating') referred.set(id, 'it is being made');
  return referred;
};

/** A source that is lost and a target on which no run is any more: it is over, and refers to nothing. */
const isUnknown = async ({ target }: RunContext): Promise<boolean> => {
  try {
    return await sidecarExists(target.sql);
  } catch {
    return true;
  }
};

/** From the newest one before each cutover whose soak is archived, any moment of that soak can be reached. */
const basesOfSoak = async (context: RunContext, { records, snapshots, owner }: Listed): Promise<readonly string[]> => {
  if (context.plan.soak.archive === null || records.run === null) return [];
  const all = restorable(owner, snapshots);
  // Without the source's phases every one may be needed.
  const phases = await readPhases(context.source.sql).catch((error: unknown) => {
    context.emit({ type: 'note', phase: null, text: `all snapshots stay, as phases may soak: ${messageOf(error)}` });
    return null;
  });
  if (phases === null) return all.map(({ id }) => id);
  return phases.flatMap(({ state }) => {
    if (state.name !== 'soaking') return [];
    const base = all.find((snapshot) => Date.parse(takenAt(snapshot)) < Date.parse(state.since));
    return base === undefined ? [] : [base.id];
  });
};
