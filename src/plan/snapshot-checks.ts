import type { Json, LocatedDocument } from './document.ts';
import { valueAt, written } from './issues.ts';
import { type Path, type Problem, pathText } from './problem.ts';

/** Whether the document has a value there, be it of a wrong form. */
const isWritten = (root: Json, path: Path): boolean => (valueAt(root, path) ?? null) !== null;

/** Stores that read a key; every key that is not here is read with all of them. */
const STORES_OF: Readonly<Record<string, readonly string[]>> = {
  to: ['pg_dump', 'pg_basebackup'],
  bin: ['pg_dump', 'pg_basebackup'],
  scratch: ['pg_dump', 'pg_basebackup'],
  jobs: ['pg_dump'],
  instance: ['rds'],
  cluster: ['rds'],
  copy_to: ['rds'],
  share_with: ['rds'],
};

const STORES = ['pg_dump', 'pg_basebackup', 'rds'];

const isInS3 = (root: Json, path: Path): boolean => String(valueAt(root, path) ?? '').startsWith('s3://');

/** A key of `snapshots` that nothing would read. */
const inVain = (document: LocatedDocument, key: string, why: { readonly what: string; readonly remedy: string }) => {
  const path = ['snapshots', key];
  // A key that encrypts shows nothing of itself.
  const value = key === 'key' ? undefined : written(valueAt(document.value, path));
  return { spot: document.keySpot(path), what: `${pathText(path)} ${why.what}`, value, remedy: why.remedy };
};

const ofOtherStores = (document: LocatedDocument, store: string): readonly Problem[] =>
  Object.entries(STORES_OF)
    .filter(([key, stores]) => isWritten(document.value, ['snapshots', key]) && !stores.includes(store))
    .map(([key, stores]) =>
      inVain(document, key, {
        what: `is not read with store: ${store}`,
        remedy: `take it out, or write store: ${stores.join(' or ')}`,
      }),
    );

/** What a store cannot do without. */
const missing = (document: LocatedDocument, store: string): readonly Problem[] => {
  const root = document.value;
  const spot = document.spot(['snapshots', 'store']);
  if (store !== 'rds') {
    if (isWritten(root, ['snapshots', 'to'])) return [];
    return [{ spot, what: 'snapshots.to is missing', remedy: 'add it: a folder, or s3://bucket/prefix' }];
  }
  const named = ['instance', 'cluster'].filter((key) => isWritten(root, ['snapshots', key]));
  if (named.length === 1) return [];
  const what = 'snapshots needs exactly one of `instance` and `cluster`';
  return [{ spot, what, remedy: named.length === 0 ? 'add the one that the source is' : 'keep the one that is meant' }];
};

/** Keys that are for objects, or for AWS, where the plan has neither. */
const ofNothing = (document: LocatedDocument, store: string): readonly Problem[] => {
  const root = document.value;
  const hasArchive = isWritten(root, ['soak', 'archive']);
  const isInAws = store === 'rds' || isInS3(root, ['snapshots', 'to']) || isInS3(root, ['soak', 'archive']);
  const found: Problem[] = [];
  if (isWritten(root, ['snapshots', 'region']) && !isInAws) {
    found.push(inVain(document, 'region', { what: 'is the region of nothing', remedy: 'take it out' }));
  }
  if (isWritten(root, ['snapshots', 'key']) && store === 'rds' && !hasArchive) {
    const remedy = 'take it out: RDS encrypts by the KMS key of the instance';
    found.push(inVain(document, 'key', { what: 'encrypts nothing', remedy }));
  }
  return found;
};

const withoutSlash = (text: string): string => text.replace(/\/+$/, '');

/** Changes are kept in a place of their own, by the one engine that sees them. */
const ofArchive = (document: LocatedDocument): readonly Problem[] => {
  const root = document.value;
  const path = ['soak', 'archive'];
  const archive = valueAt(root, path);
  if (typeof archive !== 'string') return [];
  const about = { spot: document.spot(path), value: archive };
  const to = valueAt(root, ['snapshots', 'to']);
  return [
    ...(valueAt(root, ['engine']) === 'native'
      ? [
          {
            ...about,
            what: 'soak.archive needs engine: stream: with native, changes do not pass through us',
            remedy: 'take it out, or write engine: stream',
          },
        ]
      : []),
    ...(typeof to === 'string' && withoutSlash(to) === withoutSlash(archive)
      ? [{ ...about, what: 'soak.archive is where the snapshots are', remedy: 'give it a place of its own' }]
      : []),
  ];
};

/** What no key of `snapshots` and `soak.archive` alone can tell: which go together. */
export const snapshotProblems = (document: LocatedDocument): readonly Problem[] => {
  const store = valueAt(document.value, ['snapshots', 'store']);
  const isKnown = typeof store === 'string' && STORES.includes(store);
  return [
    ...(isKnown ? [...ofOtherStores(document, store), ...missing(document, store), ...ofNothing(document, store)] : []),
    ...ofArchive(document),
  ];
};
