import { SwitchbackError } from './errors.ts';

/** One row, every value as the server's text, or null. Nothing is ever parsed into a Number, Date or object for us. */
export type TextRow = Readonly<Record<string, string | null>>;

/** What a statement answered. */
export interface SqlResult {
  readonly rows: readonly TextRow[];
  readonly rowCount: number;
}

/**
 * Runs statements on one session, in the order of the calls. Parameters are text, null, or arrays of those. Errors are
 * the driver's, with the server's `code` (SQLSTATE or errno) on them.
 */
export interface SqlExecutor {
  query(sql: string, params?: readonly (string | null | readonly (string | null)[])[]): Promise<SqlResult>;
}

/**
 * A side's connection for our own bookkeeping. `transaction` commits when the function resolves and rolls back when it
 * throws; a lost connection during COMMIT is reported as kind `unknown`.
 */
export interface SqlSide extends SqlExecutor {
  transaction<T>(work: (sql: SqlExecutor) => Promise<T>): Promise<T>;
}

/**
 * A condition and its record that must hold in the same transaction as an act (S7): it is run first, and throws kind
 * `deposed` when the database knows a newer epoch.
 */
export type Guard = (sql: SqlExecutor) => Promise<void>;

/**
 * What a transaction begins with that is to see what an exported snapshot sees. The name is a server's own: it stands in the
 * statement as it is, since no parameter can.
 */
export const underSnapshot = (exported: string): string => {
  if (!/^[0-9A-Za-z-]+$/.test(exported)) {
    throw new SwitchbackError('internal', `"${exported}" is not the name of an exported snapshot`);
  }
  return `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT '${exported}'`;
};
