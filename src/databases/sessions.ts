/** What a database says of itself. */
export interface ServerDescription {
  /** Equal text at different times means the same database; a clone of its files has the same one. */
  readonly identity: string;
  /** Equal text at about the same time means the same running server and database, through whatever name or proxy. */
  readonly instance: string;
  /** Server's name and version for people, `PostgreSQL 13.23`. */
  readonly version: string;
}

/**
 * What a database says of itself and of the sessions on it. A worker's presence is its own session: when that has gone, the
 * worker has gone or can do no harm there.
 */
export interface Sessions {
  describe(): Promise<ServerDescription>;
  /** Opens (once) the session that stands for this worker and returns a token for it. */
  presence(): Promise<string>;
  /**
   * Whether the session that a token stands for is still there. True also when the server has been started since: that took
   * every session with it, and the worker will be back with another one before its heartbeat is too old.
   */
  isPresent(token: string): Promise<boolean>;
  /** Ends every session of the given worker; returns how many were ended. */
  endWorker(holder: string): Promise<number>;
  /**
   * Ends the sessions of other workers than this one that have been in a transaction which writes for more than a second;
   * returns how many were ended. For the holder of the lease: nobody else of ours has anything to write that takes as long.
   */
  endStrangers(holder: string): Promise<number>;
}
