import type { SourceType, Tag } from '@aws-sdk/client-rds';
import { SwitchbackError } from '../../domain/errors.ts';
import { wallMs } from '../../platform/clock.ts';
import type { RdsApi } from './api.ts';
import { PREFIX } from './manifest-tags.ts';
import type { Values } from './settings.ts';

/** An instance of a cluster. */
export interface Member {
  readonly isWriter: boolean;
  readonly values: Values;
}

/** What the manifest says for the restore, under `store`. It holds no secrets. */
export interface StorePart {
  readonly kind: 'instance' | 'cluster';
  /** Its identifier, and the one that AWS gives, which no other ever has. */
  readonly source: { readonly id: string; readonly resource: string };
  readonly values: Values;
  /** The writer first; none for an instance. */
  readonly members: readonly Member[];
  readonly deletionProtection: boolean;
  /** Its own tags, without those that AWS or we set. */
  readonly tags: Readonly<Record<string, string>>;
  /** What no restore brings back, each as a sentence. */
  readonly notRestored: readonly string[];
  /** Regions that have a copy. */
  readonly copies: readonly string[];
}

/** The database that snapshots are made of, as RDS describes it. */
export interface Source {
  readonly status: string;
  /** Null while it has none. */
  readonly host: string | null;
  /** That it is encrypted with; null when it is not. */
  readonly key: string | null;
  readonly store: StorePart;
}

/** A snapshot as RDS has it. */
export interface Held {
  readonly id: string;
  readonly arn: string;
  readonly status: string;
  readonly percent: number | null;
  readonly tags: ReadonlyMap<string, string>;
  /** ISO 8601, by AWS's clock. */
  readonly createdAt: string;
  readonly bytes: number | null;
  /** That it is encrypted with; null when it is not. */
  readonly key: string | null;
}

/** A snapshot to be made of a source. */
export interface Making {
  readonly id: string;
  readonly source: string;
  readonly tags: Tag[];
}

/** A copy to be made in the region that is asked. */
export interface Copying {
  /** ARN of what is copied. */
  readonly from: string;
  readonly id: string;
  readonly kmsKey: string | null;
  readonly tags: Tag[];
}

/** What is asked of RDS alike for instances and for clusters, each by actions of its own. Errors are those of the API. */
export interface SnapshotKind {
  readonly kind: StorePart['kind'];
  /** What RDS calls events of its snapshots, and of itself. */
  readonly events: { readonly snapshot: SourceType; readonly source: SourceType };
  /** The name of its quota in DescribeAccountAttributes. */
  readonly quota: string;
  /** Null when there is none of that identifier. */
  source(api: RdsApi, id: string): Promise<Source | null>;
  find(api: RdsApi, id: string): Promise<Held | null>;
  /** All of a source, also those that RDS made by itself. */
  list(api: RdsApi, source: string): Promise<readonly Held[]>;
  make(api: RdsApi, making: Making): Promise<void>;
  copy(api: RdsApi, copying: Copying): Promise<void>;
  share(api: RdsApi, id: string, accounts: readonly string[]): Promise<void>;
  remove(api: RdsApi, id: string): Promise<void>;
}

/** Tags that a person has set. */
export const ownTags = (tags: readonly Tag[] | undefined): Readonly<Record<string, string>> =>
  Object.fromEntries(
    (tags ?? [])
      .map(({ Key = '', Value = '' }) => [Key, Value] as const)
      .filter(([key]) => !key.startsWith('aws:') && !key.startsWith(PREFIX)),
  );

/** What a source has that a restored one has not. */
export const notRestoredOf = (
  secret: string | undefined,
  roles: readonly (string | undefined)[],
): readonly string[] => [
  ...(secret === undefined ? [] : [`its master password is kept by Secrets Manager in ${secret}`]),
  ...roles.map((role) => `it may take on the IAM role ${role}`),
];

/** When RDS made something; while it is making it, it does not say: then it is now. */
export const timeOr = (time: Date | undefined): string => (time ?? new Date(wallMs())).toISOString();

/** Follows RDS's pages. */
export const allPages = async <T>(
  read: (marker: string | undefined) => Promise<{ readonly items: readonly T[]; readonly marker: string | undefined }>,
): Promise<readonly T[]> => {
  const all: T[] = [];
  let next: string | undefined;
  do {
    const { items, marker } = await read(next);
    all.push(...items);
    next = marker;
  } while (next !== undefined && next !== '');
  return all;
};

/** The value that RDS has to give with a resource; without it nothing can be said of that. */
export const given = (value: string | undefined, what: string): string => {
  if (value !== undefined && value !== '') return value;
  throw new SwitchbackError('unreachable', `RDS describes something without its ${what}`, {
    remedy: 'run the command again; when it stays so, see what answers as RDS: AWS_ENDPOINT_URL',
  });
};
