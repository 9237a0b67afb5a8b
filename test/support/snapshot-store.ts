import pg from 'pg';
import type { RunningServer } from '../../src/demo/servers.ts';
import { SwitchbackError } from '../../src/domain/errors.ts';
import type { Finding } from '../../src/domain/finding.ts';
import type { Position } from '../../src/domain/position.ts';
import { ownerIn } from '../../src/domain/snapshot.ts';
import { quoteName, quoteTable } from '../../src/platform/postgres/quote.ts';
import type {
  CreateSnapshot,
  Destination,
  RestoredPlace,
  Snapshot,
  SnapshotStore,
  WaitOptions,
} from '../../src/snapshots/store.ts';
import { createDatabase, runSql } from './servers.ts';

/** What a {@link HeldSnapshots} is made with. */
export interface HeldOptions {
  /** URL of the database that it is of. */
  readonly source: string;
  /** Where scratch places are made. */
  readonly server: RunningServer;
  /** Makes the tables of a restored place. */
  readonly schema: string;
}

/**
 * A stand-in for a store of snapshots, for tests of what asks one: it holds them in this process, so that it is none that could
 * restore anything after it. Creating reads all rows under a real exported snapshot; restoring makes a real database.
 */
export class HeldSnapshots implements SnapshotStore {
  readonly held = new Map<string, Snapshot & { readonly rows: string }>();
  readonly places = new Set<string>();
  /** How often each method did its work, not counting calls that found it done. */
  readonly done: Record<'create' | 'restore' | 'remove', number> = { create: 0, restore: 0, remove: 0 };
  /** Runs while the exported snapshot stands, before anything is read under it. */
  onExported: () => Promise<void> = async () => undefined;
  /** Runs whenever one is asked for that can be restored already, as others make the copies that are missing. */
  onCopied: (id: string) => Promise<void> = async () => undefined;
  /** Runs before a restored place is handed over. */
  onRestored: (url: string) => Promise<void> = async () => undefined;
  /** Where a restored place is said to be, when that is not where it is. */
  misleads: string | null = null;
  /** Those of which a byte is another by now, which only a restore finds. */
  readonly damaged = new Set<string>();
  /** Places that were asked to be removed, with where they were. */
  readonly removed: string[] = [];
  /** Where nobody answers. */
  readonly unreachable = new Set<string>();
  problems: readonly Finding[] = [];
  /** Whether it says under which exported snapshot its state can be read. */
  isPlaced = true;
  readonly #options: HeldOptions;

  constructor(options: HeldOptions) {
    this.#options = options;
  }

  async findings(): Promise<readonly Finding[]> {
    return this.problems;
  }

  async create({ basis, look }: CreateSnapshot, { progress, signal }: WaitOptions): Promise<Snapshot> {
    const known = this.held.get(basis.id);
    if (known?.state === 'available') {
      await this.onCopied(basis.id);
      return known;
    }
    const at = { createdAt: '2026-11-27T00:00:00.000Z', bytes: null };
    const begun = { id: basis.id, detail: null, manifest: null, owner: ownerIn(basis), ...at };
    this.held.set(basis.id, { ...begun, state: 'creating', rows: '' });
    progress({ text: 'reading rows', percent: null });
    const client = new pg.Client({ connectionString: this.#options.source });
    await client.connect();
    try {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
      const { rows } = await client.query(
        `SELECT pg_export_snapshot() AS name, pg_current_wal_insert_lsn()::text AS at,
                to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS now`,
      );
      const { name, at, now } = rows[0];
      await this.onExported();
      const position = { atLeast: at as Position, atMost: at as Position };
      const seen = await look(this.isPlaced ? name : null, position, signal);
      const manifest = { ...basis, ...seen, position, createdAt: now, bytes: 1, store: null };
      const made: Snapshot = { ...begun, state: 'available', manifest, createdAt: now, bytes: 1 };
      this.held.set(basis.id, { ...made, rows: await textOfRows(client, Object.values(basis.phases).flat()) });
      this.done.create += 1;
      await this.onCopied(basis.id);
      return made;
    } finally {
      await client.end();
    }
  }

  async list(): Promise<readonly Snapshot[]> {
    return [...this.held.values()].map(({ rows, ...snapshot }) => snapshot).reverse();
  }

  async restore(id: string, into: Destination): Promise<RestoredPlace> {
    const snapshot = this.held.get(id);
    if (snapshot?.state !== 'available') throw new SwitchbackError('refused', `there is no ${id} that is available`);
    const { server, schema } = this.#options;
    if (this.damaged.has(id)) throw new SwitchbackError('refused', `${id}/data/1 is damaged`);
    const remove = () => this.removePlace(id, into);
    await runSql(server.url, `DROP DATABASE IF EXISTS ${quoteName(into.name)} WITH (FORCE)`);
    this.places.add(into.name);
    const url = await createDatabase(server, into.name);
    await runSql(url, schema);
    if (snapshot.rows !== '') await runSql(url, snapshot.rows);
    this.done.restore += 1;
    await this.onRestored(url);
    return { url: this.misleads ?? url, differences: [], remove };
  }

  async removePlace(id: string, { name, at }: Destination): Promise<void> {
    this.removed.push(`${id} at ${at}`);
    if (at !== null && this.unreachable.has(at)) throw new SwitchbackError('unreachable', 'nobody answers there');
    await runSql(this.#options.server.url, `DROP DATABASE IF EXISTS ${quoteName(name)} WITH (FORCE)`);
    this.places.delete(name);
  }

  async remove(id: string): Promise<void> {
    if (this.held.delete(id)) this.done.remove += 1;
  }
}

/** All rows of tables as INSERT statements. */
const textOfRows = async (client: pg.Client, names: readonly string[]): Promise<string> => {
  const lines: string[] = [];
  for (const name of names) {
    const [schema = '', table = ''] = name.split('.');
    const into = quoteTable({ schema, name: table });
    const { rows } = await client.query(`SELECT quote_literal(t::text) AS row FROM ${into} t`);
    for (const { row } of rows) lines.push(`INSERT INTO ${into} SELECT (${row}::${into}).*;`);
  }
  return lines.join('\n');
};
