/** Whom a path led to. Compared with what the sides say of themselves at about the same time. */
export interface Reached {
  /** As in `ServerDescription`. A standby of a server has its identity and another instance. */
  readonly identity: string;
  readonly instance: string;
  /** It replays another server's log and takes no writes. */
  readonly isStandby: boolean;
}

/**
 * A path that clients take to their database: a pooler, a name, a proxy. Asked as a client would, on a connection of its own
 * each time, so that names are looked up anew and nothing is remembered.
 */
export interface ClientPath {
  /** `host:port/database`, for people. */
  readonly name: string;
  /** Settles within some ten seconds. Throws what the driver throws when nobody answers. */
  ask(): Promise<Reached>;
}

/** The paths by which a phase's clients come, none when the plan names none, and how long a repoint may take to show there. */
export interface Probe {
  readonly paths: readonly ClientPath[];
  readonly withinMs: number;
}
