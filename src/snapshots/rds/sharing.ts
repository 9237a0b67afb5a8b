import { SwitchbackError } from '../../domain/errors.ts';
import type { WaitOptions } from '../store.ts';
import type { RdsApi } from './api.ts';
import { eventsOf } from './events.ts';
import type { Held, SnapshotKind } from './kind.ts';
import { tagList } from './manifest-tags.ts';
import { isTaken } from './meanings.ts';
import { nameTaken, type Owner, readingFor, stateOf } from './owned.ts';
import { beginOnce, waitFor } from './waiting.ts';

/** Where else a snapshot goes, as the plan has it. */
export interface Sharing {
  readonly copyTo: readonly { readonly region: string; readonly kmsKey: string | null }[];
  /** Numbers of accounts. */
  readonly shareWith: readonly string[];
}

/** A snapshot of ours, with where it is and how it is asked for. */
export interface Kept {
  readonly api: RdsApi;
  readonly kind: SnapshotKind;
  readonly owner: Owner;
}

const withoutKey = (region: string): SwitchbackError =>
  new SwitchbackError('refused', `the snapshot is encrypted, and \`copy_to\` names no key of ${region}`, {
    remedy: `give that entry a \`kms_key\` of ${region}: a key is of one region`,
  });

const ofItself = (region: string): SwitchbackError =>
  new SwitchbackError('refused', `\`copy_to\` names ${region}, where the snapshot itself is`, {
    remedy: 'take it out: a copy is kept in another region, under the same name',
  });

const ofDefaultKey = (key: string): SwitchbackError =>
  new SwitchbackError('refused', `a snapshot that is encrypted with ${key}, a default key of AWS, cannot be shared`, {
    remedy:
      'give an entry of `copy_to` a `kms_key` of your own, whose copy is shared then; or move the source to a key of your own; or leave `share_with` out',
  });

/** Whether a key can be given to other accounts; no key can. */
const isShareable = async (api: RdsApi, key: string | null): Promise<boolean> =>
  key === null || (await api.managerOf(key)) !== 'AWS';

/** Which of a snapshot with that key and of its copies other accounts can be given. Throws kind `refused` where the plan's wish cannot be met. */
export const shareable = async (
  api: RdsApi,
  key: string | null,
  { copyTo, shareWith }: Sharing,
): Promise<{ readonly itself: boolean; readonly copies: readonly string[] }> => {
  const home = await api.region();
  if (copyTo.some(({ region }) => region === home)) throw ofItself(home);
  const without = copyTo.find(({ kmsKey }) => key !== null && kmsKey === null);
  if (without !== undefined) throw withoutKey(without.region);
  if (shareWith.length === 0) return { itself: false, copies: [] };
  const itself = await isShareable(api, key);
  const copies: string[] = [];
  for (const { region, kmsKey } of copyTo) {
    if (await isShareable(api.in(region), kmsKey)) copies.push(region);
  }
  if (!itself && copies.length === 0) throw ofDefaultKey(String(key));
  return { itself, copies };
};

/** Waits until RDS has made a snapshot. Throws kind `refused` when it failed, with what RDS says of it. */
export const whenMade = async ({ api, kind }: Kept, id: string, options: WaitOptions): Promise<Held> => {
  const events = () => eventsOf(api, kind.events.snapshot, id);
  const made = await waitFor(
    api,
    {
      what: `snapshot ${id}`,
      events,
      look: async () => {
        const held = await kind.find(api, id);
        if (held?.status === 'available') return { done: true, value: held };
        if (held === null || stateOf(held.status) !== 'creating') throw await lost(id, held, events);
        return { done: false, state: held.status, percent: held.percent };
      },
    },
    options,
  );
  options.progress({ text: `snapshot ${id} is available in ${await api.region()}`, percent: 100 });
  return made;
};

const lost = async (id: string, held: Held | null, events: () => Promise<string>): Promise<SwitchbackError> => {
  const said = await events().catch(() => '');
  const what = held === null ? 'was removed by somebody while it was made' : `is ${held.status}`;
  return new SwitchbackError('refused', `snapshot ${id} ${what}${said === '' ? '' : `; RDS says: ${said}`}`, {
    remedy: `remove what is left of it by hand, then run the command again: it is made anew`,
  });
};

/** Copies a snapshot to a region, or goes on with a copy that was begun. */
const copyTo = async (
  { kind, owner, api }: Kept,
  held: Held,
  { kmsKey, options }: { readonly kmsKey: string | null; readonly options: WaitOptions },
): Promise<void> => {
  const find = () => kind.find(api, held.id);
  const tags = tagList(Object.fromEntries(held.tags));
  const copy =
    (await find()) ??
    (await beginOnce(api, () => kind.copy(api, { from: held.arn, id: held.id, kmsKey, tags }), { find, isTaken }));
  if (readingFor(owner, copy).kind !== 'whole')
    throw nameTaken(`snapshot ${held.id} in ${await api.region()}`, copy.tags);
  await whenMade({ kind, owner, api }, held.id, options);
};

/** Makes the copies of a snapshot that is whole, and gives it to other accounts; what was done already is found. */
export const spread = async (
  kept: Kept,
  held: Held,
  { sharing, options }: { readonly sharing: Sharing; readonly options: WaitOptions },
): Promise<void> => {
  const { itself, copies } = await shareable(kept.api, held.key, sharing);
  if (itself) await kept.kind.share(kept.api, held.id, sharing.shareWith);
  for (const { region, kmsKey } of sharing.copyTo) {
    const there = { ...kept, api: kept.api.in(region) };
    await copyTo(there, held, { kmsKey, options });
    if (copies.includes(region)) await there.kind.share(there.api, held.id, sharing.shareWith);
  }
};
