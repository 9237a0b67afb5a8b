import { messageOf, SwitchbackError } from '../../../domain/errors.ts';
import { TRY_STAGE_AGAIN } from '../../../domain/remedy.ts';
import type { SqlExecutor } from '../../../domain/sql.ts';
import { codeOf, isConnectionLost } from '../../../platform/postgres/server.ts';
import { type Statement, splitStatements } from './split.ts';

/** A script and where it comes from. */
export interface Script {
  /** The file's name, or what else to call it in an error. */
  readonly name: string;
  readonly text: string;
}

const TRANSACTION_CONTROL =
  /^(begin|start\s+transaction|commit|end|rollback(?!\s+to\b)|abort|prepare\s+transaction)\b/i;
const STATEMENT_SHOWN_CHARS = 300;

/** What can be done about a statement that was refused, by SQLSTATE. */
const REMEDIES: Readonly<Record<string, string>> = {
  '42501': 'give our role on the target this privilege, or make the schema yourself and use schema: { from: existing }',
  '42704': 'make what is missing on the target first (roles: pg_dumpall --roles-only)',
  '42P06': 'the target is not empty: use an empty database, or schema: { from: existing }',
  '42P07': 'the target is not empty: use an empty database, or schema: { from: existing }',
  '42710': 'the target is not empty: use an empty database, or schema: { from: existing }',
  '42723': 'the target is not empty: use an empty database, or schema: { from: existing }',
  '0A000': 'the target does not have this feature or extension: install it there, or change the schema files',
  '58P01': 'install the extension on the target server',
};

/** A script's statements; psql's own commands and COPY FROM STDIN are refused, and so is what would end our transaction. */
export const parseFile = (script: Script): readonly Statement[] => {
  const statements = splitStatements(script.text);
  for (const statement of statements) {
    if (statement.text.startsWith('\\')) throw refused(script, statement, "psql's own commands cannot be run here");
    if (TRANSACTION_CONTROL.test(statement.text)) {
      throw refused(script, statement, 'all files are run in one transaction of ours');
    }
  }
  return statements;
};

const refused = (script: Script, statement: Statement, message: string): SwitchbackError =>
  new SwitchbackError('usage', `${script.name}:${statement.line}: ${message}: ${shown(statement)}`, {
    remedy: 'take the statement out of the file',
  });

const shown = (statement: Statement): string =>
  statement.text.length <= STATEMENT_SHOWN_CHARS
    ? statement.text
    : `${statement.text.slice(0, STATEMENT_SHOWN_CHARS)} …`;

/** Runs statements one by one. Throws kind `findings` with file, line and statement when the server refuses one. */
export const runStatements = async (
  sql: SqlExecutor,
  script: Script,
  statements: readonly Statement[],
): Promise<void> => {
  for (const statement of statements) {
    try {
      await sql.query(statement.text);
    } catch (error) {
      if (isConnectionLost(error)) throw error;
      throw explain(script, statement, error);
    }
  }
};

const explain = (script: Script, statement: Statement, error: unknown): SwitchbackError => {
  const subject = `${script.name}:${lineOf(statement, error)}`;
  const fact = `${messageOf(error)} in: ${shown(statement)}`;
  const remedy =
    REMEDIES[codeOf(error)] ?? 'mend the statement, or make the schema yourself and use { from: existing }';
  return new SwitchbackError('findings', `the target refuses the schema at ${subject}: ${fact}`, {
    remedy: `${remedy}, ${TRY_STAGE_AGAIN}`,
    findings: [{ id: 'schema/refused', severity: 'blocks', subject, fact, remedy }],
    cause: error,
  });
};

/** The server counts characters of the statement from 1, and only for errors that it can place. */
const lineOf = (statement: Statement, error: unknown): number => {
  const position = error instanceof Error && 'position' in error ? Number(error.position) : Number.NaN;
  if (!Number.isFinite(position)) return statement.line;
  const before = Array.from(statement.text).slice(0, position - 1);
  return statement.line + before.filter((character) => character === '\n').length;
};
