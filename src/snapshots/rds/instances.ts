import type { DBInstance, ModifyDBInstanceMessage } from '@aws-sdk/client-rds';
import { messageOf } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { WaitOptions } from '../store.ts';
import type { RdsApi } from './api.ts';
import { eventsOf } from './events.ts';
import { findInstance } from './instance-snapshots.ts';
import { isRefusedSetting } from './meanings.ts';
import { assertComing, placeGone, refusedChange } from './place.ts';
import { type Changed, changeTo, type Values } from './settings.ts';
import { type Look, waitFor } from './waiting.ts';

/** RDS changes, reboots and removes instances in these states. */
const STANDS: readonly string[] = ['available', 'storage-optimization'];

/** What is waited for of an instance that stands. */
export interface Readiness {
  readonly isReady: (instance: DBInstance) => boolean;
  readonly options: WaitOptions;
}

/** Waits for an instance until it stands and is ready. Throws kind `refused` when it cannot come to that. */
export const whenInstance = async (api: RdsApi, name: string, { options, isReady }: Readiness): Promise<DBInstance> => {
  const what = `instance ${name}`;
  const events = () => eventsOf(api, 'db-instance', name);
  let isSeen = false;
  const look = async (): Promise<Look<DBInstance>> => {
    const instance = await findInstance(api, name);
    if (instance === null && isSeen) throw placeGone(what);
    isSeen = instance !== null;
    const status = instance?.DBInstanceStatus ?? 'not seen yet';
    await assertComing(what, status, events);
    if (instance !== null && STANDS.includes(status) && isReady(instance)) return { done: true, value: instance };
    return { done: false, state: status, percent: null };
  };
  return await waitFor(api, { what, events, look }, options);
};

/** As `isReady`, and satisfied after some looks all the same: RDS shows late what it took, and some of it never. */
export const patiently = <T>(api: RdsApi, isReady: (seen: T) => boolean): ((seen: T) => boolean) => {
  let looks = 0;
  return (seen) => {
    looks += 1;
    return isReady(seen) || looks >= api.pace.settleLooks;
  };
};

const isQuiet = ({ PendingModifiedValues: pending = {} }: DBInstance): boolean =>
  Object.values(pending).every((value) => value === undefined);

/** Brings what can still be changed of an instance that stands to what it should be; what RDS refuses of that is a finding. */
export const settleInstance = async (
  api: RdsApi,
  name: string,
  about: {
    readonly settings: readonly Changed<DBInstance, ModifyDBInstanceMessage>[];
    readonly values: Values;
    readonly options: WaitOptions;
  },
): Promise<readonly Finding[]> => {
  const { settings, values, options } = about;
  const instance = await whenInstance(api, name, { options, isReady: patiently(api, isQuiet) });
  const left = (now: DBInstance) => changeTo(settings, values, now);
  const change = left(instance);
  if (Object.keys(change).length === 0) return [];
  try {
    await api.call('ModifyDBInstance', name, { DBInstanceIdentifier: name, ApplyImmediately: true, ...change });
  } catch (error) {
    if (isRefusedSetting(error)) return [refusedChange(name, messageOf(error))];
    throw error;
  }
  const isReady = patiently(api, (now: DBInstance) => isQuiet(now) && Object.keys(left(now)).length === 0);
  await whenInstance(api, name, { options, isReady });
  return [];
};

const waitsForReboot = ({ DBParameterGroups = [] }: DBInstance): boolean =>
  DBParameterGroups.some(({ ParameterApplyStatus }) => ParameterApplyStatus === 'pending-reboot');

/** Reboots an instance whose parameters wait for that. */
export const rebootInstance = async (api: RdsApi, name: string, options: WaitOptions): Promise<void> => {
  const instance = await whenInstance(api, name, { options, isReady: () => true });
  if (!waitsForReboot(instance)) return;
  await api.call('RebootDBInstance', name, { DBInstanceIdentifier: name });
  const isReady = patiently(api, (now: DBInstance) => !waitsForReboot(now));
  await whenInstance(api, name, { options, isReady });
};
