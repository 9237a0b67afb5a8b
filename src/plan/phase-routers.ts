import { oneOrder } from '../domain/router-order.ts';
import type { Json, LocatedDocument } from './document.ts';
import { articled, ledBy, markedBy } from './entry-checks.ts';
import { valueAt } from './issues.ts';
import { nearest } from './nearest.ts';
import { type Path, type Problem, pathText } from './problem.ts';

/** A name of a router as a phase has it, and where it stands. */
export interface NamedRouter {
  readonly name: string;
  readonly path: Path;
}

/** The part of a phase that is looked at here. */
interface WithRouters {
  readonly routers: readonly NamedRouter[];
}

/** The routers under a key of a phase: one name, or a list of them. What has the wrong form is skipped. */
export const namedRouters = (root: Json, path: Path): readonly NamedRouter[] => {
  const value = valueAt(root, path);
  if (typeof value === 'string') return [{ name: value, path }];
  if (!Array.isArray(value)) return [];
  return value.flatMap((name: Json, index) => (typeof name === 'string' ? [{ name, path: [...path, index] }] : []));
};

/** The names under `routers`. */
export const namesOfRouters = (root: Json): readonly string[] => {
  const routers = valueAt(root, ['routers']);
  return typeof routers === 'object' && routers !== null && !Array.isArray(routers) ? Object.keys(routers) : [];
};

const unknown = (document: LocatedDocument, phases: readonly WithRouters[]): readonly Problem[] => {
  const known = namesOfRouters(document.value);
  return phases.flatMap(({ routers }) =>
    routers.flatMap(({ name, path }) => {
      if (known.includes(name)) return [];
      const guess = nearest(name, known);
      const remedy = guess === null ? 'describe it under `routers`' : `did you mean ${guess}`;
      return [{ spot: document.spot(path), what: `${pathText(path)} names no router`, value: name, remedy }];
    }),
  );
};

const unused = (document: LocatedDocument, phases: readonly WithRouters[]): readonly Problem[] => {
  const used = new Set(phases.flatMap(({ routers }) => routers.map(({ name }) => name)));
  return namesOfRouters(document.value)
    .filter((name) => !used.has(name))
    .map((name) => ({
      spot: document.keySpot(['routers', name]),
      what: `routers.${name} is used by no phase`,
      value: name,
      remedy: 'name it in a phase, or take it out',
    }));
};

const keyOf = ({ path }: NamedRouter): string => String(path[2]);

const twice = (document: LocatedDocument, phases: readonly WithRouters[]): readonly Problem[] =>
  phases.flatMap(({ routers }) =>
    routers.flatMap((router, at) => {
      const { name, path } = router;
      const first = routers.slice(0, at).find((other) => other.name === name);
      if (first === undefined) return [];
      const what = `${pathText(path)} is a router that the phase has already, in ${pathText(first.path)}`;
      const remedy = keyOf(first) === keyOf(router) ? 'name each router once' : READERS_OWN;
      return [{ spot: document.spot(path), what, value: name, remedy }];
    }),
  );

const READERS_OWN = 'lead readers by a router of their own, or they would be moved with the writers';

/** Readers that are led by the very file or entry that leads the writers. */
const sharedWithWriters = (document: LocatedDocument, phases: readonly WithRouters[]): readonly Problem[] =>
  phases.flatMap(({ routers }, index) => {
    const phase = valueAt(document.value, ['phases', index, 'name']);
    const changed = ({ name }: NamedRouter) => (typeof phase === 'string' ? ledBy(document, name, phase) : undefined);
    const writers = routers.filter((router) => keyOf(router) === 'router');
    return routers
      .filter((router) => keyOf(router) === 'reads')
      .flatMap((router) => {
        const other = writers.find(
          ({ name }) => name !== router.name && changed({ ...router, name }) === changed(router),
        );
        if (other === undefined || changed(router) === undefined) return [];
        const what = `${pathText(router.path)} leads readers by the same file or entry as ${pathText(other.path)} leads writers`;
        return [{ spot: document.spot(router.path), what, value: router.name, remedy: READERS_OWN }];
      });
  });

/**
 * Routers of one phase that would overwrite each other's mark: the second would find what the first has changed since it was
 * looked at, and refuse behind the commit record.
 */
const sharedMarks = (document: LocatedDocument, phases: readonly WithRouters[]): readonly Problem[] =>
  phases.flatMap(({ routers }, index) => {
    const phase = valueAt(document.value, ['phases', index, 'name']);
    if (typeof phase !== 'string') return [];
    return routers.flatMap((router, at) => {
      const mark = markedBy(document, router.name, phase);
      const other = routers
        .slice(0, at)
        .find(({ name }) => name !== router.name && markedBy(document, name, phase)?.id === mark?.id);
      if (mark === undefined || other === undefined) return [];
      // Told already as readers that are led by what leads the writers.
      if (keyOf(other) !== keyOf(router) && ledBy(document, other.name, phase) === ledBy(document, router.name, phase))
        return [];
      const what = `${pathText(router.path)} would keep its mark of the phase at the same ${mark.what} as ${pathText(other.path)}, and each would refuse what the other has changed`;
      const remedy = `give each router of the phase ${articled(mark.what)} of its own, or lead all clients of the phase by one`;
      return [{ spot: document.spot(router.path), what, value: mark.name, remedy }];
    });
  });

/** Phases may move together, and then all their routers act in one order. */
const contrary = (document: LocatedDocument, phases: readonly WithRouters[], key: string): readonly Problem[] => {
  const routersOf = phases.map(({ routers }) => routers.filter((router) => keyOf(router) === key));
  const lists = routersOf.map((routers) => [...new Set(routers.map(({ name }) => name))]);
  const at = lists.findIndex((_, index) => oneOrder(lists.slice(0, index + 1)) === null);
  const [first] = routersOf[at] ?? [];
  if (first === undefined) return [];
  const what = `${pathText(first.path.slice(0, 3))} has its routers in another order than the phases before it`;
  const value = lists[at]?.join(', ');
  return [{ spot: document.spot(first.path), what, value, remedy: 'let routers act in one order in all phases' }];
};

/**
 * Whether the routers that phases name are there, are used, stand once, lead readers apart from
 * writers, keep marks apart, and can act in one order.
 */
export const routerProblems = (document: LocatedDocument, phases: readonly WithRouters[]): readonly Problem[] => [
  ...unknown(document, phases),
  ...unused(document, phases),
  ...twice(document, phases),
  ...sharedWithWriters(document, phases),
  ...sharedMarks(document, phases),
  ...contrary(document, phases, 'router'),
  ...contrary(document, phases, 'reads'),
];
