import { SwitchbackError } from './domain/errors.ts';
import type { Plan } from './plan/load.ts';
import type { SnapshotStore } from './snapshots/store.ts';

/** Makes the store of the plan's snapshots, one case for each kind, or null where the plan makes none. Connects to nothing yet. */
export const snapshotsFor = ({ snapshots, path }: Plan): SnapshotStore | null => {
  if (snapshots === null) return null;
  switch (snapshots.store.kind) {
    case 'pg_dump':
    case 'pg_basebackup':
    case 'rds':
      throw new SwitchbackError('refused', `this version has no store ${snapshots.store.kind}`, {
        remedy: `take snapshots out of ${path}`,
      });
  }
};
