import type { Json, LocatedDocument } from './document.ts';
import { valueAt } from './issues.ts';
import { nearest } from './nearest.ts';
import type { Path, Problem } from './problem.ts';

/** A phase's name and router as they are written. */
export interface Led {
  readonly index: number;
  readonly name: string | undefined;
  readonly router: string | undefined;
}

/** How a kind of router names what leads a phase: for one phase, for several, and the keys that tell equal names apart. */
interface EntryKeys {
  readonly one: string;
  readonly many: string;
  readonly of: readonly string[];
}

/** Kinds of routers that lead each phase by an entry of its own. */
const ENTRIES: Readonly<Record<string, EntryKeys>> = {
  pgbouncer: { one: 'database', many: 'databases', of: ['config'] },
  route53: { one: 'record', many: 'records', of: ['zone'] },
  'secrets-manager': { one: 'secret', many: 'secrets', of: ['region'] },
  ssm: { one: 'parameter', many: 'parameters', of: ['region'] },
};

/** A router with entries, as it is written. */
interface Entries {
  readonly name: string;
  readonly kind: string;
  readonly settings: { readonly [key: string]: Json };
  readonly keys: EntryKeys;
  readonly users: readonly Led[];
}

/** An entry that leads a phase. */
interface Leads {
  /** The kind of router, and within what the entry has its name. */
  readonly within: string;
  readonly phase: string;
  readonly entry: string;
  readonly path: Path;
}

const isMapping = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const leadsOf = ({ name, kind, settings, keys, users }: Entries): readonly Leads[] => {
  // Files and clusters are told apart by how they are written.
  const within = JSON.stringify([kind, ...keys.of.map((key) => settings[key])]);
  const { [keys.one]: one, [keys.many]: many } = settings;
  if (isMapping(many)) {
    return Object.entries(many).flatMap(([phase, entry]) =>
      typeof entry === 'string' ? [{ within, phase, entry, path: ['routers', name, keys.many, phase] }] : [],
    );
  }
  if (typeof one !== 'string') return [];
  return users.flatMap(({ name: phase, index }) =>
    phase === undefined ? [] : [{ within, phase, entry: one, path: ['phases', index, 'router'] }],
  );
};

/** Phases that would move together although they are switched one by one. */
const sharedEntries = (document: LocatedDocument, all: readonly Entries[]): readonly Problem[] => {
  const leads = all.flatMap((entries) => leadsOf(entries).map((lead) => ({ ...lead, many: entries.keys.many })));
  return leads.flatMap((one, at) => {
    const other = leads.slice(0, at).find((l) => l.entry === one.entry && l.within === one.within);
    if (other === undefined || other.phase === one.phase) return [];
    const what = `phase ${one.phase} would be led by the same entry as phase ${other.phase}`;
    const remedy = `make them one phase, or give each an entry of its own under \`${one.many}\``;
    return [{ spot: document.spot(one.path), what, value: one.entry, remedy }];
  });
};

const misnamed = (document: LocatedDocument, { name: router, keys, users }: Entries): readonly Problem[] => {
  const place = `routers.${router}.${keys.many}`;
  const path = ['routers', router, keys.many];
  const named = valueAt(document.value, path);
  if (!isMapping(named)) return [];
  const names = users.flatMap(({ name }) => name ?? []);
  const unknown = Object.keys(named)
    .filter((name) => !names.includes(name))
    .map((name) => {
      const guess = nearest(name, names);
      return {
        spot: document.keySpot([...path, name]),
        what: `${place} names a phase that the router does not lead`,
        value: name,
        remedy: guess === null ? 'take it out' : `did you mean ${guess}`,
      };
    });
  const missing = names
    .filter((name) => !Object.hasOwn(named, name))
    .map((name) => ({
      spot: document.keySpot(path),
      what: `${place} has no entry for phase ${name}`,
      remedy: `add ${name}: and the name of its entry`,
    }));
  return [...unknown, ...missing];
};

/** Whether each phase that is led by entries has one of its own: an entry leads whoever uses it at one moment. */
export const entryProblems = (document: LocatedDocument, phases: readonly Led[]): readonly Problem[] => {
  const routers = valueAt(document.value, ['routers']);
  if (!isMapping(routers)) return [];
  const all = Object.entries(routers).flatMap(([name, settings]): readonly Entries[] => {
    if (!isMapping(settings)) return [];
    const kind = String(settings.kind);
    const keys = Object.hasOwn(ENTRIES, kind) ? ENTRIES[kind] : undefined;
    if (keys === undefined) return [];
    return [{ name, kind, settings, keys, users: phases.filter((phase) => phase.router === name) }];
  });
  return [...all.flatMap((entries) => misnamed(document, entries)), ...sharedEntries(document, all)];
};
