import type { Plan } from '../../plan/load.ts';
import type { Snapshot } from '../../snapshots/store.ts';

/** Whether a snapshot is one of this plan: what it was made for says so itself. */
export const isOurs = (plan: Pick<Plan, 'name'>, { manifest }: Pick<Snapshot, 'manifest'>): boolean =>
  manifest !== null && manifest.plan.name === plan.name;

/** The snapshots of this plan that can be restored, the newest first. */
export const restorable = (plan: Pick<Plan, 'name'>, snapshots: readonly Snapshot[]): readonly Snapshot[] =>
  snapshots
    .filter((snapshot) => snapshot.state === 'available' && isOurs(plan, snapshot))
    .toSorted((a, b) => Date.parse(takenAt(b)) - Date.parse(takenAt(a)));

/** When its state was that of the source, as far as it is known. */
export const takenAt = ({ manifest, createdAt }: Pick<Snapshot, 'manifest' | 'createdAt'>): string =>
  manifest?.createdAt ?? createdAt;
