import { SwitchbackError } from '../../domain/errors.ts';
import { type Manifest, type SnapshotOwner, ownerIn as saidBy } from '../../domain/snapshot.ts';
import type { Snapshot } from '../store.ts';
import type { Held, StorePart } from './kind.ts';
import { ownerIn, type Reading, readTags } from './manifest-tags.ts';

/** Whose snapshots and places are ours. */
export interface Owner {
  readonly plan: string;
  /** Identity of the source; null where the source cannot be asked, and then the plan's name alone decides. */
  readonly identity: string | null;
}

/** Whether a plan and an identity, as tags say them, are the owner's. */
export const isOwner = (owner: Owner, said: { readonly plan: string; readonly identity: string }): boolean =>
  said.plan === owner.plan && (owner.identity === null || said.identity === owner.identity);

/** What the tags of a snapshot say to its owner: what is of another plan or database is foreign, whatever else it says. */
export const readingFor = (owner: Owner, held: Held): Reading => {
  const said = ownerIn(held.tags);
  return said !== null && isOwner(owner, said) ? readTags(held.tags, held.id) : { kind: 'foreign' };
};

/** The part of a manifest that we wrote ourselves. */
export const storePartOf = (manifest: Pick<Manifest, 'store'>): StorePart => manifest.store as StorePart;

const STATES: Readonly<Record<string, Snapshot['state']>> = {
  available: 'available',
  failed: 'failed',
  deleting: 'deleting',
};

/** What a snapshot's status comes to; whatever else RDS says is on its way. */
export const stateOf = (status: string): Snapshot['state'] => STATES[status] ?? 'creating';

const detailOf = (held: Held, reading: Reading): string | null => {
  switch (reading.kind) {
    case 'newer':
      return `its manifest has format ${reading.format}, of a newer Switchback`;
    case 'damaged':
      return `its manifest cannot be believed: ${reading.why}`;
    case 'begun':
      return held.status === 'available'
        ? 'RDS has made it and its manifest is not closed yet: switchback snapshot create goes on'
        : `RDS says ${held.status}`;
    default:
      return held.status === 'available' ? null : `RDS says ${held.status}`;
  }
};

const saidIn = (reading: Reading): SnapshotOwner | null => {
  if (reading.kind === 'whole') return saidBy(reading.manifest);
  return reading.kind === 'begun' ? saidBy(reading.begun) : null;
};

/** A snapshot as the port tells of it. What RDS has made is not available before its manifest is whole. */
export const snapshotOf = (owner: Owner, held: Held): Snapshot => {
  const reading = readingFor(owner, held);
  const state = stateOf(held.status);
  return {
    id: held.id,
    state: reading.kind === 'begun' && state === 'available' ? 'creating' : state,
    detail: detailOf(held, reading),
    manifest: reading.kind === 'whole' ? reading.manifest : null,
    owner: saidIn(reading),
    createdAt: held.createdAt,
    bytes: held.bytes,
  };
};

/** The refusal of a name under which something stands that is not ours. */
export const nameTaken = (what: string, tags: ReadonlyMap<string, string>): SwitchbackError => {
  const said = ownerIn(tags);
  const whose =
    said === null ? 'it carries no tag of ours' : `its tags say plan ${said.plan} and database ${said.identity}`;
  return new SwitchbackError('refused', `the name of ${what} is taken by somebody else: ${whose}`, {
    remedy: 'nothing of it was touched; choose another name, or see whose it is and remove it by hand',
  });
};

/** The manifest of a snapshot that may be restored or removed. Throws kind `refused` for every other one. */
export const availableManifest = (owner: Owner, held: Held): Manifest => {
  const reading = readingFor(owner, held);
  if (reading.kind === 'foreign') throw notOurs(held);
  const { state, detail, manifest } = snapshotOf(owner, held);
  if (state === 'available' && manifest !== null) return manifest;
  throw new SwitchbackError('refused', `snapshot ${held.id} is not usable: ${detail ?? state}`, {
    remedy:
      reading.kind === 'newer'
        ? 'use the version of Switchback that made it'
        : 'choose another one: switchback snapshot list PLAN; by hand it can be used as any snapshot of RDS',
  });
};

const notOurs = (held: Held): SwitchbackError => {
  const said = ownerIn(held.tags);
  return new SwitchbackError(
    'refused',
    `snapshot ${held.id} is not ours: ${said === null ? 'it carries no tag of ours' : `its tags say plan ${said.plan} and database ${said.identity}`}`,
    { remedy: 'choose one of this plan: switchback snapshot list PLAN' },
  );
};
