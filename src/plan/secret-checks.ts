import type { LocatedDocument } from './document.ts';
import { isReference, REFERENCE_FORM } from './interpolate.ts';
import { SNAPSHOT_KEY, secretOf, valueAt } from './issues.ts';
import { type Problem, pathText } from './problem.ts';

/** Secrets of routers, and the key of snapshots, that are written out. No problem shows what is. */
export const secretProblems = (document: LocatedDocument): readonly Problem[] => {
  const routers = valueAt(document.value, ['routers']);
  const names = typeof routers === 'object' && routers !== null ? Object.keys(routers) : [];
  return [...names.map((name) => secretOf(document.value, name)), SNAPSHOT_KEY].flatMap((path) => {
    const value = path === null ? undefined : valueAt(document.value, path);
    if (path === null || typeof value !== 'string' || isReference(value)) return [];
    const remedy = `keep it in the environment and refer to it: ${REFERENCE_FORM}, without a default`;
    return [{ spot: document.spot(path), what: `${pathText(path)} is written out`, remedy }];
  });
};
