import { SwitchbackError } from '../../domain/errors.ts';
import type { Guard, SqlExecutor } from '../../domain/sql.ts';
import { displayName, type TableName } from '../../domain/table.ts';
import { quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import { isTrue, textOf } from '../../platform/postgres/row.ts';
import { codeOf, type PostgresServer } from '../../platform/postgres/server.ts';
import type { SequenceState } from '../database.ts';

const INSUFFICIENT_PRIVILEGE = '42501';
const OUT_OF_RANGE = '22003';

interface State extends SequenceState {
  readonly increment: bigint;
}

const readStates = async (sql: SqlExecutor, names: readonly TableName[]): Promise<readonly State[]> => {
  if (names.length === 0) return [];
  const one = (name: TableName, ordinal: number) =>
    `SELECT ${ordinal} AS ordinal, last_value, is_called, seqincrement FROM ${quoteTable(name)}, pg_sequence
     WHERE seqrelid = ${quoteText(quoteTable(name))}::regclass`;
  const { rows } = await sql.query(`${names.map(one).join('\nUNION ALL ')}\nORDER BY ordinal`);
  return names.map((name, at) => {
    const row = rows[at];
    if (row === undefined) throw new SwitchbackError('internal', `sequence ${displayName(name)} gave no state`);
    return {
      schema: name.schema,
      name: name.name,
      lastValue: textOf(row, 'last_value'),
      isCalled: isTrue(row, 'is_called'),
      increment: BigInt(textOf(row, 'seqincrement')),
    };
  });
};

/** Whether `mine` would hand out a value that `other` has handed out already. */
const isBehind = (mine: State, other: SequenceState): boolean => {
  const ahead = BigInt(other.lastValue) - BigInt(mine.lastValue);
  if (ahead === 0n) return other.isCalled && !mine.isCalled;
  return mine.increment > 0n ? ahead > 0n : ahead < 0n;
};

const explain = (error: unknown, names: readonly TableName[]): unknown => {
  const list = names.map(displayName).join(', ');
  switch (codeOf(error)) {
    case INSUFFICIENT_PRIVILEGE:
      return new SwitchbackError('refused', `no right to set or read a sequence among ${list}`, {
        remedy: `GRANT SELECT, UPDATE ON SEQUENCE ${names.map(quoteTable).join(', ')} to our role; then give the command again`,
        cause: error,
      });
    case OUT_OF_RANGE:
      return new SwitchbackError('refused', `a sequence among ${list} cannot hold the other side's value`, {
        remedy: 'ALTER SEQUENCE … MAXVALUE (or MINVALUE) as on the other side, then give the command again',
        cause: error,
      });
    default:
      return error;
  }
};

/** States of the named sequences, in the order given, by one statement. Throws kind `refused` without the privilege. */
export const readSequenceStates = async (
  server: PostgresServer,
  names: readonly TableName[],
): Promise<readonly SequenceState[]> => {
  try {
    const states = await readStates(server, names);
    return states.map(({ increment: _, ...state }) => state);
  } catch (error) {
    throw explain(error, names);
  }
};

/**
 * Moves each sequence that is behind, in the direction of its own increment, to exactly the state given. `setval` is not
 * undone by a rollback, so nothing may follow it that can fail; the guard comes first and keeps its row lock to the end.
 */
export const advanceSequences = async (
  server: PostgresServer,
  states: readonly SequenceState[],
  guard: Guard,
): Promise<void> => {
  try {
    await server.transaction(async (sql) => {
      await guard(sql);
      const current = await readStates(sql, states);
      const behind = states.filter((state, at) => {
        const mine = current[at];
        return mine !== undefined && isBehind(mine, state);
      });
      if (behind.length === 0) return;
      const calls = behind.map(
        (state) => `(${quoteText(quoteTable(state))}::regclass, ${BigInt(state.lastValue)}::bigint, ${state.isCalled})`,
      );
      await sql.query(`SELECT setval(s, v, c) FROM (VALUES ${calls.join(', ')}) AS moves(s, v, c)`);
    });
  } catch (error) {
    throw explain(error, states);
  }
};
