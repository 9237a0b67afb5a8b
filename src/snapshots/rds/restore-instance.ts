import type { DBInstance } from '@aws-sdk/client-rds';
import type { Finding } from '../../domain/finding.ts';
import type { WaitOptions } from '../store.ts';
import type { RdsApi } from './api.ts';
import { findInstance } from './instance-snapshots.ts';
import { rebootInstance, settleInstance, whenInstance } from './instances.ts';
import { given } from './kind.ts';
import { tagsByKey } from './manifest-tags.ts';
import { isTaken } from './meanings.ts';
import {
  assertPlace,
  differencesOf,
  differs,
  finishedTag,
  isFinished,
  notRestoredFindings,
  placeTags,
  type Restoration,
  type Stood,
} from './place.ts';
import { timeOf } from './point-in-time.ts';
import { removeInstance } from './removal.ts';
import { INSTANCE, makingOf, valuesOf } from './settings.ts';
import { beginOnce } from './waiting.ts';

/** Deletion protection comes last: until then whatever was begun can be removed again. */
const protect = async (api: RdsApi, { store, into }: Restoration): Promise<void> => {
  if (!store.deletionProtection || into.purpose === 'drill') return;
  await api.call('ModifyDBInstance', into.name, {
    DBInstanceIdentifier: into.name,
    ApplyImmediately: true,
    DeletionProtection: true,
  });
};

const begin = async (api: RdsApi, restoration: Restoration): Promise<void> => {
  const { store, snapshot, into } = restoration;
  const common = {
    ...makingOf(INSTANCE, store.values),
    DeletionProtection: false,
    Tags: placeTags(restoration),
  };
  if (into.time === undefined) {
    await api.call('RestoreDBInstanceFromDBSnapshot', into.name, {
      ...common,
      DBInstanceIdentifier: into.name,
      DBSnapshotIdentifier: snapshot,
    });
    return;
  }
  const { id, resource } = store.source;
  const standing = await findInstance(api, id);
  await api.call('RestoreDBInstanceToPointInTime', into.name, {
    ...common,
    TargetDBInstanceIdentifier: into.name,
    // One that is gone has left its automated backups under what no other ever has.
    ...(standing?.DbiResourceId === resource ? { SourceDBInstanceIdentifier: id } : { SourceDbiResourceId: resource }),
    RestoreTime: timeOf(into.time),
  });
};

const findOrBegin = async (api: RdsApi, restoration: Restoration, options: WaitOptions): Promise<void> => {
  const { name } = restoration.into;
  const find = () => findInstance(api, name);
  const known = await find();
  const assert = (tags: ReadonlyMap<string, string>) => assertPlace(`instance ${name}`, tags, restoration);
  if (known !== null) assert(tagsByKey(known.TagList));
  // An earlier command was removing it: it goes first.
  if (known?.DBInstanceStatus === 'deleting') await removeInstance(api, name, { options, assert });
  if (known !== null && known.DBInstanceStatus !== 'deleting') return;
  const begun = await beginOnce(api, () => begin(api, restoration), { find, isTaken });
  assert(tagsByKey(begun.TagList));
};

/** Restores an instance beside, or goes on where an earlier call was. */
export const restoreInstance = async (api: RdsApi, restoration: Restoration, options: WaitOptions): Promise<Stood> => {
  const { store, into } = restoration;
  const { name } = into;
  await findOrBegin(api, restoration, options);
  const found = await whenInstance(api, name, { options, isReady: () => true });
  const refused: Finding[] = [];
  if (!isFinished(tagsByKey(found.TagList))) {
    refused.push(...(await settleInstance(api, name, { settings: INSTANCE, values: store.values, options })));
    await rebootInstance(api, name, options);
    await protect(api, restoration);
    await api.call('AddTagsToResource', name, {
      ResourceName: given(found.DBInstanceArn, 'ARN'),
      Tags: finishedTag(),
    });
  }
  const stands = await whenInstance(api, name, { options, isReady: ({ Endpoint }) => Endpoint?.Address !== undefined });
  return { ...addressOf(stands), differences: [...refused, ...instanceDifferences(stands, restoration)] };
};

const addressOf = ({ Endpoint }: DBInstance) => ({ host: Endpoint?.Address ?? '', port: Endpoint?.Port ?? 0 });

const instanceDifferences = (stands: DBInstance, { store, into }: Restoration): readonly Finding[] => {
  const isProtected = stands.DeletionProtection === true;
  const isWanted = store.deletionProtection && into.purpose === 'restore';
  return [
    ...differencesOf(into.name, INSTANCE, { wanted: store.values, stands: valuesOf(INSTANCE, stands) }),
    ...(isProtected === isWanted
      ? []
      : [differs(into.name, 'deletion protection', { wanted: isWanted, stands: isProtected })]),
    ...notRestoredFindings(into.name, store),
  ];
};
