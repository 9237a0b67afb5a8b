import type { Json, LocatedDocument } from './document.ts';
import { valueAt } from './issues.ts';
import { isMapping, misnamedPhases } from './phase-keys.ts';
import type { Path, Problem } from './problem.ts';

/** A phase's name and routers as they are written, and where each router is named. */
export interface Led {
  readonly name: string | undefined;
  readonly routers: readonly { readonly name: string; readonly path: Path }[];
}

/** How a kind of router names what leads a phase: for one phase, and for several. */
interface EntryKeys {
  readonly kind: string;
  readonly one: string;
  readonly many: string;
  /** What it is, in a sentence. */
  readonly what: string;
  /** The keys within which equal names are the same one. */
  readonly of: readonly string[];
  /** A phase may have none: then it follows from what is under these keys. */
  readonly otherwise?: Otherwise;
  /** A name in one spelling, where several are the same one. */
  readonly spelled?: (entry: string) => string;
  /** Where the router keeps its mark of a phase, when that is something with room for one mark of a phase alone. */
  readonly mark?: Marked;
}

interface Otherwise {
  readonly one: string;
  readonly many: string;
  readonly from: (entry: string) => string;
}

interface Marked {
  /** What it is, in a sentence. */
  readonly what: string;
  readonly from: (entry: string) => string;
}

/** A DNS name as src/routers/aws/records.ts compares it: capitals and the root at its end say nothing. */
const dnsName = (name: string): string => name.toLowerCase().replace(/\.$/, '');

/** A frontend that is not written has the backend's name of `backend/server`. */
const OF_BACKEND: Otherwise = { one: 'server', many: 'servers', from: (entry) => entry.replace(/\/.*$/, '') };

/** Annotations of an object are called after the phase, whatever its key is. */
const IN_OBJECT: Marked = { what: 'object', from: (entry) => entry.split('/').slice(0, 2).join('/') };

/** The TXT record of a mark is called after the record's name, whatever its type is. */
const BESIDE_NAME: Marked = { what: 'name of a record', from: dnsName };

/** Of kinds of routers that lead each phase by something of its own. */
const ENTRIES: readonly EntryKeys[] = [
  { kind: 'pgbouncer', one: 'database', many: 'databases', what: 'entry', of: ['config'] },
  { kind: 'haproxy', one: 'server', many: 'servers', what: 'server', of: ['config'] },
  { kind: 'haproxy', one: 'frontend', many: 'frontends', what: 'frontend', of: ['config'], otherwise: OF_BACKEND },
  {
    kind: 'route53',
    one: 'record',
    many: 'records',
    what: 'record',
    of: ['zone'],
    spelled: dnsName,
    mark: BESIDE_NAME,
  },
  { kind: 'secrets-manager', one: 'secret', many: 'secrets', what: 'secret', of: ['region'] },
  { kind: 'ssm', one: 'parameter', many: 'parameters', what: 'parameter', of: ['region'] },
  {
    kind: 'kubernetes',
    one: 'object',
    many: 'objects',
    what: 'object',
    of: ['kubeconfig', 'context', 'namespace'],
    mark: IN_OBJECT,
  },
];

/** Kinds that have a place for each phase by its name, and the keys that tell where: two of the same change the same. */
const WHOLE: ReadonlyMap<string, readonly string[]> = new Map([
  ['file', ['path']],
  ['etcd', ['endpoints', 'prefix']],
]);

/** A router with entries, as it is written. */
interface Entries {
  readonly name: string;
  readonly settings: { readonly [key: string]: Json };
  readonly users: readonly Led[];
}

/** An entry that leads a phase, and where it is written. */
interface Written {
  readonly phase: string;
  readonly entry: string;
  readonly path: Path;
}

interface Leads extends Written {
  /** Equal for entries that are the same one. Files, zones and clusters are told apart by how they are written. */
  readonly id: string;
}

const writtenOf = (keys: Pick<EntryKeys, 'one' | 'many'>, { name, settings, users }: Entries): readonly Written[] => {
  const { [keys.one]: one, [keys.many]: many } = settings;
  if (isMapping(many)) {
    return Object.entries(many).flatMap(([phase, entry]) =>
      typeof entry === 'string' ? [{ phase, entry, path: ['routers', name, keys.many, phase] }] : [],
    );
  }
  if (typeof one !== 'string') return [];
  return users.flatMap(({ name: phase, routers }) => {
    const path = routers.find((router) => router.name === name)?.path;
    return phase === undefined || path === undefined ? [] : [{ phase, entry: one, path }];
  });
};

