import { SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Position } from '../../domain/position.ts';
import type { CreateSnapshot, Destination, RestoredPlace, Snapshot, SnapshotStore, WaitOptions } from '../store.ts';
import { RdsApi } from './api.ts';
import { clusterSnapshots } from './cluster-snapshots.ts';
import { type Creation, create } from './creation.ts';
import { eventsOf } from './events.ts';
import { storeFindings } from './findings.ts';
import { instanceSnapshots } from './instance-snapshots.ts';
import type { Held } from './kind.ts';
import { isAbsent } from './meanings.ts';
import { availableManifest, type Owner, readingFor, snapshotOf, storePartOf } from './owned.ts';
import { PACE, type Pace } from './pace.ts';
import { assertPlace, type Restoration } from './place.ts';
import { removeCluster, removeInstance } from './removal.ts';
import { restoreCluster } from './restore-cluster.ts';
import { restoreInstance } from './restore-instance.ts';
import type { Kept, Sharing } from './sharing.ts';
import { waitFor } from './waiting.ts';

/** How snapshots by RDS are set up. */
export interface RdsStoreOptions extends Sharing {
  /** The source: an instance that is no cluster's, or an Aurora cluster, by its identifier. */
  readonly of: { readonly kind: 'instance' | 'cluster'; readonly id: string };
  /** Null: the environment tells. */
  readonly region: string | null;
  readonly owner: Owner;
  /** Connection URL of the source: that of a restored place has its host and port in the place of these. */
  readonly url: string;
  /** Where the source's history stands now. Asked twice for each snapshot, before and after RDS makes it. */
  readonly head: () => Promise<Position>;
  readonly pace?: Pace;
}

/**
 * Snapshots that RDS makes and keeps, of an instance or of an Aurora cluster. Everything that is known of one is in its tags, see
 * `tagsToBegin`; what stands restored carries tags by which it is found again. No waiter of the SDK's is used: what is waited for
 * is looked at by its identifier, so that any process can go on with it.
 */
export class RdsStore implements SnapshotStore {
  readonly #options: RdsStoreOptions;
  readonly #kept: Kept;

