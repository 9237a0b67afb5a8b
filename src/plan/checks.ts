import { formatOfPath, hasVariables, ROUTE_FORMATS, type RouteFormat } from '../domain/route-format.ts';
import { routeVariables } from '../domain/variable.ts';
import type { Json, LocatedDocument } from './document.ts';
import { parseDuration } from './duration.ts';
import { entryProblems } from './entry-checks.ts';
import { holdsPassword, literalPart, REFERENCE_FORM } from './interpolate.ts';
import { isHidden, textsOf, valueAt, written } from './issues.ts';
import { nearest } from './nearest.ts';
import { probeProblems } from './phase-keys.ts';
import { type NamedRouter, namedRouters, namesOfRouters, routerProblems } from './phase-routers.ts';
import { type Path, type Problem, pathText } from './problem.ts';
import { secretProblems, urlProblems } from './secret-checks.ts';
import { snapshotProblems } from './snapshot-checks.ts';
import { NAME, NAME_MESSAGE } from './values.ts';

/**
 * What no single value can tell: whether names exist, are used and are unique. These look at the document as it is
 * written and skip whatever has the wrong form, so that one mistake does not hide another.
 */

/** The parts of a phase that refer to something else. */
interface Outline {
  readonly index: number;
  readonly name: string | undefined;
  readonly after: readonly string[];
  /** Of writers, then of readers. */
  readonly routers: readonly NamedRouter[];
}

const textAt = (root: Json, path: Path): string | undefined => {
  const value = valueAt(root, path);
  return typeof value === 'string' ? value : undefined;
};

const listAt = (root: Json, path: Path): readonly Json[] => {
  const value = valueAt(root, path);
  return Array.isArray(value) ? value : [];
};

const outlinesOf = (root: Json): readonly Outline[] =>
  listAt(root, ['phases']).map((phase, index) => ({
    index,
    name: textAt(phase, ['name']),
    after: listAt(phase, ['after']).map((item) => (typeof item === 'string' ? item : '')),
    routers: ['router', 'reads'].flatMap((key) => namedRouters(root, ['phases', index, key])),
  }));

const meant = (word: string, known: readonly string[], otherwise: string): string => {
  const guess = nearest(word, known);
  return guess === null ? otherwise : `did you mean ${guess}`;
};

const duplicateNames = (document: LocatedDocument, phases: readonly Outline[]): readonly Problem[] =>
  phases.flatMap(({ name, index }) => {
    const first = phases.find((other) => other.name === name);
    if (name === undefined || first === undefined || first.index === index) return [];
    const path = ['phases', index, 'name'];
    const what = `${pathText(path)} is the name of an earlier phase, in line ${document.spot(['phases', first.index, 'name']).line}`;
    return [{ spot: document.spot(path), what, value: name, remedy: 'give each phase a name of its own' }];
  });

const unknownAfter = (document: LocatedDocument, phases: readonly Outline[]): readonly Problem[] => {
  const names = phases.flatMap((phase) => phase.name ?? []);
  return phases.flatMap((phase) =>
    phase.after.flatMap((name, position) => {
      if (name === '' || names.includes(name)) return [];
      const path = ['phases', phase.index, 'after', position];
      const others = names.filter((other) => other !== phase.name);
      const remedy = meant(name, others, 'name a phase of this plan');
      return [{ spot: document.spot(path), what: `${pathText(path)} names no phase`, value: name, remedy }];
    }),
  );
};

/** Phases that wait for each other: what is left when those that wait for none, or that none waits for, are taken away. */
const cycles = (document: LocatedDocument, phases: readonly Outline[]): readonly Problem[] => {
  const open = (left: readonly Outline[]): readonly Outline[] => {
    const names = new Set(left.flatMap((phase) => phase.name ?? []));
    const awaited = new Set(left.flatMap((phase) => phase.after));
    const next = left.filter(
      (phase) => phase.after.some((name) => names.has(name)) && phase.name !== undefined && awaited.has(phase.name),
    );
    return next.length === left.length ? left : open(next);
  };
  const stuck = open(phases);
  const [first] = stuck;
  if (first === undefined) return [];
  const what = `phases wait for each other: ${stuck.map((phase) => phase.name).join(', ')}`;
  return [
    { spot: document.spot(['phases', first.index, 'after']), what, remedy: 'take one of them out of an `after`' },
  ];
};

const badRouterNames = (document: LocatedDocument): readonly Problem[] => {
  const [what = '', remedy = ''] = NAME_MESSAGE.split('; ', 2);
  return namesOfRouters(document.value)
    .filter((name) => !NAME.test(name))
    .map((name) => ({
      spot: document.keySpot(['routers', name]),
      what: `routers.${name} ${what}`,
      value: name,
      remedy,
    }));
};

/** A wait that was written and can never end within the window. The default is not held against a shorter window. */
const waits = (document: LocatedDocument): readonly Problem[] => {
  const path = ['switch', 'blockers', 'wait'];
  const wait = parseDuration(textAt(document.value, path) ?? '');
  const window = parseDuration(textAt(document.value, ['switch', 'window']) ?? '5s');
  if (wait === null || window === null || wait < window) return [];
  const what = 'switch.blockers.wait is not shorter than switch.window';
  return [{ spot: document.spot(path), what, value: textAt(document.value, path), remedy: 'shorten the wait' }];
};