/** Entries that are not written and follow from others. */
const impliedOf = ({ otherwise }: EntryKeys, entries: Entries, written: readonly Written[]): readonly Written[] =>
  otherwise === undefined
    ? []
    : writtenOf(otherwise, entries)
        .filter(({ phase }) => !written.some((one) => one.phase === phase))
        .map((other) => ({ ...other, entry: otherwise.from(other.entry) }));

const idOf = ({ kind, of, spelled }: EntryKeys, settings: Entries['settings'], entry: string): string =>
  JSON.stringify([kind, ...of.map((key) => settings[key]), spelled?.(entry) ?? entry]);

const leadsOf = (keys: EntryKeys, entries: Entries): readonly Leads[] => {
  const written = writtenOf(keys, entries);
  return [...written, ...impliedOf(keys, entries, written)].map((one) => ({
    ...one,
    id: idOf(keys, entries.settings, one.entry),
  }));
};

/** The entry by which a router leads a phase. */
const entryOf = (settings: Entries['settings'], phase: string) => {
  const keys = ENTRIES.find(({ kind }) => kind === settings.kind);
  const entry = keys && (settings[keys.one] ?? valueAt(settings, [keys.many, phase]));
  return keys === undefined || typeof entry !== 'string' ? undefined : { keys, entry };
};

/**
 * What a router changes to lead a phase, as far as its settings tell: equal for two that change the same. Undefined for a router
 * of which they do not.
 */
export const ledBy = (document: LocatedDocument, router: string, phase: string): string | undefined => {
  const settings = valueAt(document.value, ['routers', router]);
  if (!isMapping(settings)) return undefined;
  const whole = WHOLE.get(String(settings.kind));
  if (whole !== undefined) return JSON.stringify([settings.kind, ...whole.map((key) => settings[key])]);
  const found = entryOf(settings, phase);
  return found && idOf(found.keys, settings, found.entry);
};

/** Where a router keeps its mark of a phase. */
export interface MarkPlace {
  /** Equal for the same place. */
  readonly id: string;
  /** What it is, in a sentence, and its name. */
  readonly what: string;
  readonly name: string;
}

/** Where a router keeps its mark of a phase, when there is room for the mark of one router alone; else undefined. */
export const markedBy = (document: LocatedDocument, router: string, phase: string): MarkPlace | undefined => {
  const settings = valueAt(document.value, ['routers', router]);
  const found = isMapping(settings) ? entryOf(settings, phase) : undefined;
  if (!isMapping(settings) || found?.keys.mark === undefined) return undefined;
  const { what, from } = found.keys.mark;
  const name = from(found.entry);
  return { id: idOf(found.keys, settings, name), what, name };
};

/** A word with its article. */
export const articled = (word: string): string => `${/^[aeiou]/.test(word) ? 'an' : 'a'} ${word}`;

/** Phases that would move together although they are switched one by one. */
const sharedEntries = (document: LocatedDocument, keys: EntryKeys, leads: readonly Leads[]): readonly Problem[] =>
  leads.flatMap((one, at) => {
    const other = leads.slice(0, at).find(({ id }) => id === one.id);
    if (other === undefined || other.phase === one.phase) return [];
    const what = `phase ${one.phase} would be led by the same ${keys.what} as phase ${other.phase}`;
    const remedy = `make them one phase, or give each ${articled(keys.what)} of its own under \`${keys.many}\``;
    return [{ spot: document.spot(one.path), what, value: one.entry, remedy }];
  });

/** Whether each phase that is led by entries has one of its own: an entry leads whoever uses it at one moment. */
export const entryProblems = (document: LocatedDocument, phases: readonly Led[]): readonly Problem[] => {
  const routers = valueAt(document.value, ['routers']);
  if (!isMapping(routers)) return [];
  return ENTRIES.flatMap((keys) => {
    const all = Object.entries(routers).flatMap(([name, settings]): readonly Entries[] =>
      isMapping(settings) && settings.kind === keys.kind
        ? [{ name, settings, users: phases.filter(({ routers: own }) => own.some((one) => one.name === name)) }]
        : [],
    );
    const misnamed = all.flatMap(({ name, users }) => {
      const led = users.flatMap((user) => user.name ?? []);
      return misnamedPhases(document, ['routers', name, keys.many], {
        ...keys,
        isOptional: keys.otherwise !== undefined,
        led,
      });
    });
    return [
      ...misnamed,
      ...sharedEntries(
        document,
        keys,
        all.flatMap((entries) => leadsOf(keys, entries)),
      ),
    ];
  });
};
