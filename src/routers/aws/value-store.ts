import type { Finding } from '../../domain/finding.ts';
import type { Side } from '../../domain/position.ts';

/** A value as it was read at one moment. */
export interface StoredValue {
  /** May be a secret: it is never shown. */
  readonly text: string;
  /** Of the store: no two values of one name ever have the same. */
  readonly version: string;
}

/** A value to be put in the place of one that was read. */
export interface Replacement {
  readonly id: string;
  readonly was: StoredValue;
  readonly text: string;
  readonly to: Side;
  readonly epoch: bigint;
}

/** Makes the value that was replaced the current one again, unless somebody has written since. */
export type TakeBack = () => Promise<void>;

/** Named values that applications read where their database is from. */
export interface ValueStore {
  /** A value for messages: `secret shop/db`. */
  nameOf(id: string): string;
  /** The current value. Throws kind `refused` when there is none, or none that is text. */
  read(id: string): Promise<StoredValue>;
  /**
   * Makes another text the current value. When somebody else has written since the value was read, theirs is the current one
   * in the end and it throws kind `refused`. May be repeated.
   */
  replace(replacement: Replacement): Promise<TakeBack>;
  /** What is to be known of a value before a switch, besides where it leads. Changes nothing. */
  findings(id: string): Promise<readonly Finding[]>;
}