  constructor(options: RdsStoreOptions) {
    this.#options = options;
    this.#kept = {
      api: new RdsApi({ region: options.region, pace: options.pace ?? PACE }),
      kind: options.of.kind === 'instance' ? instanceSnapshots : clusterSnapshots,
      owner: options.owner,
    };
  }

  async findings(): Promise<readonly Finding[]> {
    return await storeFindings(this.#creation(this.#kept), this.#options.url);
  }

  async create(spec: CreateSnapshot, options: WaitOptions): Promise<Snapshot> {
    const kept = this.#until(options);
    return snapshotOf(kept.owner, await create(this.#creation(kept), spec, options));
  }

  async list(): Promise<readonly Snapshot[]> {
    const { api, kind, owner } = this.#kept;
    const all = await kind.list(api, this.#options.of.id);
    return all
      .map((held) => snapshotOf(owner, held))
      .toSorted((a, b) => (a.createdAt === b.createdAt ? 0 : a.createdAt < b.createdAt ? 1 : -1));
  }

  async restore(id: string, into: Destination, options: WaitOptions): Promise<RestoredPlace> {
    assertNoChoice(into);
    const kept = this.#until(options);
    const held = await this.#existing(kept, id);
    const manifest = availableManifest(kept.owner, held);
    const store = storePartOf(manifest);
    if (store.kind !== kept.kind.kind) throw ofOtherKind(id, store.kind);
    assertName(into.name);
    assertBeside(into.name, [store.source.id, this.#options.of.id]);
    const restoration: Restoration = { manifest, store, snapshot: id, into };
    const restore = store.kind === 'instance' ? restoreInstance : restoreCluster;
    options.progress({ text: `${store.kind} ${into.name} is restored from snapshot ${id}`, percent: null });
    const { host, port, differences } = await restore(kept.api, restoration, options);
    return {
      url: urlAt(this.#options.url, host, port),
      differences,
      remove: async (waiting) => await this.#removePlace(restoration, waiting),
    };
  }

  async removePlace(id: string, from: Destination, options: WaitOptions): Promise<void> {
    const kept = this.#until(options);
    const manifest = availableManifest(kept.owner, await this.#existing(kept, id));
    await this.#removePlace({ manifest, store: storePartOf(manifest), snapshot: id, into: from }, options);
  }

  async remove(id: string, options: WaitOptions): Promise<void> {
    const kept = this.#until(options);
    const held = await kept.kind.find(kept.api, id);
    // One that RDS is removing is waited for.
    const isThere = held !== null && held.status !== 'deleting';
    const known = isThere ? storePartOf(availableManifest(kept.owner, held)).copies : [];
    const regions = new Set([...known, ...this.#options.copyTo.map(({ region }) => region)]);
    regions.delete(await kept.api.region());
    // Copies first: while the snapshot is there, a rerun knows of them.
    for (const region of regions)
      await removeSnapshot({ ...kept, api: kept.api.in(region), isCopy: true }, id, options);
    await removeSnapshot(kept, id, options);
  }

  async #removePlace({ store, into, ...about }: Restoration, options: WaitOptions): Promise<void> {
    const remove = store.kind === 'instance' ? removeInstance : removeCluster;
    const assert = (tags: ReadonlyMap<string, string>) =>
      assertPlace(`${store.kind} ${into.name}`, tags, { store, into, ...about });
    await remove(this.#until(options).api, into.name, { assert, options });
  }

  async #existing({ api, kind }: Kept, id: string): Promise<Held> {
    const held = await kind.find(api, id);
    if (held !== null) return held;
    throw new SwitchbackError('refused', `there is no snapshot ${id} of a ${kind.kind} in ${await api.region()}`, {
      remedy: 'choose one of this plan: switchback snapshot list PLAN; copies are in the regions of `copy_to`',
    });
  }

  #until({ signal }: WaitOptions): Kept {
    return { ...this.#kept, api: this.#kept.api.until(signal) };
  }

  #creation(kept: Kept): Creation {
    return { kept, source: this.#options.of.id, sharing: this.#options, head: this.#options.head };
  }
}

const ofOtherKind = (id: string, kind: string): SwitchbackError =>
  new SwitchbackError('refused', `snapshot ${id} is of a ${kind}`, {
    remedy: `name the ${kind} in the plan's \`snapshots\``,
  });

/** RDS makes an instance or a cluster of a name; a database that somebody names cannot be made into it. */
const assertNoChoice = ({ at, name }: Destination): void => {
  if (at === null) return;
  throw new SwitchbackError('usage', 'RDS restores to an instance or a cluster of its own, nowhere else', {
    remedy: `leave --into or --at out: it will be ${name}, beside the source, and its URL is told`,
  });
};

/** Of 63 characters that RDS takes three are left to the instances of a cluster. */
const NAME = /^(?!.*--)[a-z]([a-z0-9-]{0,58}[a-z0-9])?$/;

const assertName = (name: string): void => {
  if (NAME.test(name)) return;
  throw new SwitchbackError('usage', `${name} is no name that RDS takes for a restored place`, {
    remedy: 'write small letters, digits and single hyphens, a letter first and no hyphen last, 60 characters at most',
  });
};

/** AWS would refuse the name of what stands; that of a source which is gone is refused by us. */
const assertBeside = (name: string, sources: readonly string[]): void => {
  if (!sources.includes(name)) return;
  throw new SwitchbackError('refused', `${name} is the source's own name: a restore goes beside it, never over it`, {
    remedy: 'choose another name',
  });
};

/** Removes one snapshot of ours, with its manifest whole, and waits until it is gone. A copy that has failed is nothing to lose. */
const removeSnapshot = async (
  { api, kind, owner, isCopy = false }: Kept & { readonly isCopy?: boolean },
  id: string,
  options: WaitOptions,
): Promise<void> => {
  await waitFor(
    api,
    {
      what: `snapshot ${id}`,
      events: () => eventsOf(api, kind.events.snapshot, id),
      look: async () => {
        const held = await kind.find(api, id);
        if (held === null) return { done: true, value: null };
        if (held.status === 'deleting') return { done: false, state: held.status, percent: null };
        const isNothing = isCopy && held.status === 'failed' && readingFor(owner, held).kind === 'whole';
        if (!isNothing) availableManifest(owner, held);
        await kind.remove(api, id).catch((error: unknown) => {
          if (!isAbsent(error)) throw error;
        });
        return { done: false, state: held.status, percent: null };
      },
    },
    options,
  );
};

/** The source's URL with another host and port. As parameters they would win, and lead to the source itself. */
export const urlAt = (source: string, host: string, port: number): string => {
  const url = new URL(source);
  for (const name of ['host', 'port']) url.searchParams.delete(name);
  url.hostname = host;
  url.port = String(port);
  return url.toString();
};
