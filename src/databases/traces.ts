import type { TableName } from '../domain/table.ts';

/** How some tables' fence really stands, whatever the sidecar says of it. */
export interface FenceTrace {
  /** `all`: every table refuses writes now. `some` and `none`: a write can get through somewhere, or everywhere. */
  readonly stands: 'all' | 'some' | 'none';
  /** Whether any table still has the fence's trigger, enabled or not: only the end of a phase removes it. */
  readonly hasTriggers: boolean;
}

/**
 * What a run leaves in a database outside of the sidecar's tables. It is what a rebuild goes by when those are damaged.
 * Nothing here changes anything. Errors: kind `unreachable`.
 */
export interface SideTraces {
  /** Reads the fence of the tables and of what they are partitions of. A fence whose function was changed does not stand. */
  fence(tables: readonly TableName[]): Promise<FenceTrace>;
  /** Whether any of the tables that exist holds a row. */
  holdsRows(tables: readonly TableName[]): Promise<boolean>;
  /** Ids of other workers whose sessions are in this database. */
  workers(): Promise<readonly string[]>;
}
