import { STATES } from '../domain/protocol.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { SIDECAR_COLUMNS } from './install.ts';
import { SIDECAR_SCHEMA } from './tables.ts';

/** A row of the sidecar whose document cannot be read. */
export interface UnreadableRow {
  readonly table: string;
  readonly column: string;
  /** Text of the row's key. */
  readonly key: string;
}

/** What of a sidecar stands. */
export interface SidecarShape {
  /** Whether any of its tables is there. A schema without one is no sidecar: a DBA may have made it for us. */
  readonly exists: boolean;
  /** Tables that are not there. */
  readonly missing: readonly string[];
  /** Tables that lack one of their columns. */
  readonly malformed: readonly string[];
  readonly unreadable: readonly UnreadableRow[];
}

/** Whether a table of a sidecar can be asked. */
export const isWhole = (shape: SidecarShape, table: string): boolean =>
  shape.exists && !shape.missing.includes(table) && !shape.malformed.includes(table);

/**
 * Columns that hold JSON of ours, with the text of their row's key. Of certificates only the newest of each phase, of
 * requests only those that are not done, because nothing reads the others.
 */
const DOCUMENTS: readonly { readonly table: string; readonly column: string; readonly rows: string }[] = [
  { table: 'run', column: 'plan', rows: 'SELECT id AS key, plan AS doc FROM switchback.run' },
  { table: 'run', column: 'facts', rows: 'SELECT id AS key, facts AS doc FROM switchback.run' },
  { table: 'phase', column: 'doc', rows: 'SELECT name AS key, doc FROM switchback.phase' },
  { table: 'phase', column: 'stuck', rows: 'SELECT name AS key, stuck AS doc FROM switchback.phase' },
  { table: 'switch', column: 'doc', rows: 'SELECT id AS key, doc FROM switchback.switch' },
  { table: 'lane', column: 'halt', rows: 'SELECT name AS key, halt AS doc FROM switchback.lane' },
  { table: 'mirror', column: 'doc', rows: 'SELECT key, doc FROM switchback.mirror' },
  {
    table: 'deferred',
    column: 'doc',
    rows: `SELECT phase || ' ' || ordinal AS key, doc FROM switchback.deferred`,
  },
  { table: 'created', column: 'doc', rows: 'SELECT ordinal::text AS key, doc FROM switchback.created' },
  { table: 'drill', column: 'doc', rows: 'SELECT id AS key, doc FROM switchback.drill' },
  {
    table: 'request',
    column: 'args',
    rows: `SELECT token AS key, args AS doc FROM switchback.request WHERE state <> 'done'`,
  },
  {
    table: 'certificate',
    column: 'doc',
    rows: '(SELECT DISTINCT ON (phase) id AS key, doc FROM switchback.certificate ORDER BY phase, at DESC)',
  },
];

/** Looks at what of the sidecar stands, without relying on any of it. Changes nothing. */
export const readShape = async (sql: SqlExecutor): Promise<SidecarShape> => {
  const columns = await readColumns(sql);
  const tables = [...SIDECAR_COLUMNS];
  const missing = tables.flatMap(([table]) => (columns.has(table) ? [] : [table]));
  const malformed = tables.flatMap(([table, expected]) => {
    const found = columns.get(table);
    return found && !expected.every((column) => found.has(column)) ? [table] : [];
  });
  const shape = { exists: missing.length < tables.length, missing, malformed, unreadable: [] };
  return { ...shape, unreadable: shape.exists ? await readUnreadable(sql, shape) : [] };
};

const readColumns = async (sql: SqlExecutor): Promise<ReadonlyMap<string, ReadonlySet<string>>> => {
  const { rows } = await sql.query(
    `SELECT c.relname AS name, a.attname AS col FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      WHERE n.nspname = $1 AND c.relkind = 'r'`,
    [SIDECAR_SCHEMA],
  );
  const found = new Map<string, Set<string>>();
  for (const { name, col } of rows) {
    const columns = found.get(name ?? '') ?? new Set();
    found.set(name ?? '', columns.add(col ?? ''));
  }
  return found;
};

const readUnreadable = async (sql: SqlExecutor, shape: SidecarShape): Promise<readonly UnreadableRow[]> => {
  const asked = DOCUMENTS.filter(({ table }) => isWhole(shape, table));
  if (asked.length === 0) return [];
  const parts = asked.map(({ rows }, at) => `SELECT ${at} AS at, key, doc FROM (${rows}) d`);
  const { rows } = await sql.query(parts.join(' UNION ALL '));
  return rows.flatMap(({ at, key, doc }) => {
    const { table = '', column = '' } = asked[Number(at)] ?? {};
    const row = { table, column, key: key ?? '' };
    return doc === null || doc === undefined || isDocument(row, doc) ? [] : [row];
  });
};

const isDocument = (row: UnreadableRow, doc: string): boolean => {
  const parsed = parsedOrNull(doc);
  if (typeof parsed !== 'object' || parsed === null) return false;
  return row.table !== 'phase' || row.column !== 'doc' || isPhaseState(parsed);
};

/** JSON, or null for text that is none. */
export const parsedOrNull = (doc: string): unknown => {
  try {
    return JSON.parse(doc) as unknown;
  } catch {
    return null;
  }
};

/** Whether a document is a state that a phase can be in. */
export const isPhaseState = (doc: unknown): boolean =>
  typeof doc === 'object' && doc !== null && 'name' in doc && STATES.some(({ name }) => name === doc.name);
