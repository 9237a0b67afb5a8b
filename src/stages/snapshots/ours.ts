import type { SnapshotOwner } from '../../domain/snapshot.ts';
import type { Plan } from '../../plan/load.ts';
import type { RunRow } from '../../sidecar/run.ts';
import type { Snapshot } from '../../snapshots/store.ts';
import type { RunContext } from '../context.ts';
import { readRecords, storeOf } from './records.ts';

/** Whose snapshots are ours. Several databases may have plans of one name, and keep their snapshots in one place. */
export interface Owner {
  readonly plan: string;
  /** Of every database that is known to be, or to have been, the source of this plan's run. */
  readonly identities: ReadonlySet<string>;
  readonly runs: ReadonlySet<string>;
  /** Whether anything but the plan's name is known. Where it is not, both databases are lost, and the name has to do to restore. */
  readonly isKnown: boolean;
}

/** What the plan's databases say of themselves. */
export interface Known {
  /** Identity of the source; null where it does not answer. */
  readonly identity: string | null;
  readonly run: Pick<RunRow, 'id' | 'side' | 'identity' | 'peer' | 'facts'> | null;
}

/**
 * Whose snapshots are ours, by what the databases and the snapshots say. A run whose source was replaced by what a snapshot was
 * restored to has snapshots of both: those from before say the run's id, and name the database that its source was then; by that
 * the ones are found again that were made of it before the run was begun.
 */
export const ownerFrom = (
  plan: Pick<Plan, 'name'>,
  { identity, run }: Known,
  snapshots: readonly Pick<Snapshot, 'id' | 'owner'>[],
): Owner => {
  const ofRun = ({ id, owner }: Pick<Snapshot, 'id' | 'owner'>): readonly string[] => {
    if (run === null || owner === null || owner.plan !== plan.name) return [];
    return owner.run === run.id || run.facts.restored?.snapshot === id ? [owner.identity] : [];
  };
  const recorded = run === null ? '' : run.side === 'source' ? run.identity : run.peer;
  const before = run?.facts.restored?.of ?? '';
  const identities = new Set([identity ?? '', recorded, before, ...snapshots.flatMap(ofRun)]);
  identities.delete('');
  const runs = new Set(run === null ? [] : [run.id]);
  return { plan: plan.name, identities, runs, isKnown: identities.size + runs.size > 0 };
};

/** Whether a snapshot is ours. One of another plan is not, nor one of another database whose plan has the same name. */
export const isOurs = (ours: Owner, { owner }: { readonly owner: SnapshotOwner | null }): boolean => {
  if (owner === null || owner.plan !== ours.plan) return false;
  return !ours.isKnown || ours.identities.has(owner.identity) || (owner.run !== '' && ours.runs.has(owner.run));
};

/** What the store has, in its order, and whose of it is ours. Databases that do not answer are asked once. */
export const listOwned = async (
  context: RunContext,
): Promise<{ readonly snapshots: readonly Snapshot[]; readonly owner: Owner }> => {
  const snapshots = await storeOf(context).list();
  const [described, { run }] = await Promise.all([
    context.source.sessions.describe().catch(() => null),
    readRecords(context),
  ]);
  return { snapshots, owner: ownerFrom(context.plan, { identity: described?.identity ?? null, run }, snapshots) };
};

/** The snapshots of ours that can be restored, the newest first. */
export const restorable = (owner: Owner, snapshots: readonly Snapshot[]): readonly Snapshot[] =>
  snapshots
    .filter((snapshot) => snapshot.state === 'available' && isOurs(owner, snapshot))
    .toSorted((a, b) => Date.parse(takenAt(b)) - Date.parse(takenAt(a)));

/** When its state was that of the source, as far as it is known. */
export const takenAt = ({ manifest, createdAt }: Pick<Snapshot, 'manifest' | 'createdAt'>): string =>
  manifest?.createdAt ?? createdAt;
