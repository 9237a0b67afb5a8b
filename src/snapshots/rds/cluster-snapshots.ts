import type { DBCluster, DBClusterSnapshot, DBInstance } from '@aws-sdk/client-rds';
import type { RdsApi } from './api.ts';
import { allPages, given, type Held, type Member, notRestoredOf, ownTags, type SnapshotKind, timeOr } from './kind.ts';
import { tagsByKey } from './manifest-tags.ts';
import { isAbsent } from './meanings.ts';
import { CLUSTER, MEMBER, valuesOf } from './settings.ts';

const heldOf = (snapshot: DBClusterSnapshot): Held => ({
  id: given(snapshot.DBClusterSnapshotIdentifier, 'identifier'),
  arn: snapshot.DBClusterSnapshotArn ?? '',
  status: snapshot.Status ?? 'unknown',
  percent: snapshot.PercentProgress ?? null,
  tags: tagsByKey(snapshot.TagList),
  createdAt: timeOr(snapshot.SnapshotCreateTime),
  // For Aurora, AllocatedStorage is always 1.
  bytes: null,
  key: snapshot.StorageEncrypted === true ? (snapshot.KmsKeyId ?? null) : null,
});

/** A cluster by its identifier, or null. */
export const findCluster = async (api: RdsApi, id: string): Promise<DBCluster | null> => {
  try {
    const { DBClusters = [] } = await api.call('DescribeDBClusters', id, { DBClusterIdentifier: id });
    return DBClusters[0] ?? null;
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
};

/** The instances of a cluster. */
export const instancesOf = async (api: RdsApi, cluster: string): Promise<readonly DBInstance[]> =>
  await allPages(async (marker) => {
    const page = await api.call('DescribeDBInstances', `the instances of ${cluster}`, {
      Filters: [{ Name: 'db-cluster-id', Values: [cluster] }],
      ...(marker === undefined ? {} : { Marker: marker }),
    });
    return { items: page.DBInstances ?? [], marker: page.Marker };
  });

const membersOf = (cluster: DBCluster, instances: readonly DBInstance[]): readonly Member[] => {
  const writer = cluster.DBClusterMembers?.find(
    ({ IsClusterWriter }) => IsClusterWriter === true,
  )?.DBInstanceIdentifier;
  return instances
    .map((instance) => ({
      isWriter: instance.DBInstanceIdentifier === writer,
      values: valuesOf(MEMBER, instance),
    }))
    .toSorted((a, b) => Number(b.isWriter) - Number(a.isWriter));
};

const read = async (
  api: RdsApi,
  about: string,
  which: { readonly [key in 'DBClusterSnapshotIdentifier' | 'DBClusterIdentifier']?: string },
) =>
  await allPages(async (marker) => {
    const page = await api.call('DescribeDBClusterSnapshots', about, {
      ...which,
      ...(marker === undefined ? {} : { Marker: marker }),
    });
    return { items: (page.DBClusterSnapshots ?? []).map(heldOf), marker: page.Marker };
  });

/** Snapshots of an Aurora cluster. */
export const clusterSnapshots: SnapshotKind = {
  kind: 'cluster',
  events: { snapshot: 'db-cluster-snapshot', source: 'db-cluster' },
  quota: 'ManualClusterSnapshots',
  async source(api, id) {
    const cluster = await findCluster(api, id);
    if (cluster === null) return null;
    return {
      status: cluster.Status ?? 'unknown',
      host: cluster.Endpoint ?? null,
      key: cluster.StorageEncrypted === true ? (cluster.KmsKeyId ?? null) : null,
      store: {
        kind: 'cluster',
        source: { id: given(cluster.DBClusterIdentifier, 'identifier'), resource: cluster.DbClusterResourceId ?? '' },
        values: valuesOf(CLUSTER, cluster),
        members: membersOf(cluster, await instancesOf(api, id)),
        deletionProtection: cluster.DeletionProtection === true,
        tags: ownTags(cluster.TagList),
        notRestored: notRestoredOf(
          cluster.MasterUserSecret?.SecretArn,
          (cluster.AssociatedRoles ?? []).map(({ RoleArn }) => RoleArn),
        ),
        copies: [],
      },
    };
  },
  async find(api, id) {
    try {
      const found = await read(api, id, { DBClusterSnapshotIdentifier: id });
      return found[0] ?? null;
    } catch (error) {
      if (isAbsent(error)) return null;
      throw error;
    }
  },
  list: (api, source) => read(api, `snapshots of ${source}`, { DBClusterIdentifier: source }),
  async make(api, { id, source, tags }) {
    await api.call('CreateDBClusterSnapshot', id, {
      DBClusterSnapshotIdentifier: id,
      DBClusterIdentifier: source,
      Tags: tags,
    });
  },
  async copy(api, { from, id, kmsKey, tags }) {
    await api.call('CopyDBClusterSnapshot', id, {
      SourceDBClusterSnapshotIdentifier: from,
      TargetDBClusterSnapshotIdentifier: id,
      ...(kmsKey === null ? {} : { KmsKeyId: kmsKey }),
      Tags: tags,
    });
  },
  async share(api, id, accounts) {
    await api.call('ModifyDBClusterSnapshotAttribute', id, {
      DBClusterSnapshotIdentifier: id,
      AttributeName: 'restore',
      ValuesToAdd: [...accounts],
    });
  },
  async remove(api, id) {
    await api.call('DeleteDBClusterSnapshot', id, { DBClusterSnapshotIdentifier: id });
  },
};
