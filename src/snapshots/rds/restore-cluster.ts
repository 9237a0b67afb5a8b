import type { DBCluster } from '@aws-sdk/client-rds';
import { messageOf } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { WaitOptions } from '../store.ts';
import type { RdsApi } from './api.ts';
import { findCluster } from './cluster-snapshots.ts';
import { eventsOf } from './events.ts';
import { findInstance } from './instance-snapshots.ts';
import { patiently, rebootInstance, settleInstance, whenInstance } from './instances.ts';
import { given, type Member } from './kind.ts';
import { tagsByKey } from './manifest-tags.ts';
import { isRefusedSetting, isTaken } from './meanings.ts';
import {
  assertComing,
  assertPlace,
  differencesOf,
  differs,
  finishedTag,
  isFinished,
  notRestoredFindings,
  placeGone,
  placeTags,
  type Restoration,
  refusedChange,
  type Stood,
} from './place.ts';
import { timeOf } from './point-in-time.ts';
import { removeCluster } from './removal.ts';
import { CLUSTER, changeTo, MEMBER, makingOf, valuesOf } from './settings.ts';
import { beginOnce, type Look, waitFor } from './waiting.ts';

/** The names of a restored cluster's instances, the writer's first. */
const memberNames = ({ store, into }: Restoration): readonly (readonly [string, Member])[] =>
  store.members.map((member, index) => [`${into.name}-${index + 1}`, member] as const);

const whenCluster = async (
  api: RdsApi,
  name: string,
  { options, isReady }: { readonly options: WaitOptions; readonly isReady: (cluster: DBCluster) => boolean },
): Promise<DBCluster> => {
  const what = `cluster ${name}`;
  const events = () => eventsOf(api, 'db-cluster', name);
  let isSeen = false;
  const look = async (): Promise<Look<DBCluster>> => {
    const cluster = await findCluster(api, name);
    if (cluster === null && isSeen) throw placeGone(what);
    isSeen = cluster !== null;
    const status = cluster?.Status ?? 'not seen yet';
    await assertComing(what, status, events);
    if (cluster !== null && status === 'available' && isReady(cluster)) return { done: true, value: cluster };
    const percent = Number(cluster?.PercentProgress);
    return { done: false, state: status, percent: Number.isFinite(percent) ? percent : null };
  };
  return await waitFor(api, { what, events, look }, options);
};

const begin = async (api: RdsApi, restoration: Restoration): Promise<void> => {
  const { store, snapshot, into } = restoration;
  const { Engine = '', EngineVersion, ...common } = makingOf(CLUSTER, store.values);
  const made = {
    ...common,
    DBClusterIdentifier: into.name,
    DeletionProtection: false,
    Tags: placeTags(restoration),
  };
  if (into.time === undefined) {
    await api.call('RestoreDBClusterFromSnapshot', into.name, {
      ...made,
      Engine,
      ...(EngineVersion === undefined ? {} : { EngineVersion }),
      SnapshotIdentifier: snapshot,
    });
    return;
  }
  const { id, resource } = store.source;
  const standing = await findCluster(api, id);
  await api.call('RestoreDBClusterToPointInTime', into.name, {
    ...made,
    // One that is gone has left its automated backups under what no other ever has.
    ...(standing?.DbClusterResourceId === resource
      ? { SourceDBClusterIdentifier: id }
      : { SourceDbClusterResourceId: resource }),
    RestoreToTime: timeOf(into.time),
  });
};

const findOrBegin = async (api: RdsApi, restoration: Restoration, options: WaitOptions): Promise<void> => {
  const { name } = restoration.into;
  const find = () => findCluster(api, name);
  const assert = (tags: ReadonlyMap<string, string>) => assertPlace(`cluster ${name}`, tags, restoration);
  const known = await find();
  if (known !== null) assert(tagsByKey(known.TagList));
  if (known !== null && known.Status !== 'deleting') return;
  // An earlier command was removing it: it goes first.
  if (known !== null) await removeCluster(api, name, { options, assert });
  const begun = await beginOnce(api, () => begin(api, restoration), { find, isTaken });
  assert(tagsByKey(begun.TagList));
};

