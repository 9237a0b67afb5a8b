import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import { type Manifest, ownerIn, type SnapshotOwner } from '../../domain/snapshot.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { Envelope, type SealedObject } from '../../platform/objects/envelope.ts';
import type { Objects } from '../../platform/objects/objects.ts';
import { damaged } from '../../platform/objects/seal.ts';
import type { SealKey } from '../../platform/objects/seal-key.ts';
import type { Destination, ManifestBasis, Snapshot } from '../store.ts';
import { type Proof, parsed, proofOf, requireProof, textOf } from './manifest-file.ts';

/** Of the manifest's file; a higher one is of a newer Switchback. */
const FORMAT = 1;
/** Put before anything else of a snapshot, so that one that was begun can be told from nothing, and whose it is. */
const BEGUN = 'begun.json';
/** Put after everything else: without it there is no snapshot. */
const MANIFEST = 'manifest.json';
/** Put before anything of a snapshot is removed, and says whose it is when nothing else is left. */
const REMOVING = 'removing.json';
const ID = /^[A-Za-z0-9][A-Za-z0-9-]{0,62}$/;

/** What every store that keeps objects writes into its part of a manifest. */
export interface KeptObjects {
  readonly objects: readonly SealedObject[];
}

/** Whose snapshots, and how they are kept. */
export interface CatalogueOptions {
  readonly objects: Objects;
  readonly key: SealKey | null;
  /** Name of the plan: whose they are. */
  readonly plan: string;
  /** Kind of store: `pg_dump`. */
  readonly kind: string;
}

/** A snapshot that was looked at, with its manifest only where it is whole and ours. */
interface Looked {
  readonly keys: ReadonlySet<string>;
  readonly bytes: number;
}

const once = async function* (text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
};

/**
 * The snapshots of a place: a folder of objects for each. First comes what says that one was begun, last its manifest, which names
 * every object with size and checksum.
 */
export class Catalogue {
  readonly envelope: Envelope;
  readonly #options: CatalogueOptions;

  constructor(options: CatalogueOptions) {
    this.#options = options;
    this.envelope = new Envelope(options.objects, { key: options.key, zstd: false });
  }

