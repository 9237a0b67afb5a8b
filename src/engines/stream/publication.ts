import { SwitchbackError } from '../../domain/errors.ts';
import { TRY_STAGE_AGAIN } from '../../domain/remedy.ts';
import type { Guard, SqlExecutor } from '../../domain/sql.ts';
import { displayName, type Table, type TableName } from '../../domain/table.ts';
import { quoteName, quoteTable } from '../../platform/postgres/quote.ts';
import { codeOf, type PostgresServer } from '../../platform/postgres/server.ts';

/** What a publication publishes. */
export interface PublicationSpec {
  readonly name: string;
  readonly tables: readonly Table[];
  /** Partitioned tables, published as such; their leaves are among `tables`. */
  readonly roots: readonly TableName[];
  /** The table of the markers. */
  readonly marker: TableName;
}

const DUPLICATE_OBJECT = '42710';

/** Tables of the publication `$1`: schema, name. */
export const PUBLISHED = `
  SELECT n.nspname AS schema, c.relname AS name FROM pg_publication p
    JOIN pg_publication_rel r ON r.prpubid = p.oid
    JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE p.pubname = $1`;

const SETTINGS = `
  SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AND NOT pubviaroot AND NOT puballtables AS fits
    FROM pg_publication WHERE pubname = $1`;

/**
 * Makes the publication of a phase and our markers, before any slot of a lane that uses it. Changes of a partitioned table
 * are published per leaf, since TRUNCATE of a leaf would otherwise be lost. Does nothing when it exists and is the same;
 * throws kind `refused` when it differs: altering it while transactions write loses changes (fault 26). The guard runs in the
 * transaction that makes it.
 */
export const ensurePublication = async (server: PostgresServer, spec: PublicationSpec, guard: Guard): Promise<void> => {
  const roots = new Set(spec.roots.map(displayName));
  const plain = spec.tables.filter((t) => t.root === null || !roots.has(displayName(t.root)));
  const members = [...spec.roots, ...plain, spec.marker];
  // A parent by plain inheritance is published alone: its children are tables of their own.
  const list = [...spec.roots.map(quoteTable), ...[...plain, spec.marker].map((t) => `ONLY ${quoteTable(t)}`)].join(
    ', ',
  );
  const { rows } = await server.query(SETTINGS, [spec.name]);
  if (rows[0] === undefined) {
    try {
      return await server.transaction(async (sql) => {
        await guard(sql);
        await sql.query(
          `CREATE PUBLICATION ${quoteName(spec.name)} FOR TABLE ${list}
             WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = false)`,
        );
      });
    } catch (error) {
      // Another worker has just made it; it must then be the same.
      if (codeOf(error) !== DUPLICATE_OBJECT) throw error;
    }
  }
  await requireSame(server, spec.name, new Set(members.map(displayName)));
};

const requireSame = async (server: PostgresServer, name: string, expected: ReadonlySet<string>): Promise<void> => {
  const settings = await server.query(SETTINGS, [name]);
  const published = await server.query(PUBLISHED, [name]);
  const tables = new Set(published.rows.map((row) => displayName({ schema: row.schema ?? '', name: row.name ?? '' })));
  const differing = [...expected, ...tables].filter((table) => !(expected.has(table) && tables.has(table)));
  if (settings.rows[0]?.fits === 't' && differing.length === 0) return;
  const fact = differing.length === 0 ? 'has other settings' : `differs in ${differing.join(', ')}`;
  throw new SwitchbackError('refused', `publication ${name} on the ${server.label} exists and ${fact}`, {
    remedy: `when no lane uses it: DROP PUBLICATION ${quoteName(name)}; ${TRY_STAGE_AGAIN}`,
  });
};

/** Drops a publication, if there is one. No lane may use it any more. */
export const dropPublication = async (sql: SqlExecutor, name: string): Promise<void> => {
  await sql.query(`DROP PUBLICATION IF EXISTS ${quoteName(name)}`);
};
