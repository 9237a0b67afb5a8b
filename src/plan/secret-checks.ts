import type { LocatedDocument } from './document.ts';
import { isReference, REFERENCE_FORM } from './interpolate.ts';
import { secretOf, valueAt } from './issues.ts';
import { type Problem, pathText } from './problem.ts';

/** Secrets of routers that are written out. No problem shows what is. */
export const secretProblems = (document: LocatedDocument): readonly Problem[] => {
  const routers = valueAt(document.value, ['routers']);
  if (typeof routers !== 'object' || routers === null) return [];
  return Object.keys(routers).flatMap((name) => {
    const path = secretOf(document.value, name);
    const value = path === null ? undefined : valueAt(document.value, path);
    if (path === null || typeof value !== 'string' || isReference(value)) return [];
    const remedy = `keep it in the environment and refer to it: ${REFERENCE_FORM}, without a default`;
    return [{ spot: document.spot(path), what: `${pathText(path)} is written out`, remedy }];
  });
};
