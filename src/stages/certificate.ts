import { randomBytes } from 'node:crypto';
import type { Direction, Position } from '../domain/position.ts';

/** One table's part of a certificate. */
export interface CertifiedTable {
  readonly table: string;
  readonly rows: number;
  /** Sum of the row hashes, equal on both sides. */
  readonly digest: string;
}

/**
 * The result of a verification: both sides had the same rows in every table, each at a moment when everything older than
 * it had arrived. `clean` is false when rows differed (also if they were repaired afterwards) or never settled; it then allows no switch.
 */
export interface Certificate {
  readonly id: string;
  readonly phase: string;
  readonly direction: Direction;
  readonly tables: readonly CertifiedTable[];
  /** Head of the side that is read from, when the verification began. */
  readonly position: Position;
  readonly clean: boolean;
  readonly seconds: number;
}

/** A new certificate's id: short, for people to compare. */
export const certificateId = (): string => `c-${randomBytes(4).toString('hex')}`;
