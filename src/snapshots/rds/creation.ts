import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import type { CreateSnapshot, WaitOptions } from '../store.ts';
import { eventsOf } from './events.ts';
import type { Held, Source } from './kind.ts';
import { type Begun, tagList, tagsToBegin, tagToEnd } from './manifest-tags.ts';
import { isTaken } from './meanings.ts';
import { availableManifest, nameTaken, readingFor } from './owned.ts';
import { type Kept, type Sharing, shareable, spread, whenMade } from './sharing.ts';
import { beginOnce, waitFor } from './waiting.ts';

/** What a creation needs to know besides what is asked for. */
export interface Creation {
  readonly kept: Kept;
  /** Identifier of the instance or cluster. */
  readonly source: string;
  readonly sharing: Sharing;
  /** Where the source's history stands now. */
  readonly head: () => Promise<Position>;
}

/** RDS makes snapshots of sources in these states. */
const FIT: readonly string[] = ['available', 'storage-optimization'];
/** What a source does not leave by itself. */
const UNFIT: Readonly<Record<string, string>> = {
  'storage-full': 'give it more storage: aws rds modify-db-instance --allocated-storage GIB --apply-immediately',
  stopped: 'start it: aws rds start-db-instance, or start-db-cluster',
  failed: 'see its events; a snapshot that was made before can still be restored',
  'inaccessible-encryption-credentials': 'let RDS use its KMS key again',
  'incompatible-parameters': 'mend its parameter group',
  'incompatible-network': 'mend its network',
  deleting: 'nothing can be made of what is being removed; see its snapshots: switchback snapshot list PLAN',
};

/** What keeps snapshots from being made of a source in that status, or null. */
export const unfitness = (status: string): { readonly fact: string; readonly remedy: string } | null => {
  const remedy = UNFIT[status];
  return remedy === undefined ? null : { fact: `RDS says that it is ${status}`, remedy };
};

/** Reads the source. Throws kind `refused` when there is none that snapshots could be made of. */
export const readSource = async ({ kept, source }: Pick<Creation, 'kept' | 'source'>): Promise<Source> => {
  const found = await kept.kind.source(kept.api, source);
  if (found === null) {
    throw new SwitchbackError('refused', `there is no ${kept.kind.kind} ${source} in ${await kept.api.region()}`, {
      remedy: `correct \`${kept.kind.kind}\` or \`region\` in the plan's \`snapshots\`, or the account whose credentials are used`,
    });
  }
  const engine = found.store.values.engine;
  if (kept.kind.kind === 'instance' || String(engine).startsWith('aurora')) return found;
  throw new SwitchbackError(
    'refused',
    `cluster ${source} is of engine ${engine}, and only clusters of Aurora are known`,
    {
      remedy: 'make snapshots of it by `store: pg_dump`',
    },
  );
};

const whenFit = async (creation: Creation, options: WaitOptions): Promise<Source> => {
  const { kept, source } = creation;
  return await waitFor(
    kept.api,
    {
      what: `${kept.kind.kind} ${source}`,
      events: () => eventsOf(kept.api, kept.kind.events.source, source),
      look: async () => {
        const found = await readSource(creation);
        const unfit = unfitness(found.status);
        if (unfit !== null) throw new SwitchbackError('refused', `${source}: ${unfit.fact}`, { remedy: unfit.remedy });
        if (FIT.includes(found.status)) return { done: true, value: found };
        return { done: false, state: found.status, percent: null };
      },
    },
    options,
  );
};

/** Begins it: what it says of lanes is read before, so that it is never further than what the snapshot holds. */
const begin = async (creation: Creation, { basis, look }: CreateSnapshot, options: WaitOptions): Promise<Held> => {
  const { kept, sharing } = creation;
  const source = await whenFit(creation, options);
  await shareable(kept.api, source.key, sharing);
  const atLeast = await creation.head();
  // How far it may reach is known only when it stands.
  const { lanes, digests } = await look(null, { atLeast, atMost: atLeast }, options.signal);
  const store = { ...source.store, copies: sharing.copyTo.map(({ region }) => region) };
  const tags = tagList(tagsToBegin({ ...basis, lanes, digests, store, atLeast }));
  const find = () => kept.kind.find(kept.api, basis.id);
  const make = () => kept.kind.make(kept.api, { id: basis.id, source: creation.source, tags });
  return await beginOnce(kept.api, make, { find, isTaken });
};

/** Writes what is known only now that RDS has made it. */
const close = async ({ kept, head }: Creation, held: Held, begun: Begun): Promise<void> => {
  const ended = { atMost: await head(), createdAt: held.createdAt, bytes: held.bytes };
  await kept.api.call('AddTagsToResource', held.id, {
    ResourceName: held.arn,
    Tags: tagList(tagToEnd(begun, ended)),
  });
};

/**
 * Makes a snapshot, or goes on where an earlier call was: begun, made by RDS, closed, copied, shared. Every step is looked up at
 * AWS before it is taken, under the identifier that was chosen before the first.
 */
export const create = async (creation: Creation, spec: CreateSnapshot, options: WaitOptions): Promise<Held> => {
  const { kept, sharing } = creation;
  const { id, identity } = spec.basis;
  const begun = (await kept.kind.find(kept.api, id)) ?? (await begin(creation, spec, options));
  if (readingFor({ ...kept.owner, identity }, begun).kind === 'foreign') throw nameTaken(`snapshot ${id}`, begun.tags);
  const held = await whenMade(kept, id, options);
  const reading = readingFor(kept.owner, held);
  if (reading.kind === 'begun') await close(creation, held, reading.begun);
  const whole = reading.kind === 'begun' ? await whenClosed(kept, id, options) : held;
  availableManifest(kept.owner, whole);
  await spread(kept, whole, { sharing, options });
  return whole;
};

/** Tags may be seen a little after they were written. */
const whenClosed = async ({ api, kind, owner }: Kept, id: string, options: WaitOptions): Promise<Held> =>
  await waitFor(
    api,
    {
      what: `the manifest of snapshot ${id}`,
      events: () => eventsOf(api, kind.events.snapshot, id),
      look: async () => {
        const held = await kind.find(api, id);
        if (held !== null && readingFor(owner, held).kind === 'whole') return { done: true, value: held };
        return { done: false, state: 'not seen with its tags yet', percent: null };
      },
    },
    options,
  );
