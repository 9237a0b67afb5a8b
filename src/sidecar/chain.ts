import { createHash } from 'node:crypto';

/** What an entry of the journal says, as texts exactly as they are stored, in the order in which they are hashed. */
export const CHAINED = ['at', 'epoch', 'scope', 'phases', 'step', 'status', 'detail', 'ms'] as const;

/** The chained columns of one entry; null where the column is. `at` is `2026-01-31T23:59:59.123456Z`. */
export type ChainedFields = Readonly<Record<(typeof CHAINED)[number], string | null>>;

/** The newest entry: the next one is `id + 1` and holds this hash. Before the first entry: zero, and the run's id. */
export interface ChainEnd {
  readonly id: bigint;
  readonly hash: string;
}

/** Length first, so that no two lists of fields have one encoding whatever is in them; null has no length. */
const encode = (field: string | null): string => (field === null ? '-' : `${Buffer.byteLength(field)}:${field}`);

/**
 * SHA-256 in hex over the previous entry's hash and this entry's fields as netstrings. The id is not in it: the place of an
 * entry is what its link says, so that an entry that was moved is told from one that was changed.
 */
export const hashEntry = (previous: string, fields: ChainedFields): string =>
  createHash('sha256')
    .update([previous, ...CHAINED.map((name) => fields[name])].map(encode).join(','))
    .digest('hex');
