/** How often RDS is asked, and for how long. */
export interface Pace {
  /** Between two looks at what is waited for, in milliseconds. */
  readonly pollMs: number;
  /** After so many looks at which nothing has moved it is told, with what RDS has to say of it. */
  readonly stuckLooks: number;
  /** So many looks are given to a setting that RDS took, and does not show yet. */
  readonly settleLooks: number;
  /** How often one question is asked, the SDK's own attempts aside. */
  readonly attempts: number;
  /** Before the second attempt, at most, in milliseconds. */
  readonly pauseMs: number;
  readonly longestPauseMs: number;
}

/**
 * RDS takes minutes for what we wait for, and an account's calls to it are few: a look every 15 s. Twenty minutes without a move
 * are told; all attempts of a question last for one to two minutes.
 */
export const PACE: Pace = {
  pollMs: 15_000,
  stuckLooks: 80,
  settleLooks: 12,
  attempts: 8,
  pauseMs: 1_000,
  longestPauseMs: 40_000,
};
