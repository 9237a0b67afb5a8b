import type { ColumnDataType } from 'kysely';
import { type CreateTableBuilder, sql as raw } from 'kysely';
import type { Guard, SqlExecutor } from '../domain/sql.ts';
import { build, execute, SIDECAR_SCHEMA, type SidecarTables } from './tables.ts';

type Columns = Readonly<Record<string, ColumnDataType>>;

interface TableDefinition {
  readonly name: keyof SidecarTables;
  readonly columns: Columns;
  readonly nullable?: readonly string[];
  readonly key: readonly string[];
}

/** Literal list, in no particular order: there are no foreign keys between them, so that each can be mirrored or mended alone. */
const TABLES: readonly TableDefinition[] = [
  {
    name: 'run',
    columns: {
      id: 'text',
      side: 'text',
      plan_name: 'text',
      plan_hash: 'text',
      plan: 'text',
      identity: 'text',
      peer: 'text',
      version: 'text',
      created_at: 'timestamptz',
      facts: 'text',
    },
    key: ['id'],
  },
  {
    name: 'lease',
    columns: {
      run: 'text',
      holder: 'text',
      host: 'text',
      session: 'text',
      epoch: 'bigint',
      heartbeat_at: 'timestamptz',
    },
    key: ['run'],
  },
  {
    name: 'ownership',
    columns: { phase: 'text', epoch: 'bigint', role: 'text', fenced: 'boolean', since: 'timestamptz', by: 'text' },
    key: ['phase'],
  },
  {
    name: 'phase',
    columns: { name: 'text', ordinal: 'bigint', doc: 'text', stuck: 'text', updated_at: 'timestamptz' },
    nullable: ['stuck'],
    key: ['name'],
  },
  {
    name: 'journal',
    columns: {
      // Not a sequence's: its gaps could not be told from entries that were deleted.
      id: 'bigint',
      at: 'timestamptz',
      epoch: 'bigint',
      scope: 'text',
      phases: 'text',
      step: 'text',
      status: 'text',
      detail: 'text',
      ms: 'bigint',
      previous: 'text',
      hash: 'text',
    },
    nullable: ['detail', 'ms'],
    key: ['id'],
  },
  { name: 'chain_end', columns: { entry: 'bigint', hash: 'text', at: 'timestamptz' }, key: ['entry'] },
  {
    name: 'switch',
    columns: { id: 'text', direction: 'text', phases: 'text', epoch: 'bigint', doc: 'text', at: 'timestamptz' },
    key: ['id'],
  },
  {
    name: 'outcome',
    columns: { switch_id: 'text', outcome: 'text', epoch: 'bigint', at: 'timestamptz' },
    key: ['switch_id'],
  },
  {
    name: 'lane',
    columns: { name: 'text', phase: 'text', direction: 'text', slot: 'text', publication: 'text', halt: 'text' },
    nullable: ['halt'],
    key: ['name'],
  },
  {
    name: 'progress',
    columns: {
      lane: 'text',
      position: 'text',
      strict_from: 'text',
      marker: 'bigint',
      epoch: 'bigint',
      updated_at: 'timestamptz',
    },
    nullable: ['strict_from'],
    key: ['lane'],
  },
  {
    name: 'chunk',
    columns: {
      id: 'bigserial',
      lane: 'text',
      tbl: 'text',
      after: 'text',
      up_to: 'text',
      rows: 'bigint',
      bytes: 'bigint',
    },
    nullable: ['after', 'up_to'],
    key: ['id'],
  },
  { name: 'marker', columns: { lane: 'text', seq: 'bigint', at: 'timestamptz' }, key: ['lane'] },
  { name: 'certificate', columns: { id: 'text', phase: 'text', at: 'timestamptz', doc: 'text' }, key: ['id'] },
  {
    name: 'request',
    columns: {
      token: 'text',
      id: 'bigserial',
      command: 'text',
      args: 'text',
      state: 'text',
      result: 'text',
      by: 'text',
      at: 'timestamptz',
    },
    nullable: ['result'],
    key: ['token'],
  },
  {
    name: 'lag',
    columns: { id: 'bigserial', lane: 'text', at: 'timestamptz', ms: 'bigint', changes: 'bigint' },
    key: ['id'],
  },
  { name: 'mirror', columns: { key: 'text', doc: 'text', at: 'timestamptz' }, key: ['key'] },
  {
    name: 'deferred',
    columns: { phase: 'text', ordinal: 'bigint', doc: 'text', built: 'boolean' },
    key: ['phase', 'ordinal'],
  },
  { name: 'created', columns: { ordinal: 'bigint', doc: 'text' }, key: ['ordinal'] },
  {
    name: 'snapshot',
    columns: {
      id: 'text',
      reason: 'text',
      by: 'text',
      state: 'text',
      detail: 'text',
      taken_at: 'timestamptz',
      at: 'timestamptz',
    },
    nullable: ['detail', 'taken_at'],
    key: ['id'],
  },
  {
    name: 'drill',
    columns: {
      id: 'text',
      snapshot: 'text',
      by: 'text',
      place: 'text',
      state: 'text',
      restore_ms: 'bigint',
      doc: 'text',
      at: 'timestamptz',
      updated_at: 'timestamptz',
    },
    nullable: ['place', 'restore_ms', 'doc'],
    key: ['id'],
  },
];

