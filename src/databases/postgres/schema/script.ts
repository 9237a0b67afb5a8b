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

/**
 * What can be sent with its neighbours: a text is read as a whole before the first of its statements runs, so one that
 * changes how text is read (SET standard_conforming_strings) has to come by itself.
 */
const TOGETHER = /^(create|alter|comment|grant|revoke)\b/i;
const STATEMENTS_AT_ONCE = 50;

/** Statements that are sent as one text, in order. */
const batchesOf = (statements: readonly Statement[]): readonly (readonly Statement[])[] => {
  const batches: Statement[][] = [];
  let last: Statement[] | null = null;
  for (const statement of statements) {
    const together = TOGETHER.test(statement.text);
    if (together && last !== null && last.length < STATEMENTS_AT_ONCE) last.push(statement);
    else {
      const batch = [statement];
      batches.push(batch);
      last = together ? batch : null;
    }
  }
  return batches;
};

/**
 * Runs statements in order, some of them at once, since a schema has thousands and each would wait for the one before it to be
 * answered. Throws kind `findings` with file, line and statement when the server refuses one. To be called in a transaction.
 */
export const runStatements = async (
  sql: SqlExecutor,
  script: Script,
  statements: readonly Statement[],
): Promise<void> => {
  for (const batch of batchesOf(statements)) {
    if (batch.length > 1 && (await runTogether(sql, batch))) continue;
    for (const statement of batch) {
      try {
        await sql.query(statement.text);
      } catch (error) {
        if (isConnectionLost(error)) throw error;
        throw explain(script, statement, error);
      }
    }
  }
};

/** Whether all have run. If not, none has, and which one is refused shows when they are run one by one. */
const runTogether = async (sql: SqlExecutor, batch: readonly Statement[]): Promise<boolean> => {
  // A statement may end in a comment, which would swallow what follows on its line.
  const texts = [...batch.map(({ text }) => text), 'RELEASE SAVEPOINT batch'];
  // By itself: a server reads the whole of a text before it begins with it, and one that it cannot read would leave no savepoint.
  await sql.query('SAVEPOINT batch');
  try {
    await sql.query(texts.join('\n;\n'));
    return true;
  } catch (error) {
    if (isConnectionLost(error)) throw error;
    await sql.query('ROLLBACK TO SAVEPOINT batch; RELEASE SAVEPOINT batch');
    return false;
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
