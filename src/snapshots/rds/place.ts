import { SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Manifest } from '../../domain/snapshot.ts';
import type { Destination } from '../store.ts';
import type { StorePart } from './kind.ts';
import { PREFIX, tagList } from './manifest-tags.ts';
import { nameTaken } from './owned.ts';
import { type Compared, isSame, type Values } from './settings.ts';

/** What is restored, to where. */
export interface Restoration {
  readonly manifest: Manifest;
  readonly store: StorePart;
  /** ARN of the snapshot. */
  readonly snapshot: string;
  readonly into: Destination;
}

/** Where a restored place answers, and what it is not as the manifest has it. */
export interface Stood {
  readonly host: string;
  readonly port: number;
  readonly differences: readonly Finding[];
}

const [PLAN, IDENTITY, FROM, PURPOSE, TIME, DONE] = [
  'plan',
  'identity',
  'restored-from',
  'purpose',
  'time',
  'restored',
].map((name) => `${PREFIX}${name}`) as [string, string, string, string, string, string];

/** RDS keeps so many. */
const MOST_TAGS = 50;
/** The snapshot's own state, where no time was asked for. */
const OWN_STATE = 'of-the-snapshot';

const ours = ({ manifest, into }: Restoration): Readonly<Record<string, string>> => ({
  [PLAN]: manifest.plan.name,
  [IDENTITY]: manifest.identity,
  [FROM]: manifest.id,
  [PURPOSE]: into.purpose,
  [TIME]: into.time ?? OWN_STATE,
});

const OURS = 6;

/** The tags that a place is made with: the source's own, as many as there is room for, and ours. */
export const placeTags = (restoration: Restoration) =>
  tagList({
    ...Object.fromEntries(Object.entries(restoration.store.tags).slice(0, MOST_TAGS - OURS)),
    ...ours(restoration),
  });

/** Throws kind `refused` when what stands under the name is not this restoration's place. */
export const assertPlace = (what: string, tags: ReadonlyMap<string, string>, restoration: Restoration): void => {
  const wanted = Object.entries(ours(restoration));
  if (wanted.every(([key, value]) => tags.get(key) === value)) return;
  if (tags.get(PLAN) !== restoration.manifest.plan.name || tags.get(FROM) === undefined) throw nameTaken(what, tags);
  throw new SwitchbackError(
    'refused',
    `${what} is a place that was restored from ${tags.get(FROM)} for ${tags.get(PURPOSE)} (${tags.get(TIME)}), not from ${restoration.manifest.id} for ${restoration.into.purpose}`,
    { remedy: 'nothing of it was touched; choose another name, or remove that place first' },
  );
};

/** Whether everything has been done to a place. What somebody changes of it after that is not taken back by a rerun. */
export const isFinished = (tags: ReadonlyMap<string, string>): boolean => tags.has(DONE);

/** The tag of a place to which everything has been done. */
export const finishedTag = () => tagList({ [DONE]: 'yes' });

/** Statuses in which RDS gives up, and what may be done then. */
const GIVEN_UP: Readonly<Record<string, string>> = {
  failed: 'remove it, then run the command again',
  'restore-error': 'remove it, then run the command again',
  'incompatible-restore': 'remove it, then run the command again',
  'incompatible-parameters': 'mend its parameter group and reboot it, then run the command again',
  'incompatible-network': 'mend its subnet group or security groups, then run the command again',
  'incompatible-option-group': 'mend its option group, then run the command again',
  'inaccessible-encryption-credentials': 'let RDS use its KMS key again, then run the command again',
  'insufficient-capacity': 'wait until there is room for its class, then run the command again',
  'storage-full':
    'give it more storage: aws rds modify-db-instance --allocated-storage GIB, then run the command again',
};

/** Throws kind `refused` for a status that a place does not leave by itself, with what RDS says of it. */
export const assertComing = async (what: string, status: string, events: () => Promise<string>): Promise<void> => {
  const remedy = GIVEN_UP[status];
  if (remedy === undefined) return;
  const said = await events().catch(() => '');
  throw new SwitchbackError('refused', `${what} is ${status}${said === '' ? '' : `; RDS says: ${said}`}`, { remedy });
};

/** What stands otherwise than the manifest has it, by a table. */
export const differencesOf = <D>(
  subject: string,
  settings: readonly Compared<D>[],
  { wanted, stands }: { readonly wanted: Values; readonly stands: Values },
): readonly Finding[] =>
  settings
    .filter(({ name }) => Object.hasOwn(wanted, name) && !isSame(wanted[name], stands[name]))
    .map(({ name }) => differs(subject, name, { wanted: wanted[name], stands: stands[name] }));

/** One setting that is not as the manifest has it. */
export const differs = (
  subject: string,
  name: string,
  { wanted, stands }: { readonly wanted: unknown; readonly stands: unknown },
): Finding => ({
  id: 'snapshot/setting-differs',
  severity: 'warns',
  subject,
  fact: `${name} is ${JSON.stringify(stands ?? null)}, and was ${JSON.stringify(wanted ?? null)} when the snapshot was made`,
  remedy: 'set it by hand if it matters: aws rds modify-db-instance, or modify-db-cluster',
});

/** A change that RDS refused; the rest of the restore goes on. */
export const refusedChange = (subject: string, said: string): Finding => ({
  id: 'snapshot/setting-refused',
  severity: 'warns',
  subject,
  fact: `its settings were not all applied: ${said}`,
  remedy: 'apply by hand what is told as different',
});

/** What no restore brings back. */
export const notRestoredFindings = (subject: string, store: StorePart): readonly Finding[] => [
  ...store.notRestored.map(
    (what): Finding => ({
      id: 'snapshot/not-restored',
      severity: 'warns',
      subject,
      fact: `of the source: ${what}; that is not so of the restored place`,
      remedy: 'set it up by hand if it is needed there',
    }),
  ),
  ...(Object.keys(store.tags).length > MOST_TAGS - OURS
    ? [differs(subject, 'tags', { wanted: Object.keys(store.tags).length, stands: MOST_TAGS - OURS })]
    : []),
];

/** The refusal of a place that is gone although it was seen before. */
export const placeGone = (what: string): SwitchbackError =>
  new SwitchbackError('refused', `${what} was removed by somebody while it was restored`, {
    remedy: 'run the command again: it is restored anew',
  });

/** The refusal to remove what is protected, which only a finished restore is. */
export const isProtected = (what: string): SwitchbackError =>
  new SwitchbackError('refused', `${what} has deletion protection, as the source had: it may be in use by now`, {
    remedy: 'if it may really go, take its deletion protection off by hand, then run the command again',
  });
