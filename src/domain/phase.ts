import type { Finding } from './finding.ts';
import type { Direction } from './position.ts';

/**
 * Where a phase is in its life (DESIGN 3). Each state carries what belongs to it; the row in the source's sidecar is the
 * durable one, and `stages/machine.ts` alone sets it, but for a rebuild. All `at` and `since` are the source server's clock,
 * ISO 8601 UTC.
 */
export type PhaseState =
  | { readonly name: 'planned' }
  /** Publications, slot and fence stand; no row has been read. */
  | { readonly name: 'prepared' }
  /** Chunks are being read, or the stream is not yet past the position after the last chunk, or indexes are being built. */
  | { readonly name: 'copying' }
  /** Strict apply; not verified, or the certificate is not fresh. */
  | { readonly name: 'following'; readonly since: string }
  /** Strict apply and a certificate. */
  | { readonly name: 'ready'; readonly since: string; readonly certificate: string }
  /** Between a switch's intent and its outcome. */
  | { readonly name: 'switching'; readonly switchId: string; readonly direction: Direction }
  /** The target is primary and the reverse lane keeps the source current. */
  | { readonly name: 'soaking'; readonly since: string; readonly switchId: string }
  | { readonly name: 'finalised'; readonly at: string }
  | { readonly name: 'aborted'; readonly at: string };

/** The name of a phase's state. */
export type PhaseStateName = PhaseState['name'];

/** A lane that was halted says why; it stays halted until `resume`. */
export interface Halt {
  readonly lane: string;
  readonly at: string;
  readonly finding: Finding;
}
