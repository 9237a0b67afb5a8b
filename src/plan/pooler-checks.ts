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

/** The keys by which routers of a kind name what leads a phase: alone, and for each phase. */
interface EntryKeys {
  readonly kind: string;
  readonly one: string;
  readonly many: string;
  /** Whether each phase has one; otherwise it follows from other keys where there is none. */
  readonly isRequired: boolean;
}

const ENTRY_KEYS: readonly EntryKeys[] = [
  { kind: 'pgbouncer', one: 'database', many: 'databases', isRequired: true },
  { kind: 'haproxy', one: 'server', many: 'servers', isRequired: true },
  { kind: 'haproxy', one: 'frontend', many: 'frontends', isRequired: false },
];

/** What leads a phase: a pooler's entry, or a server or frontend of a proxy. */
interface Leads {
  readonly router: string;
  readonly phase: string;
  readonly entry: string;
  readonly path: Path;
}

const isMapping = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const leadsOf = (
  keys: EntryKeys,
  { name: router, settings }: { readonly name: string; readonly settings: { readonly [key: string]: Json } },
  users: readonly Led[],
): readonly Leads[] => {
  const { [keys.one]: one, [keys.many]: many } = settings;
  if (isMapping(many)) {
    return Object.entries(many).flatMap(([phase, entry]) =>
      typeof entry === 'string' ? [{ router, phase, entry, path: ['routers', router, keys.many, phase] }] : [],
    );
  }
  if (typeof one !== 'string') return [];
  return users.flatMap(({ name, index }) =>
    name === undefined ? [] : [{ router, phase: name, entry: one, path: ['phases', index, 'router'] }],
  );
};

const wordOf = ({ kind, one }: EntryKeys): string => (kind === 'pgbouncer' ? 'entry' : one);
const articled = (word: string): string => `${/^[aeiou]/.test(word) ? 'an' : 'a'} ${word}`;

/** Phases that would move together although they are switched one by one. Files are told apart by how they are written. */
const sharedEntries = (document: LocatedDocument, keys: EntryKeys, leads: readonly Leads[]): readonly Problem[] => {
  const fileOf = ({ router }: Leads): string => JSON.stringify(valueAt(document.value, ['routers', router, 'config']));
  return leads.flatMap((one, at) => {
    const other = leads.slice(0, at).find((l) => l.entry === one.entry && fileOf(l) === fileOf(one));
    if (other === undefined || other.phase === one.phase) return [];
    const what = `phase ${one.phase} would be led by the same ${wordOf(keys)} as phase ${other.phase}`;
    const remedy = `make them one phase, or give each ${articled(wordOf(keys))} of its own under \`${keys.many}\``;
    return [{ spot: document.spot(one.path), what, value: one.entry, remedy }];
  });
};

const misnamed = (
  document: LocatedDocument,
  { router, keys }: { readonly router: string; readonly keys: EntryKeys },
  users: readonly Led[],
): readonly Problem[] => {
  const path: Path = ['routers', router, keys.many];
  const where = path.join('.');
  const entries = valueAt(document.value, path);
  if (!isMapping(entries)) return [];
  const names = users.flatMap(({ name }) => name ?? []);
  const unknown = Object.keys(entries)
    .filter((name) => !names.includes(name))
    .map((name) => {
      const guess = nearest(name, names);
      return {
        spot: document.keySpot([...path, name]),
        what: `${where} names a phase that the router does not lead`,
        value: name,
        remedy: guess === null ? 'take it out' : `did you mean ${guess}`,
      };
    });
  if (!keys.isRequired) return unknown;
  const missing = names
    .filter((name) => !Object.hasOwn(entries, name))
    .map((name) => ({
      spot: document.keySpot(path),
      what: `${where} has no entry for phase ${name}`,
      remedy: `add ${name}: and the name of its ${wordOf(keys)}`,
    }));
  return [...unknown, ...missing];
};

/** Whether each phase that a pooler or a proxy leads has an entry of its own: an entry leads whoever uses it at one moment. */
export const poolerProblems = (document: LocatedDocument, phases: readonly Led[]): readonly Problem[] => {
  const routers = valueAt(document.value, ['routers']);
  if (!isMapping(routers)) return [];
  const usersOf = (name: string) => phases.filter((phase) => phase.router === name);
  return ENTRY_KEYS.flatMap((keys) => {
    const led = Object.entries(routers).flatMap(([name, settings]) =>
      isMapping(settings) && settings.kind === keys.kind ? [{ name, settings }] : [],
    );
    const leads = led.flatMap((router) => leadsOf(keys, router, usersOf(router.name)));
    const wrong = led.flatMap(({ name }) => misnamed(document, { router: name, keys }, usersOf(name)));
    return [...wrong, ...sharedEntries(document, keys, leads)];
  });
};
