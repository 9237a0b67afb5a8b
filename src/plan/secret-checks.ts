import { urlSecrets } from '../platform/url-secrets.ts';
import type { LocatedDocument } from './document.ts';
import { isReference, literalPart, REFERENCE_FORM } from './interpolate.ts';
import { SNAPSHOT_KEY, secretOf, textsOf, valueAt } from './issues.ts';
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

/** URLs that let in whoever has them, as those of chat services do: what is written in a plan is stored, and told where it changes. */
export const urlProblems = (document: LocatedDocument): readonly Problem[] =>
  textsOf(document.value).flatMap(({ path, text }) => {
    if (urlSecrets(literalPart(text)).length === 0) return [];
    const what = `${pathText(path)} holds what looks like a secret, in its user, its path or a parameter`;
    return [
      { spot: document.spot(path), what, remedy: `keep the URL in the environment and refer to it: ${REFERENCE_FORM}` },
    ];
  });
