import type { Finding } from '../../domain/finding.ts';
import { Catalogue } from '../local/catalogue.ts';
import { findingsOf } from '../local/findings.ts';
import { spoolFor } from '../local/spool.ts';
import type { CreateSnapshot, Destination, RestoredPlace, Snapshot, SnapshotStore, WaitOptions } from '../store.ts';
import { type CreateContext, createDump } from './create.ts';
import type { PgDumpOptions } from './options.ts';
import { removeDump, restoreDump } from './restore.ts';

/**
 * Snapshots of the source's database by pg_dump, in the directory format, in a directory or in S3. A snapshot's state is exactly
 * that of one position where a logical slot can be had. It is restored into a new database, on any server of the same version or
 * a later one.
 */
export class PgDumpStore implements SnapshotStore {
  readonly #context: CreateContext;

  /** Connects to nothing yet. */
  constructor(options: PgDumpOptions) {
    const { objects, key, plan } = options;
    const catalogue = new Catalogue({ objects, key, plan, kind: 'pg_dump' });
    this.#context = { options, catalogue, spool: spoolFor(objects) };
  }

  async findings(): Promise<readonly Finding[]> {
    const { options, spool } = this.#context;
    return await findingsOf({ ...options, spool, programs: ['pg_dump', 'pg_restore'] });
  }

  async create(spec: CreateSnapshot, options: WaitOptions): Promise<Snapshot> {
    return await createDump(this.#context, spec, options);
  }

  async list(): Promise<readonly Snapshot[]> {
    return await this.#context.catalogue.list();
  }

  async restore(id: string, into: Destination, options: WaitOptions): Promise<RestoredPlace> {
    return await restoreDump(this.#context, { id, into }, options);
  }

  async removePlace(id: string, from: Destination, _options: WaitOptions): Promise<void> {
    await removeDump(this.#context.options, { id, into: from });
  }

  async remove(id: string, _options: WaitOptions): Promise<void> {
    await this.#context.catalogue.remove(id);
  }
}
