import type { SealedObject } from '../../platform/objects/envelope.ts';
import type { Objects } from '../../platform/objects/objects.ts';
import type { SealKey } from '../../platform/objects/seal-key.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { KeptObjects } from '../local/catalogue.ts';
import type { DatabaseFacts } from '../local/database.ts';

/** What snapshots by pg_dump are made with. */
export interface PgDumpOptions {
  /** Name of the plan: whose they are. */
  readonly plan: string;
  readonly source: PostgresServer;
  /** The same server's URL, for pg_dump. */
  readonly sourceUrl: string;
  /** Where they are kept. */
  readonly objects: Objects;
  /** To encrypt them, and to read those that are encrypted. */
  readonly key: SealKey | null;
  /** Tables that are read, or written, at the same time. */
  readonly jobs: number;
  /** Folder of PostgreSQL's programs; without one PATH finds them. */
  readonly bin: string | null;
  /** URL on a server where rehearsals get databases of their own; without one they get them on the source's. */
  readonly scratchUrl?: string;
}

/** What a manifest says of how it is restored. */
export interface DumpStored extends KeptObjects {
  /** Major version of the pg_dump that wrote it: an older pg_restore cannot read it. */
  readonly program: number;
  readonly database: DatabaseFacts;
  /** What belongs to the database itself: its settings. */
  readonly own: SealedObject;
}