  /** All that are there, the newest first. */
  async list(): Promise<readonly Snapshot[]> {
    const folders = new Map<string, Looked & { readonly keys: Set<string> }>();
    for await (const { key, bytes } of this.#options.objects.list('')) {
      const at = key.indexOf('/');
      const id = key.slice(0, at);
      if (at === -1 || !ID.test(id)) continue;
      const known = folders.get(id);
      const keys = known?.keys ?? new Set();
      keys.add(key.slice(at + 1));
      folders.set(id, { keys, bytes: (known?.bytes ?? 0) + bytes });
    }
    const snapshots: Snapshot[] = [];
    for (const [id, looked] of folders) if (isSnapshot(looked)) snapshots.push(await this.#read(id, looked));
    return snapshots.sort((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : 0));
  }

  /** One of them; null when there is nothing of it. */
  async look(id: string): Promise<Snapshot | null> {
    requireId(id);
    const keys = new Set<string>();
    let bytes = 0;
    for await (const entry of this.#options.objects.list(`${id}/`)) {
      keys.add(entry.key.slice(id.length + 1));
      bytes += entry.bytes;
    }
    return isSnapshot({ keys, bytes }) ? await this.#read(id, { keys, bytes }) : null;
  }

  /**
   * Notes that a snapshot is begun, and removes what an earlier attempt left. Returns the snapshot when it is there already.
   * Throws kind `refused` when something else has its name: that of another plan or database may be under way at this moment.
   */
  async begin(id: string, basis: ManifestBasis): Promise<Snapshot | null> {
    const known = await this.look(id);
    const owner = ownerIn(basis);
    if (known !== null && known.owner !== null && !isSame(known.owner, owner)) throw notOf(known, owner);
    if (known?.manifest != null && known.state === 'available') return known;
    if (known !== null && known.state !== 'creating') {
      throw new SwitchbackError(
        'refused',
        `snapshot ${id} in ${this.#label} is ${known.state}: ${known.detail ?? 'not ours'}`,
        {
          remedy: 'make another one',
        },
      );
    }
    const { objects } = this.#options;
    await objects.put(`${id}/${BEGUN}`, once(JSON.stringify({ ...owner, by: basis.by, reason: basis.reason })));
    for (const key of await this.#keysOf(id)) if (key !== BEGUN) await objects.remove(`${id}/${key}`);
    return null;
  }

  /** Makes it a snapshot. */
  async finish(manifest: Manifest): Promise<Snapshot> {
    const text = JSON.stringify(manifest);
    const { key, objects } = this.#options;
    const proof: Proof = { format: FORMAT, keyId: key?.id ?? null, proof: proofOf(text, manifest.id, key) };
    await objects.put(`${manifest.id}/${MANIFEST}`, once(`${JSON.stringify(proof)}\n${text}\n`));
    const { id, createdAt, bytes } = manifest;
    return { id, state: 'available', detail: null, manifest, owner: ownerIn(manifest), createdAt, bytes };
  }

  /** The manifest of a snapshot that can be restored: whole, ours, and of a key that we have. Throws kind `refused` otherwise. */
  async manifest(id: string): Promise<Manifest & { readonly store: KeptObjects }> {
    const snapshot = await this.look(id);
    if (snapshot === null) {
      throw new SwitchbackError('refused', `there is no snapshot ${id} in ${this.#label}`, {
        remedy: 'see which there are: switchback snapshot list PLAN',
      });
    }
    // One that is damaged says so itself.
    if (snapshot.state === 'creating' || snapshot.state === 'deleting') throw notAvailable(snapshot);
    return await this.#manifest(id);
  }

  /** Removes an available snapshot of ours, or goes on with that. Nothing when it is gone. */
  async remove(id: string): Promise<void> {
    const snapshot = await this.look(id);
    if (snapshot === null) return;
    const { objects, plan } = this.#options;
    if (snapshot.owner?.plan !== plan && (snapshot.state === 'available' || snapshot.state === 'deleting')) {
      throw new SwitchbackError('refused', `snapshot ${id} is not of plan ${plan}`, {
        remedy: 'let its owner remove it',
      });
    }
    if (snapshot.state !== 'available' && snapshot.state !== 'deleting') throw notAvailable(snapshot);
    if (snapshot.state === 'available') await objects.put(`${id}/${REMOVING}`, once(JSON.stringify(snapshot.owner)));
    failpoint('snapshot:removing');
    const keys = await this.#keysOf(id);
    const last = [MANIFEST, BEGUN, REMOVING];
    for (const key of [...keys.filter((key) => !last.includes(key)), ...last]) await objects.remove(`${id}/${key}`);
  }

  get #label(): string {
    return this.#options.objects.label;
  }

  async #keysOf(id: string): Promise<readonly string[]> {
    const keys: string[] = [];
    for await (const { key } of this.#options.objects.list(`${id}/`)) keys.push(key.slice(id.length + 1));
    return keys;
  }

  async #read(id: string, { keys, bytes: found }: Looked): Promise<Snapshot> {
    const bare = { id, manifest: null, owner: null, createdAt: timeOf(id), bytes: found };
    if (keys.has(REMOVING)) {
      const owner = await this.#ownerBy(`${id}/${REMOVING}`);
      return { ...bare, owner, state: 'deleting', detail: 'its removal was begun' };
    }
    if (!keys.has(MANIFEST)) {
      return { ...bare, owner: await this.#ownerBy(`${id}/${BEGUN}`), state: 'creating', detail: null };
    }
    try {
      const manifest = await this.#manifest(id);
      const { createdAt, bytes } = manifest;
      return { id, state: 'available', detail: null, manifest, owner: ownerIn(manifest), createdAt, bytes };
    } catch (error) {
      if (!isKind(error, 'refused')) throw error;
      const isForeign = error.cause === FOREIGN;
      return { ...bare, state: isForeign ? 'available' : 'failed', detail: messageOf(error) };
    }
  }

  /** What a file says that was put at the beginning, or at the end; null where it cannot be read, or is gone by now. */
  async #ownerBy(key: string): Promise<SnapshotOwner | null> {
    try {
      const name = `${this.#label}/${key}`;
      const { plan, identity, run } = parsed<SnapshotOwner>(await textOf(this.#options.objects.get(key), name), name);
      return [plan, identity, run].every((value) => typeof value === 'string') ? { plan, identity, run } : null;
    } catch (error) {
      if (!isKind(error, 'refused')) throw error;
      return null;
    }
  }

  async #manifest(id: string): Promise<Manifest & { readonly store: KeptObjects }> {
    const { objects, plan, key, kind } = this.#options;
    const name = `${this.#label}/${id}/${MANIFEST}`;
    const [head = '', text = ''] = (await textOf(objects.get(`${id}/${MANIFEST}`), name)).split('\n');
    const proof = parsed<Proof>(head, name);
    if (Number(proof.format) > FORMAT) throw tooNew(id, `the format ${proof.format} of its manifest`);
    const manifest = parsed<Manifest & { readonly store: KeptObjects }>(text, name);
    if (Number(manifest.format) > FORMAT) throw tooNew(id, `the format ${manifest.format} of its manifest`);
    if (manifest.plan?.name !== plan || manifest.kind !== kind) {
      throw new SwitchbackError('refused', `snapshot ${id} is a ${manifest.kind} of plan ${manifest.plan?.name}`, {
        remedy: `only a ${kind} of plan ${plan} is ours`,
        cause: FOREIGN,
      });
    }
    requireProof({ id, text, proof, key });
    if (manifest.id !== id) throw damaged(name, `it is that of ${manifest.id}`);
    return manifest;
  }
}

/** Throws kind `refused` for what only a store can do that keeps all changes, and not their ends alone. */
export const requireNoTime = ({ time }: Destination): void => {
  if (time === undefined) return;
  throw new SwitchbackError('refused', `nothing is kept here of the time ${time}, but only of each snapshot's own`, {
    remedy: 'restore a snapshot that was made before it, with --replay and --until where the changes are archived',
  });
};

/** Marks the error of a snapshot that is not ours. */
const FOREIGN = Symbol('foreign');

const isSnapshot = ({ keys }: Looked): boolean => keys.has(BEGUN) || keys.has(MANIFEST) || keys.has(REMOVING);

/** A run may begin while one is made, which stays the same database's. */
const isSame = (one: SnapshotOwner, other: SnapshotOwner): boolean =>
  one.plan === other.plan && one.identity === other.identity;

const notOf = ({ id, owner }: Snapshot, { plan, identity }: SnapshotOwner): SwitchbackError =>
  new SwitchbackError(
    'refused',
    `snapshot ${id} is of plan ${owner?.plan} and database ${owner?.identity}, not of ${plan} and ${identity}`,
    { remedy: 'let each database have a place of its own in `snapshots.to`, or each plan a name of its own' },
  );

const requireId = (id: string): void => {
  if (ID.test(id)) return;
  throw new SwitchbackError('refused', `${JSON.stringify(id)} is no name of a snapshot`, {
    remedy: 'see which there are: switchback snapshot list PLAN',
  });
};

/** The time in a name of ours; of others nobody knows. */
const timeOf = (id: string): string => {
  const [, y, mo, d, h, mi, s] = /-(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-[0-9a-f]+$/.exec(id) ?? [];
  return y === undefined ? '1970-01-01T00:00:00.000Z' : `${y}-${mo}-${d}T${h}:${mi}:${s}.000Z`;
};

const notAvailable = ({ id, state, detail }: Snapshot): SwitchbackError =>
  new SwitchbackError('refused', `snapshot ${id} is ${state}${detail === null ? '' : `: ${detail}`}`, {
    remedy: 'name one that is available: switchback snapshot list PLAN',
  });

const tooNew = (id: string, what: string): SwitchbackError =>
  new SwitchbackError('refused', `snapshot ${id} was made by a newer Switchback: ${what} is not known here`, {
    remedy: 'use the version that made it, or a later one',
  });
