import type { Objects } from '../../platform/objects/objects.ts';
import type { SealKey } from '../../platform/objects/seal-key.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { KeptObjects } from '../local/catalogue.ts';

/** What snapshots by pg_basebackup are made with. */
export interface PgBasebackupOptions {
  /** Name of the plan: whose they are. */
  readonly plan: string;
  readonly source: PostgresServer;
  /** The same server's URL, for pg_basebackup; a restored place is reached as the same user, on a database of the same name. */
  readonly sourceUrl: string;
  /** Where they are kept. */
  readonly objects: Objects;
  /** To encrypt them, and to read those that are encrypted. */
  readonly key: SealKey | null;
  /** Folder of PostgreSQL's programs; without one PATH finds them. */
  readonly bin: string | null;
  /** Directory in which rehearsals get directories of their own; without one they get them beside the spool. */
  readonly scratch?: string;
}

/** What a manifest says of how it is restored. */
export interface BackupStored extends KeptObjects {
  /** Major version of the server: only the same one can read its files. */
  readonly major: number;
  /** Of the database cluster, as `pg_control_system` tells it. */
  readonly system: string;
}