/** A restored cluster has no instances: they are created as the manifest has them, all at once. */
const createMembers = async (api: RdsApi, restoration: Restoration, options: WaitOptions): Promise<void> => {
  const { store, into } = restoration;
  for (const [name, { values }] of memberNames(restoration)) {
    const find = () => findInstance(api, name);
    const create = () =>
      api.call('CreateDBInstance', name, {
        DBInstanceClass: undefined,
        ...makingOf(MEMBER, values),
        DBInstanceIdentifier: name,
        DBClusterIdentifier: into.name,
        Engine: String(store.values.engine),
        Tags: placeTags(restoration),
      });
    const member = (await find()) ?? (await beginOnce(api, create, { find, isTaken }));
    assertPlace(`instance ${name}`, tagsByKey(member.TagList), restoration);
  }
  for (const [name] of memberNames(restoration)) await whenInstance(api, name, { options, isReady: () => true });
};

/** As `settleInstance`. */
const settleCluster = async (
  api: RdsApi,
  { store, into: { name } }: Restoration,
  options: WaitOptions,
): Promise<readonly Finding[]> => {
  const left = (now: DBCluster) => changeTo(CLUSTER, store.values, now);
  const change = left(await whenCluster(api, name, { options, isReady: () => true }));
  if (Object.keys(change).length === 0) return [];
  try {
    await api.call('ModifyDBCluster', name, { DBClusterIdentifier: name, ApplyImmediately: true, ...change });
  } catch (error) {
    if (isRefusedSetting(error)) return [refusedChange(name, messageOf(error))];
    throw error;
  }
  const isReady = patiently(api, (now: DBCluster) => Object.keys(left(now)).length === 0);
  await whenCluster(api, name, { options, isReady });
  return [];
};

/** All that is done once its instances stand; deletion protection last, so that whatever was begun can be removed again. */
const finish = async (api: RdsApi, restoration: Restoration, options: WaitOptions): Promise<readonly Finding[]> => {
  const { store, into } = restoration;
  const refused: Finding[] = [...(await settleCluster(api, restoration, options))];
  for (const [name, { values }] of memberNames(restoration)) {
    refused.push(...(await settleInstance(api, name, { settings: MEMBER, values, options })));
    await rebootInstance(api, name, options);
  }
  const cluster = await whenCluster(api, into.name, { options, isReady: () => true });
  if (store.deletionProtection && into.purpose === 'restore') {
    await api.call('ModifyDBCluster', into.name, {
      DBClusterIdentifier: into.name,
      ApplyImmediately: true,
      DeletionProtection: true,
    });
  }
  await api.call('AddTagsToResource', into.name, {
    ResourceName: given(cluster.DBClusterArn, 'ARN'),
    Tags: finishedTag(),
  });
  return refused;
};

/** Restores a cluster with its instances beside, or goes on where an earlier call was. */
export const restoreCluster = async (api: RdsApi, restoration: Restoration, options: WaitOptions): Promise<Stood> => {
  const { name } = restoration.into;
  await findOrBegin(api, restoration, options);
  const found = await whenCluster(api, name, { options, isReady: () => true });
  const isDone = isFinished(tagsByKey(found.TagList));
  if (!isDone) await createMembers(api, restoration, options);
  const refused = isDone ? [] : await finish(api, restoration, options);
  const stands = await whenCluster(api, name, { options, isReady: ({ Endpoint }) => Endpoint !== undefined });
  const differences = [
    ...refused,
    ...clusterDifferences(stands, restoration),
    ...(await memberDifferences(api, restoration)),
  ];
  return { host: stands.Endpoint ?? '', port: stands.Port ?? 0, differences };
};

const clusterDifferences = (stands: DBCluster, { store, into }: Restoration): readonly Finding[] => {
  const isProtected = stands.DeletionProtection === true;
  const isWanted = store.deletionProtection && into.purpose === 'restore';
  return [
    ...differencesOf(into.name, CLUSTER, { wanted: store.values, stands: valuesOf(CLUSTER, stands) }),
    ...(isProtected === isWanted
      ? []
      : [differs(into.name, 'deletion protection', { wanted: isWanted, stands: isProtected })]),
    ...notRestoredFindings(into.name, store),
  ];
};

const memberDifferences = async (api: RdsApi, restoration: Restoration): Promise<readonly Finding[]> => {
  const found: Finding[] = [];
  for (const [name, { values }] of memberNames(restoration)) {
    const instance = await findInstance(api, name);
    if (instance === null) found.push(differs(name, 'the instance', { wanted: 'there', stands: 'gone' }));
    else found.push(...differencesOf(name, MEMBER, { wanted: values, stands: valuesOf(MEMBER, instance) }));
  }
  return found;
};
