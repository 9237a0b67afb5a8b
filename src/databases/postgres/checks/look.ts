import { messageOf } from '../../../domain/errors.ts';
import type { Finding } from '../../../domain/finding.ts';
import type { SqlExecutor } from '../../../domain/sql.ts';
import type { TableName } from '../../../domain/table.ts';
import { codeOf, type PostgresServer } from '../../../platform/postgres/server.ts';

const INSUFFICIENT_PRIVILEGE = '42501';

/** Something that is read from a side, and what lets our role read it. */
export interface Reading<T> {
  /** `who subscribes`, for the message. */
  readonly what: string;
  /** The statement that gives the privilege. */
  readonly grant: string;
  readonly read: (sql: SqlExecutor) => Promise<T>;
}

/** Facts, or why they could not be had. */
export type Looked<T> =
  | { readonly facts: T; readonly findings: readonly [] }
  | { readonly facts: null; readonly findings: readonly [Finding] };

/**
 * Reads facts of a side. A privilege that is missing becomes a finding that says which, so that one refusal does not hide
 * everything else; any other error is thrown, because then we could not look.
 */
export const look = async <T>(server: PostgresServer, reading: Reading<T>): Promise<Looked<T>> => {
  try {
    return { facts: await reading.read(server), findings: [] };
  } catch (error) {
    if (codeOf(error) !== INSUFFICIENT_PRIVILEGE) throw error;
    const finding: Finding = {
      id: 'privilege/cannot-look',
      severity: 'blocks',
      subject: server.label,
      fact: `could not read ${reading.what}: ${messageOf(error)}`,
      remedy: `on the ${server.label}: ${reading.grant}`,
    };
    return { facts: null, findings: [finding] };
  }
};

/** Names as the parameter of `json_to_recordset($1::json) AS w(schema text, name text)`. */
export const namesParameter = (tables: readonly TableName[]): string =>
  JSON.stringify(tables.map(({ schema, name }) => ({ schema, name })));
