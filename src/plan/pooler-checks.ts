import type { Json, LocatedDocument } from './document.ts';
import { valueAt } from './issues.ts';
import { isMapping, misnamedPhases } from './phase-keys.ts';
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

const namesOf = (users: readonly Led[]): readonly string[] => users.flatMap(({ name }) => name ?? []);

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

/** Whether each phase that a PgBouncer leads has an entry of its own: an entry leads whoever uses it at one moment. */
export const poolerProblems = (document: LocatedDocument, phases: readonly Led[]): readonly Problem[] => {
  const routers = valueAt(document.value, ['routers']);
  if (!isMapping(routers)) return [];
  const poolers = Object.entries(routers).flatMap(([name, settings]) =>
    isMapping(settings) && settings.kind === 'pgbouncer' ? [{ name, settings }] : [],
  );
  const usersOf = (name: string) => phases.filter(({ routers }) => routers.some((router) => router.name === name));
  const leads = poolers.flatMap(({ name, settings }) => leadsOf(name, settings, usersOf(name)));
  return [
    ...poolers.flatMap(({ name }) =>
      misnamedPhases(document, ['routers', name, 'databases'], { led: namesOf(usersOf(name)), what: 'entry' }),
    ),
    ...sharedEntries(document, leads),
  ];
};
