import { isKind, messageOf } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { Catalogue } from '../local/catalogue.ts';
import { versionOf } from '../local/database.ts';
import { findingsOf } from '../local/findings.ts';
import { majorOf, programIn } from '../local/program.ts';
import { spoolFor } from '../local/spool.ts';
import type { CreateSnapshot, Destination, RestoredPlace, Snapshot, SnapshotStore, WaitOptions } from '../store.ts';
import { type BackupContext, CLUSTER, createBackup } from './create.ts';
import type { PgBasebackupOptions } from './options.ts';
import { removeBackup, restoreBackup } from './restore.ts';

/**
 * Snapshots of the source's whole cluster by pg_basebackup, with the log that it needs, in a directory or in S3. It is restored
 * into a new directory on this machine, by PostgreSQL's programs of the same version, and its server is started on a socket that
 * only our user can reach: whoever takes it into use decides first who may connect.
 */
export class PgBasebackupStore implements SnapshotStore {
  readonly #context: BackupContext;

  /** Connects to nothing yet. */
  constructor(options: PgBasebackupOptions) {
    const { objects, key, plan } = options;
    const catalogue = new Catalogue({ objects, key, plan, kind: 'pg_basebackup' });
    this.#context = { options, catalogue, spool: spoolFor(objects) };
  }

  async findings(): Promise<readonly Finding[]> {
    const { options, spool } = this.#context;
    const common = await findingsOf({ ...options, spool, programs: ['pg_basebackup'] });
    return [...common, ...(await this.#clusterFindings()), ...(await this.#serverFindings())];
  }

  async create(spec: CreateSnapshot, options: WaitOptions): Promise<Snapshot> {
    return await createBackup(this.#context, spec, options);
  }

  async list(): Promise<readonly Snapshot[]> {
    return await this.#context.catalogue.list();
  }

  async restore(id: string, into: Destination, options: WaitOptions): Promise<RestoredPlace> {
    return await restoreBackup(this.#context, { id, into }, options);
  }

  async removePlace(id: string, from: Destination, _options: WaitOptions): Promise<void> {
    await removeBackup(this.#context, { id, into: from });
  }

  async remove(id: string, _options: WaitOptions): Promise<void> {
    await this.#context.catalogue.remove(id);
  }

  async #clusterFindings(): Promise<readonly Finding[]> {
    const { source } = this.#context.options;
    const [row] = (await source.query(CLUSTER)).rows;
    const found: Finding[] = [];
    const common = { severity: 'blocks', subject: source.label } as const;
    if (row?.copies !== 'true') {
      const remedy = 'give it: ALTER ROLE … REPLICATION, and a line for `replication` in pg_hba.conf';
      found.push({ ...common, id: 'snapshot/rights', fact: 'our role has no right to replicate', remedy });
    }
    if (row?.tablespaces !== '[]') {
      const remedy = 'use `store: pg_dump`, which leaves them out';
      found.push({ ...common, id: 'snapshot/tablespaces', fact: `it has the tablespaces ${row?.tablespaces}`, remedy });
    }
    return found;
  }

  /** Without a server of the same version here, a snapshot can be made and not be proven. */
  async #serverFindings(): Promise<readonly Finding[]> {
    const { source, bin } = this.#context.options;
    const subject = programIn(bin, 'pg_ctl');
    const { major, text } = await versionOf(source);
    const remedy = `install PostgreSQL ${major} here, or name the folder of its programs in \`snapshots.bin\` of the plan`;
    const warns = { id: 'snapshot/server', severity: 'warns', subject, remedy } as const;
    try {
      const ours = await majorOf(subject);
      if (ours === major) return [];
      return [{ ...warns, fact: `it is of version ${ours}, and the source is ${text}: nothing can be restored here` }];
    } catch (error) {
      if (!isKind(error, 'usage')) throw error;
      return [{ ...warns, fact: `${messageOf(error)}: nothing can be restored here` }];
    }
  }
}