/** Every table of the sidecar with its columns, as a whole sidecar has them. */
export const SIDECAR_COLUMNS: ReadonlyMap<string, readonly string[]> = new Map(
  TABLES.map((table) => [table.name, Object.keys(table.columns)]),
);

/** Columns that the server fills with its own clock, so that no machine's clock is ever written (fault 67). */
const SERVER_TIME = new Set(['created_at', 'heartbeat_at', 'since', 'updated_at', 'at']);

/** Makes the sidecar schema and whatever of its tables is missing. Safe to repeat. */
export const installSidecar = async (sql: SqlExecutor): Promise<void> => {
  // IF NOT EXISTS would ask for CREATE on the database even when a DBA has made the schema for us.
  const exists = await sql.query('SELECT 1 FROM pg_namespace WHERE nspname = $1', [SIDECAR_SCHEMA]);
  if (exists.rowCount === 0) await execute(sql, build.schema.createSchema(SIDECAR_SCHEMA));
  for (const table of TABLES) await execute(sql, definition(table));
};

const definition = (table: TableDefinition) => {
  let statement: CreateTableBuilder<string, string> = build.schema.createTable(table.name).ifNotExists();
  for (const [name, type] of Object.entries(table.columns)) {
    statement = statement.addColumn(name, type, (column) => {
      const nullable = table.nullable?.includes(name) ?? false;
      const filled = SERVER_TIME.has(name) ? column.defaultTo(raw`now()`) : column;
      return nullable ? filled : filled.notNull();
    });
  }
  return statement.addPrimaryKeyConstraint(`${table.name}_pkey`, [...table.key]);
};

/** Makes a damaged sidecar stand: what cannot be used goes, what is missing is made, empty. Whoever calls has salvaged it. */
export const reinstallSidecar = async (
  sql: SqlExecutor,
  damage: {
    readonly malformed: readonly string[];
    readonly unreadable: readonly { readonly table: string; readonly key: string }[];
  },
): Promise<void> => {
  for (const name of damage.malformed) await sql.query(`DROP TABLE ${SIDECAR_SCHEMA}.${name} CASCADE`);
  await installSidecar(sql);
  for (const { table, key } of damage.unreadable) {
    const columns = TABLES.find(({ name }) => name === table)?.key ?? [];
    const text = columns.map((column) => `${column}::text`).join(` || ' ' || `);
    await sql.query(`DELETE FROM ${SIDECAR_SCHEMA}.${table} WHERE ${text} = $1`, [key]);
  }
};

/** Whether the sidecar's tables are there. */
export const sidecarExists = async (sql: SqlExecutor): Promise<boolean> =>
  (
    await sql.query('SELECT 1 FROM information_schema.tables WHERE table_schema = $1 AND table_name = $2', [
      SIDECAR_SCHEMA,
      'run',
    ])
  ).rowCount > 0;

/**
 * Removes the sidecar with all that it knows, if the guard lets it. To be called in a transaction. The tables that guards read
 * are locked first: whoever waited for a row of them would hold up the removal, and the removal them.
 */
export const dropSidecar = async (sql: SqlExecutor, guard: Guard): Promise<void> => {
  if (!(await sidecarExists(sql))) return;
  await sql.query(`LOCK TABLE ${SIDECAR_SCHEMA}.lease, ${SIDECAR_SCHEMA}.ownership IN ACCESS EXCLUSIVE MODE`);
  await guard(sql);
  await execute(sql, build.schema.dropSchema(SIDECAR_SCHEMA).ifExists().cascade());
};
