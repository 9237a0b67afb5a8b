import { resolve } from 'node:path';
import { listOf } from './values.ts';

/** A mapping in which a key that has no value is not there. */
type Written<T> = { readonly [K in keyof T]: Exclude<T[K], undefined> };

/** The same without the keys that have no value, as optional keys are read here. */
export const written = <T extends object>(value: T): Written<T> =>
  Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as Written<T>;

/** Whether there is one file for all instances, or one for each. */
export const isFileForEach = (instances: string | readonly string[], files: string | readonly string[]): boolean =>
  listOf(files).length === 1 || listOf(files).length === listOf(instances).length;

/** Each instance with its file, absolute: its own, or the one that is for all. */
export const withFiles = (
  instances: string | readonly string[],
  files: string | readonly string[],
  directory: string,
): readonly (readonly [instance: string, file: string])[] => {
  const paths = listOf(files).map((path) => resolve(directory, path));
  return listOf(instances).map((instance, index) => [instance, paths[index] ?? paths[0] ?? '']);
};

/** What leads each phase: named for each, or `one` for the only phase that a router leads. */
export const byPhase = (
  one: string | undefined,
  many: Readonly<Record<string, string>> | undefined,
  phases: readonly string[],
): ReadonlyMap<string, string> =>
  new Map(Object.entries(many ?? Object.fromEntries(phases.map((phase) => [phase, one ?? '']))));
