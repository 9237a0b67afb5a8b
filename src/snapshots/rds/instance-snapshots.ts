import type { DBInstance, DBSnapshot } from '@aws-sdk/client-rds';
import type { RdsApi } from './api.ts';
import { allPages, given, type Held, notRestoredOf, ownTags, type SnapshotKind, type Source, timeOr } from './kind.ts';
import { tagsByKey } from './manifest-tags.ts';
import { isAbsent } from './meanings.ts';
import { INSTANCE, valuesOf } from './settings.ts';

const GIB = 1024 ** 3;

const heldOf = (snapshot: DBSnapshot): Held => ({
  id: given(snapshot.DBSnapshotIdentifier, 'identifier'),
  arn: snapshot.DBSnapshotArn ?? '',
  status: snapshot.Status ?? 'unknown',
  percent: snapshot.PercentProgress ?? null,
  tags: tagsByKey(snapshot.TagList),
  createdAt: timeOr(snapshot.OriginalSnapshotCreateTime ?? snapshot.SnapshotCreateTime),
  // What it costs where RDS says it; else the whole volume, which is what a restore needs.
  bytes: snapshot.FullSnapshotSizeInBytes ?? (snapshot.AllocatedStorage ?? 0) * GIB,
  key: snapshot.Encrypted === true ? (snapshot.KmsKeyId ?? null) : null,
});

const sourceOf = (instance: DBInstance): Source => ({
  status: instance.DBInstanceStatus ?? 'unknown',
  host: instance.Endpoint?.Address ?? null,
  key: instance.StorageEncrypted === true ? (instance.KmsKeyId ?? null) : null,
  store: {
    kind: 'instance',
    source: { id: given(instance.DBInstanceIdentifier, 'identifier'), resource: instance.DbiResourceId ?? '' },
    values: valuesOf(INSTANCE, instance),
    members: [],
    deletionProtection: instance.DeletionProtection === true,
    tags: ownTags(instance.TagList),
    notRestored: notRestoredOf(
      instance.MasterUserSecret?.SecretArn,
      (instance.AssociatedRoles ?? []).map(({ RoleArn }) => RoleArn),
    ),
    copies: [],
  },
});

/** An instance by its identifier, or null. */
export const findInstance = async (api: RdsApi, id: string): Promise<DBInstance | null> => {
  try {
    const { DBInstances = [] } = await api.call('DescribeDBInstances', id, { DBInstanceIdentifier: id });
    return DBInstances[0] ?? null;
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
};

const read = async (
  api: RdsApi,
  about: string,
  which: { readonly [key in 'DBSnapshotIdentifier' | 'DBInstanceIdentifier']?: string },
) =>
  await allPages(async (marker) => {
    const page = await api.call('DescribeDBSnapshots', about, {
      ...which,
      ...(marker === undefined ? {} : { Marker: marker }),
    });
    return { items: (page.DBSnapshots ?? []).map(heldOf), marker: page.Marker };
  });

/** Snapshots of an instance that is no cluster's. */
export const instanceSnapshots: SnapshotKind = {
  kind: 'instance',
  events: { snapshot: 'db-snapshot', source: 'db-instance' },
  quota: 'ManualSnapshots',
  async source(api, id) {
    const instance = await findInstance(api, id);
    return instance === null ? null : sourceOf(instance);
  },
  async find(api, id) {
    try {
      const found = await read(api, id, { DBSnapshotIdentifier: id });
      return found[0] ?? null;
    } catch (error) {
      if (isAbsent(error)) return null;
      throw error;
    }
  },
  list: (api, source) => read(api, `snapshots of ${source}`, { DBInstanceIdentifier: source }),
  async make(api, { id, source, tags }) {
    await api.call('CreateDBSnapshot', id, { DBSnapshotIdentifier: id, DBInstanceIdentifier: source, Tags: tags });
  },
  async copy(api, { from, id, kmsKey, tags }) {
    await api.call('CopyDBSnapshot', id, {
      SourceDBSnapshotIdentifier: from,
      TargetDBSnapshotIdentifier: id,
      ...(kmsKey === null ? {} : { KmsKeyId: kmsKey }),
      Tags: tags,
    });
  },
  async share(api, id, accounts) {
    await api.call('ModifyDBSnapshotAttribute', id, {
      DBSnapshotIdentifier: id,
      AttributeName: 'restore',
      ValuesToAdd: [...accounts],
    });
  },
  async remove(api, id) {
    await api.call('DeleteDBSnapshot', id, { DBSnapshotIdentifier: id });
  },
};
