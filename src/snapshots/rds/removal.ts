import type { WaitOptions } from '../store.ts';
import type { RdsApi } from './api.ts';
import { findCluster, instancesOf } from './cluster-snapshots.ts';
import { eventsOf } from './events.ts';
import { findInstance } from './instance-snapshots.ts';
import { tagsByKey } from './manifest-tags.ts';
import { answers, isAbsent } from './meanings.ts';
import { isProtected } from './place.ts';
import { type Look, waitFor } from './waiting.ts';

/** How a place is removed; `assert` throws when it is not ours. */
export interface Removal {
  readonly assert: (tags: ReadonlyMap<string, string>) => void;
  readonly options: WaitOptions;
}

/** Asks for a removal; one that is under way, or not possible in its present state, is looked at again. */
const tryTo = async (remove: () => Promise<unknown>): Promise<void> => {
  try {
    await remove();
  } catch (error) {
    const isLater = ['InvalidDBInstanceState', 'InvalidDBClusterState'].some((code) => answers(error, code));
    if (!isLater && !isAbsent(error)) throw error;
  }
};

/** Removes an instance with its automated backups, and waits until it is gone. */
export const removeInstance = async (api: RdsApi, name: string, { assert, options }: Removal): Promise<void> => {
  const look = async (): Promise<Look<null>> => {
    const instance = await findInstance(api, name);
    if (instance === null) return { done: true, value: null };
    const status = instance.DBInstanceStatus ?? 'unknown';
    if (status === 'deleting') return { done: false, state: status, percent: null };
    assert(tagsByKey(instance.TagList));
    if (instance.DeletionProtection === true) throw isProtected(`instance ${name}`);
    await tryTo(() =>
      api.call('DeleteDBInstance', name, {
        DBInstanceIdentifier: name,
        SkipFinalSnapshot: true,
        DeleteAutomatedBackups: true,
      }),
    );
    return { done: false, state: status, percent: null };
  };
  await waitFor(api, { what: `instance ${name}`, events: () => eventsOf(api, 'db-instance', name), look }, options);
};

/** Removes a cluster, its instances first, and waits until it is gone. */
export const removeCluster = async (api: RdsApi, name: string, { assert, options }: Removal): Promise<void> => {
  const cluster = await findCluster(api, name);
  if (cluster === null) return;
  assert(tagsByKey(cluster.TagList));
  if (cluster.DeletionProtection === true) throw isProtected(`cluster ${name}`);
  // Also one that somebody has added: it holds nothing but the cluster's rows, and the cluster cannot go before it.
  for (const { DBInstanceIdentifier: member = '' } of await instancesOf(api, name)) {
    await removeInstance(api, member, { assert: () => undefined, options });
  }
  const look = async (): Promise<Look<null>> => {
    const now = await findCluster(api, name);
    if (now === null) return { done: true, value: null };
    if (now.Status !== 'deleting') {
      assert(tagsByKey(now.TagList));
      await tryTo(() =>
        api.call('DeleteDBCluster', name, {
          DBClusterIdentifier: name,
          SkipFinalSnapshot: true,
          DeleteAutomatedBackups: true,
        }),
      );
    }
    return { done: false, state: now.Status ?? 'unknown', percent: null };
  };
  await waitFor(api, { what: `cluster ${name}`, events: () => eventsOf(api, 'db-cluster', name), look }, options);
};
