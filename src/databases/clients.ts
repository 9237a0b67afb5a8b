import type { Guard } from '../domain/sql.ts';

/** Sessions of one user from one address under one application name. */
export interface ClientSessions {
  readonly user: string;
  /** An IP address, `local` for a Unix socket, empty when our role may not see it. */
  readonly address: string;
  readonly application: string;
  readonly count: number;
}

/** What became of sessions that were to be ended. */
export interface EndedSessions {
  readonly count: number;
  /** Why each other one could not be ended. */
  readonly refusals: readonly string[];
}

/**
 * Other people's sessions in a database, idle ones and those in a transaction alike: neither ours, nor replication, nor the
 * server's own workers, nor those of other databases of the server.
 */
export interface Clients {
  /** The most numerous first. Throws kind `unreachable`. */
  list(): Promise<readonly ClientSessions[]>;
  /**
   * Ends all of them, in one transaction that begins with the guard; safe to repeat. Kinds: those of the guard,
   * `unreachable`, `unknown`.
   */
  end(guard: Guard): Promise<EndedSessions>;
}
