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
  /** A phase may have none: then it follows from other keys. */
  readonly isOptional?: boolean;
}

/** Of kinds of routers that lead each phase by something of its own. */
const ENTRIES: readonly EntryKeys[] = [
  { kind: 'pgbouncer', one: 'database', many: 'databases', what: 'entry', of: ['config'] },
  { kind: 'haproxy', one: 'server', many: 'servers', what: 'server', of: ['config'] },
  { kind: 'haproxy', one: 'frontend', many: 'frontends', what: 'frontend', of: ['config'], isOptional: true },
  { kind: 'route53', one: 'record', many: 'records', what: 'record', of: ['zone'] },
  { kind: 'secrets-manager', one: 'secret', many: 'secrets', what: 'secret', of: ['region'] },
  { kind: 'ssm', one: 'parameter', many: 'parameters', what: 'parameter', of: ['region'] },
  { kind: 'kubernetes', one: 'object', many: 'objects', what: 'object', of: ['kubeconfig', 'context', 'namespace'] },
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

/** An entry that leads a phase. */
interface Leads {
  /** Within what the entry has its name. Files, zones and clusters are told apart by how they are written. */
  readonly within: string;
  readonly phase: string;
  readonly entry: string;
  readonly path: Path;
}

const leadsOf = (keys: EntryKeys, { name, settings, users }: Entries): readonly Leads[] => {
  const within = JSON.stringify(keys.of.map((key) => settings[key]));
  const { [keys.one]: one, [keys.many]: many } = settings;
  if (isMapping(many)) {
    return Object.entries(many).flatMap(([phase, entry]) =>
      typeof entry === 'string' ? [{ within, phase, entry, path: ['routers', name, keys.many, phase] }] : [],
    );
  }
  if (typeof one !== 'string') return [];
  return users.flatMap(({ name: phase, routers }) => {
    const path = routers.find((router) => router.name === name)?.path;
    return phase === undefined || path === undefined ? [] : [{ within, phase, entry: one, path }];
  });
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
  const keys = ENTRIES.find(({ kind }) => kind === settings.kind);
  const entry = keys && (settings[keys.one] ?? valueAt(settings, [keys.many, phase]));
  if (keys === undefined || entry === undefined) return undefined;
  return JSON.stringify([keys.kind, ...keys.of.map((key) => settings[key]), entry]);
};

const articled = (word: string): string => `${/^[aeiou]/.test(word) ? 'an' : 'a'} ${word}`;

/** Phases that would move together although they are switched one by one. */
const sharedEntries = (document: LocatedDocument, keys: EntryKeys, leads: readonly Leads[]): readonly Problem[] =>
  leads.flatMap((one, at) => {
    const other = leads.slice(0, at).find((l) => l.entry === one.entry && l.within === one.within);
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
      return misnamedPhases(document, ['routers', name, keys.many], { ...keys, led });
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
