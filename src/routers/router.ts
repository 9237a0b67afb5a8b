import type { Finding } from '../domain/finding.ts';
import type { Side } from '../domain/position.ts';

/** What a router says of one phase. */
export interface Route {
  /** The side that clients are led to, or null when the router has never been told. */
  readonly primary: Side | null;
  /** Whether clients are kept waiting now. */
  readonly held: boolean;
  /**
   * Opaque; differs after every repoint that led the phase elsewhere, and while an edit by somebody else stands. It is
   * recorded before a repoint and is its condition. A hold or release does not change it.
   */
  readonly version: string;
}

/** A repoint, conditional on what was observed before it. */
export interface Repoint {
  readonly phases: readonly string[];
  readonly to: Side;
  /**
   * Each phase's `version` as observed; when somebody changed the router in between, the repoint is refused with kind
   * `refused` and no phase is led elsewhere. Other phases may be in it.
   */
  readonly expect: Readonly<Record<string, string>>;
  /** Rises with every switch; a router that can remember it refuses an older one. */
  readonly epoch: bigint;
}

/**
 * Leads the application to one side or the other.
 *
 * Idempotency: all methods may be repeated with the same arguments and change nothing the second time; `repoint` to where
 * the router already points resolves whatever `expect` says, when it has finished what an earlier one, or whoever led the
 * router there by hand, has left to do: sessions on the other side, a restart, a server that lets nobody in. Durability: when a method resolves, a restart of the router
 * does not undo it. Safety never rests on a router: the fenced side rejects whoever was led wrong (fault 54).
 * Errors: kind `unreachable` when it could not be asked, `unknown` when it was and its outcome is not known, `refused` when
 * the condition failed.
 */
export interface Router {
  observe(phase: string): Promise<Route>;
  /**
   * Keeps clients of the phases waiting, where the router can; otherwise resolves at once. It settles within `budgetMs`
   * milliseconds and a second, and does nothing afterwards: clients that are held after the release would wait for ever.
   */
  hold(phases: readonly string[], budgetMs: number): Promise<void>;
  repoint(repoint: Repoint): Promise<void>;
  /** Lets clients of the phases go on. */
  release(phases: readonly string[]): Promise<void>;
  /**
   * For a router that can look: what would keep it from leading clients of the phases, which a switch may keep waiting for
   * `windowMs` milliseconds. Changes nothing. Throws kind `unreachable` when it could not look.
   */
  findings?(phases: readonly string[], windowMs: number): Promise<readonly Finding[]>;
}