/** Decided on the path as written: one that the environment completes has to say its format. */
const fileFormats = (document: LocatedDocument): readonly Problem[] =>
  namesOfRouters(document.value).flatMap((name) => {
    const path = ['routers', name, 'path'];
    const file = textAt(document.value, path);
    if (textAt(document.value, ['routers', name, 'kind']) !== 'file' || file === undefined) return [];
    if (formatOfPath(file) !== null || valueAt(document.value, ['routers', name, 'format']) !== undefined) return [];
    const what = `${pathText(path)} does not tell its format`;
    return [{ spot: document.spot(path), what, value: file, remedy: `add format: ${ROUTE_FORMATS.join(', or ')}` }];
  });

/** The format of a file router as far as the plan is readable. */
const writtenFormat = (router: Json): RouteFormat | null => {
  const format = textAt(router, ['format']);
  if (format === undefined) return formatOfPath(textAt(router, ['path']) ?? '');
  return ROUTE_FORMATS.find((known) => known === format) ?? null;
};

/** Two phases that would share a variable of an env or properties file, such as `a-b` and `a_b`, or `a` and `a_held`. */
const sharedVariables = (document: LocatedDocument, phases: readonly Outline[]): readonly Problem[] => {
  const owners = new Map<string, Outline>();
  const isOfVariables = ({ name }: NamedRouter): boolean =>
    hasVariables(writtenFormat(valueAt(document.value, ['routers', name]) ?? null));
  return phases.flatMap((phase) => {
    const { name, routers } = phase;
    if (name === undefined) return [];
    const variables = routers
      .filter(isOfVariables)
      .flatMap((router) => Object.values(routeVariables(name)).map((variable) => `${router.name} ${variable}`));
    const taken = variables.find((variable) => owners.has(variable));
    for (const variable of variables) if (!owners.has(variable)) owners.set(variable, phase);
    const other = owners.get(taken ?? '');
    if (taken === undefined || other === undefined || other.name === name) return [];
    const path = ['phases', phase.index, 'name'];
    const what = `${pathText(path)} would share the variable ${taken.split(' ')[1]} with phase ${other.name}`;
    return [{ spot: document.spot(path), what, value: name, remedy: 'rename one, or use format: json or yaml' }];
  });
};

/** Keys of a secret that a router replaces, by what they are usually called. */
const PASSWORD_KEY = /pass(word|wd|phrase)|secret|token/i;

/** Whether it is what a router's `source` or `target` says under a key for a password. */
const isPasswordOf = (path: Path): boolean =>
  path[0] === 'routers' &&
  (path[2] === 'source' || path[2] === 'target') &&
  typeof path[3] === 'string' &&
  PASSWORD_KEY.test(path[3]);

const passwords = (document: LocatedDocument): readonly Problem[] =>
  textsOf(document.value).flatMap(({ path, text }) => {
    const isWhole = isPasswordOf(path) && literalPart(text) !== '';
    if (!isWhole && !holdsPassword(text)) return [];
    const what = `${pathText(path)} holds a password`;
    const remedy = `keep it in the environment and refer to it: ${REFERENCE_FORM} for the password, or for the whole URL`;
    return [
      {
        spot: document.spot(path),
        what,
        remedy,
        ...(isWhole || isHidden(document.value, path) ? {} : { value: text }),
      },
    ];
  });

/** Keys that only one engine reads would otherwise be written in vain. */
const engineKeys = (document: LocatedDocument): readonly Problem[] => {
  if ((valueAt(document.value, ['native']) ?? null) === null || textAt(document.value, ['engine']) === 'native')
    return [];
  const remedy = 'write engine: native, or take it out';
  return [{ spot: document.keySpot(['native']), what: 'native is read with engine: native alone', remedy }];
};

/** All checks of the document as a whole. */
export const documentProblems = (document: LocatedDocument): readonly Problem[] => {
  const phases = outlinesOf(document.value);
  return [
    ...duplicateNames(document, phases),
    ...unknownAfter(document, phases),
    ...cycles(document, phases),
    ...badRouterNames(document),
    ...routerProblems(document, phases),
    ...waits(document),
    ...fileFormats(document),
    ...sharedVariables(document, phases),
    ...entryProblems(document, phases),
    ...probeProblems(document, phases),
    ...engineKeys(document),
    ...passwords(document),
    ...secretProblems(document),
    ...snapshotProblems(document),
    ...urlProblems(document),
  ];
};

/** The same database on both sides, as far as the URLs tell. What they do not tell, the sidecar's marker does. */
export const sameUrl = (document: LocatedDocument, urls: { source: string; target: string }): readonly Problem[] =>
  urls.source !== urls.target
    ? []
    : [
        {
          spot: document.spot(['target', 'url']),
          what: 'target.url leads to the same database as source.url',
          value: written(valueAt(document.value, ['target', 'url'])),
          remedy: 'give the URL of the new database',
        },
      ];
