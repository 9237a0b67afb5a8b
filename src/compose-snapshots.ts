import { postgresDatabase } from './databases/postgres/database.ts';
import type { Plan } from './plan/load.ts';
import { type DumpStorePlan, placeText } from './plan/snapshot-plan.ts';
import { openObjects } from './platform/objects/open.ts';
import { SealKey } from './platform/objects/seal-key.ts';
import type { PostgresServer } from './platform/postgres/server.ts';
import { PgBasebackupStore } from './snapshots/pg-basebackup/store.ts';
import { PgDumpStore } from './snapshots/pg-dump/store.ts';
import { RdsStore } from './snapshots/rds/store.ts';
import type { SnapshotStore } from './snapshots/store.ts';

/** What both stores are made with that keep their snapshots as objects. */
const keptAsObjects = ({ to, key, bin }: DumpStorePlan, plan: Plan, source: PostgresServer) => ({
  plan: plan.name,
  source,
  sourceUrl: plan.source.url,
  objects: openObjects(placeText(to), (to.kind === 's3' && to.region) || undefined),
  key: key === null ? null : SealKey.of(key),
  bin,
});

/** Makes the store of the plan's snapshots, one case for each kind, or null where the plan makes none. Connects to nothing yet. */
export const snapshotsFor = (plan: Plan, source: PostgresServer): SnapshotStore | null => {
  if (plan.snapshots === null) return null;
  const { store } = plan.snapshots;
  switch (store.kind) {
    case 'pg_dump': {
      const scratch = store.scratch === null ? {} : { scratchUrl: store.scratch };
      return new PgDumpStore({ ...keptAsObjects(store, plan, source), jobs: store.jobs, ...scratch });
    }
    case 'pg_basebackup': {
      const scratch = store.scratch === null ? {} : { scratch: store.scratch };
      return new PgBasebackupStore({ ...keptAsObjects(store, plan, source), ...scratch });
    }
    case 'rds': {
      const owner = { plan: plan.name, identity: null };
      const head = () => postgresDatabase(source).head();
      return new RdsStore({ ...store, owner, url: plan.source.url, head });
    }
  }
};
