import { postgresDatabase } from './databases/postgres/database.ts';
import { SwitchbackError } from './domain/errors.ts';
import type { Plan } from './plan/load.ts';
import { placeText } from './plan/snapshot-plan.ts';
import { openObjects } from './platform/objects/open.ts';
import { SealKey } from './platform/objects/seal-key.ts';
import type { PostgresServer } from './platform/postgres/server.ts';
import { PgDumpStore } from './snapshots/pg-dump/store.ts';
import { RdsStore } from './snapshots/rds/store.ts';
import type { SnapshotStore } from './snapshots/store.ts';

/** Makes the store of the plan's snapshots, one case for each kind, or null where the plan makes none. Connects to nothing yet. */
export const snapshotsFor = (plan: Plan, source: PostgresServer): SnapshotStore | null => {
  if (plan.snapshots === null) return null;
  const { store } = plan.snapshots;
  switch (store.kind) {
    case 'pg_dump': {
      const { to, jobs, bin, scratch } = store;
      return new PgDumpStore({
        plan: plan.name,
        source,
        sourceUrl: plan.source.url,
        objects: openObjects(placeText(to), (to.kind === 's3' && to.region) || undefined),
        key: store.key === null ? null : SealKey.of(store.key),
        jobs,
        bin,
        ...(scratch === null ? {} : { scratchUrl: scratch }),
      });
    }
    case 'rds':
      return new RdsStore({
        ...store,
        owner: { plan: plan.name, identity: null },
        url: plan.source.url,
        head: () => postgresDatabase(source).head(),
      });
    case 'pg_basebackup':
      throw new SwitchbackError('refused', `this version has no store ${store.kind}`, {
        remedy: `take snapshots out of ${plan.path}`,
      });
  }
};
