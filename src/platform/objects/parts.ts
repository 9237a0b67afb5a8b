import { SwitchbackError } from '../../domain/errors.ts';

const MIB = 1024 * 1024;
/** A larger object is sent in parts of at least this size. */
export const PART_BYTES = 16 * MIB;
/** S3 takes as many parts of one object, and as many bytes. */
const MAX_PARTS = 10_000;
const MAX_BYTES = 5 * 1024 * 1024 * MIB;
/** What sealing adds, and what may have been counted wrongly. */
const MARGIN = 1.02;
/** So much of one object is in memory on its way, as long as a part is not larger. */
const ON_THE_WAY_BYTES = 3 * PART_BYTES;

/** How an object is cut. */
export interface Parts {
  readonly bytes: number;
  /** How many are sent at the same time. */
  readonly atOnce: number;
}

/** The refusal of an object that no place like this one takes. */
export const tooLarge = (what: string, why: string): SwitchbackError =>
  new SwitchbackError('refused', `${what}: ${why}`, {
    remedy: 'keep it in a directory, or use a store that keeps the tables apart: `store: pg_dump`',
  });

/** How an object of about `size` bytes is cut, so that S3 takes it. Throws kind `refused` when it is too large, before any is sent. */
export const partsFor = (what: string, size: number): Parts => {
  if (size * MARGIN > MAX_BYTES) throw tooLarge(what, `${size} bytes are more than S3 takes in one object, 5 TiB`);
  const bytes = Math.max(PART_BYTES, MIB * Math.ceil((size * MARGIN) / MAX_PARTS / MIB));
  return { bytes, atOnce: Math.max(1, Math.floor(ON_THE_WAY_BYTES / bytes)) };
};
