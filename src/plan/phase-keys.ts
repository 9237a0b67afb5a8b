import type { Json, LocatedDocument } from './document.ts';
import { valueAt } from './issues.ts';
import { nearest } from './nearest.ts';
import { type Path, type Problem, pathText } from './problem.ts';

/** Whether a value is a mapping. */
export const isMapping = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A mapping of a router that has a value for each phase that the router leads. */
interface OfPhases {
  /** Names of those phases. */
  readonly led: readonly string[];
  /** What a value is, `entry` or `URL`. */
  readonly what: string;
  /** Phases may be left out. */
  readonly isOptional?: boolean;
}

/** Keys of such a mapping that are no phase of the router's, and phases that it leaves out. Nothing when it is not there. */
export const misnamedPhases = (
  document: LocatedDocument,
  path: Path,
  { led, what, isOptional = false }: OfPhases,
): readonly Problem[] => {
  const values = valueAt(document.value, path);
  if (!isMapping(values)) return [];
  const unknown = Object.keys(values)
    .filter((name) => !led.includes(name))
    .map((name) => {
      const guess = nearest(name, led);
      return {
        spot: document.keySpot([...path, name]),
        what: `${pathText(path)} names a phase that the router does not lead`,
        value: name,
        remedy: guess === null ? 'take it out' : `did you mean ${guess}`,
      };
    });
  if (isOptional) return unknown;
  const missing = led
    .filter((name) => !Object.hasOwn(values, name))
    .map((name) => ({
      spot: document.keySpot(path),
      what: `${pathText(path)} has no ${what} for phase ${name}`,
      remedy: `add ${name}: and its ${what}`,
    }));
  return [...unknown, ...missing];
};

/** Whether the paths of a router's clients are named for each phase that it leads. */
export const probeProblems = (
  document: LocatedDocument,
  phases: readonly { readonly name: string | undefined; readonly routers: readonly { readonly name: string }[] }[],
): readonly Problem[] => {
  const routers = valueAt(document.value, ['routers']);
  if (!isMapping(routers)) return [];
  return Object.keys(routers).flatMap((router) => {
    const led = phases.flatMap(({ name, routers: own }) =>
      own.some((one) => one.name === router) ? (name ?? []) : [],
    );
    return misnamedPhases(document, ['routers', router, 'probe', 'urls'], { led, what: 'URL' });
  });
};
