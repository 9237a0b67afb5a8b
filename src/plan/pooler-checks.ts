import type { Json, LocatedDocument } from './document.ts';
import { valueAt } from './issues.ts';
import { nearest } from './nearest.ts';
import type { NamedRouter } from './phase-routers.ts';
import type { Path, Problem } from './problem.ts';

/** A phase's name and routers as they are written. */
export interface Led {
  readonly index: number;
  readonly name: string | undefined;
  readonly routers: readonly NamedRouter[];
}

/** A pooler's entry that leads a phase. */
interface Leads {
  readonly router: string;
  readonly phase: string;
  readonly database: string;
  readonly path: Path;
}

const isMapping = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const leadsOf = (
  router: string,
  settings: { readonly [key: string]: Json },
  users: readonly Led[],
): readonly Leads[] => {
  const { database, databases } = settings;
  if (isMapping(databases)) {
    return Object.entries(databases).flatMap(([phase, entry]) =>
      typeof entry === 'string'
        ? [{ router, phase, database: entry, path: ['routers', router, 'databases', phase] }]
        : [],
    );
  }
  if (typeof database !== 'string') return [];
  return users.flatMap(({ name, index }) =>
    name === undefined ? [] : [{ router, phase: name, database, path: ['phases', index, 'router'] }],
  );
};

/** Phases that would move together although they are switched one by one. Files are told apart by how they are written. */
const sharedEntries = (document: LocatedDocument, leads: readonly Leads[]): readonly Problem[] => {
  const fileOf = ({ router }: Leads): string => JSON.stringify(valueAt(document.value, ['routers', router, 'config']));
  return leads.flatMap((one, at) => {
    const other = leads.slice(0, at).find((l) => l.database === one.database && fileOf(l) === fileOf(one));
    if (other === undefined || other.phase === one.phase) return [];
    const what = `phase ${one.phase} would be led by the same entry as phase ${other.phase}`;
    const remedy = 'make them one phase, or give each an entry of its own under `databases`';
    return [{ spot: document.spot(one.path), what, value: one.database, remedy }];
  });
};

const misnamed = (document: LocatedDocument, router: string, users: readonly Led[]): readonly Problem[] => {
  const databases = valueAt(document.value, ['routers', router, 'databases']);
  if (!isMapping(databases)) return [];
  const names = users.flatMap(({ name }) => name ?? []);
  const unknown = Object.keys(databases)
    .filter((name) => !names.includes(name))
    .map((name) => {
      const guess = nearest(name, names);
      return {
        spot: document.keySpot(['routers', router, 'databases', name]),
        what: `routers.${router}.databases names a phase that the router does not lead`,
        value: name,
        remedy: guess === null ? 'take it out' : `did you mean ${guess}`,
      };
    });
  const missing = names
    .filter((name) => !Object.hasOwn(databases, name))
    .map((name) => ({
      spot: document.keySpot(['routers', router, 'databases']),
      what: `routers.${router}.databases has no entry for phase ${name}`,
      remedy: `add ${name}: and the name of its entry`,
    }));
  return [...unknown, ...missing];
};

/** Whether each phase that a PgBouncer leads has an entry of its own: an entry leads whoever uses it at one moment. */
export const poolerProblems = (document: LocatedDocument, phases: readonly Led[]): readonly Problem[] => {
  const routers = valueAt(document.value, ['routers']);
  if (!isMapping(routers)) return [];
  const poolers = Object.entries(routers).flatMap(([name, settings]) =>
    isMapping(settings) && settings.kind === 'pgbouncer' ? [{ name, settings }] : [],
  );
  const usersOf = (name: string) => phases.filter(({ routers }) => routers.some((router) => router.name === name));
  const leads = poolers.flatMap(({ name, settings }) => leadsOf(name, settings, usersOf(name)));
  return [...poolers.flatMap(({ name }) => misnamed(document, name, usersOf(name))), ...sharedEntries(document, leads)];
};
