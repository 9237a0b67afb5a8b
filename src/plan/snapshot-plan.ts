import { resolve } from 'node:path';
import type { z } from 'zod';
import type { snapshotsSchema } from './snapshot-schema.ts';

/** Where objects are kept. */
export type ObjectsPlan =
  /** Absolute. */
  | { readonly kind: 'directory'; readonly path: string }
  /** `prefix` has no slash at its ends, and may be empty; without a region the environment tells. */
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string; readonly region: string | null };

/** A store that makes snapshots by PostgreSQL's own programs and keeps them as objects. */
export interface DumpStorePlan {
  readonly kind: 'pg_dump' | 'pg_basebackup';
  readonly to: ObjectsPlan;
  /** 32 secret bytes, or null: not encrypted. */
  readonly key: Uint8Array | null;
  /** Of `pg_dump` alone. */
  readonly jobs: number;
  /** Absolute folder of the programs, or null: found by PATH. */
  readonly bin: string | null;
  /** Where drills restore to: a URL, which holds secrets, with `pg_dump`, else an absolute folder; or null: the store's choice. */
  readonly scratch: string | null;
}

/** Snapshots that RDS makes and keeps. */
export interface RdsStorePlan {
  readonly kind: 'rds';
  readonly of: { readonly kind: 'instance' | 'cluster'; readonly id: string };
  /** Null: the environment tells. */
  readonly region: string | null;
  readonly copyTo: readonly { readonly region: string; readonly kmsKey: string | null }[];
  /** Numbers of accounts. */
  readonly shareWith: readonly string[];
}

/** How one kind of store is set up. */
export type SnapshotStorePlan = DumpStorePlan | RdsStorePlan;

/** Which snapshots are left: the newest ones, and the newest of each of so many days and weeks. */
export interface KeepRules {
  /** At least 1. */
  readonly last: number;
  readonly daily: number;
  readonly weekly: number;
}

/** What a snapshot may be made before. */
export type SnapshotOccasion = 'prepare' | 'cutover';

/** What becomes of safety copies of the source. */
export interface SnapshotsPlan {
  readonly store: SnapshotStorePlan;
  /** For `soak.archive` too, whatever the store; secret. */
  readonly key: Uint8Array | null;
  readonly before: readonly SnapshotOccasion[];
  /** Null: none by itself. */
  readonly everyMs: number | null;
  /** Null: not demanded. */
  readonly freshForMs: number | null;
  readonly drillWithinMs: number | null;
  readonly keep: KeepRules;
  /** SQL that gives one row with one column that is true. */
  readonly probes: readonly string[];
}

type SnapshotsDocument = NonNullable<z.output<typeof snapshotsSchema>>;

/** Of `pg_dump`, where the plan does not say. */
const JOBS = 4;

/** What a place is read with. */
interface PlaceAbout {
  readonly directory: string;
  readonly region: string | undefined;
}

/** A place as the plan has it, or null where it has none. */
export const placeOf = (place: string | undefined, { directory, region }: PlaceAbout): ObjectsPlan | null => {
  if (place === undefined) return null;
  if (!place.startsWith('s3://')) return { kind: 'directory', path: resolve(directory, place) };
  const [bucket = '', ...parts] = place.slice('s3://'.length).split('/');
  return { kind: 's3', bucket, prefix: parts.filter((part) => part !== '').join('/'), region: region ?? null };
};

/** A place as a plan has it: an absolute folder, or `s3://bucket/prefix`. */
export const placeText = (place: ObjectsPlan): string =>
  place.kind === 'directory'
    ? place.path
    : `s3://${[place.bucket, place.prefix].filter((part) => part !== '').join('/')}`;

const keyOf = (key: string | undefined): Uint8Array | null =>
  key === undefined ? null : Buffer.from(key, key.length === 64 ? 'hex' : 'base64');

const scratchOf = ({ store, scratch }: SnapshotsDocument, directory: string): string | null => {
  if (scratch === undefined) return null;
  return store === 'pg_dump' ? scratch : resolve(directory, scratch);
};

const storeOf = (document: SnapshotsDocument, directory: string): SnapshotStorePlan => {
  const { store, instance, cluster, region } = document;
  if (store === 'rds') {
    return {
      kind: store,
      of: { kind: instance === undefined ? 'cluster' : 'instance', id: instance ?? cluster ?? '' },
      region: region ?? null,
      copyTo: (document.copy_to ?? []).map((copy) => ({ region: copy.region, kmsKey: copy.kms_key ?? null })),
      shareWith: document.share_with ?? [],
    };
  }
  return {
    kind: store,
    to: placeOf(document.to, { directory, region }) ?? { kind: 'directory', path: directory },
    key: keyOf(document.key),
    jobs: document.jobs ?? JOBS,
    bin: document.bin === undefined ? null : resolve(directory, document.bin),
    scratch: scratchOf(document, directory),
  };
};

/** The plan's snapshots; `directory` is absolute and where its relative paths start. */
export const snapshotsOf = (document: SnapshotsDocument, directory: string): SnapshotsPlan => ({
  store: storeOf(document, directory),
  key: keyOf(document.key),
  before: document.before,
  everyMs: document.every ?? null,
  freshForMs: document.fresh_for ?? null,
  drillWithinMs: document.drill_within ?? null,
  keep: typeof document.keep === 'number' ? { last: document.keep, daily: 0, weekly: 0 } : document.keep,
  probes: document.probes,
});
