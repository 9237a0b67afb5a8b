import { SwitchbackError } from '../../domain/errors.ts';
import type { SqlResult, TextRow } from '../../domain/sql.ts';

/** A column that the statement never leaves null. Throws kind `internal` when it did. */
export const textOf = (row: TextRow, column: string): string => {
  const value = row[column];
  if (value === null || value === undefined) throw new SwitchbackError('internal', `no value in column "${column}"`);
  return value;
};

/** Whether a boolean column is true. */
export const isTrue = (row: TextRow, column: string): boolean => row[column] === 't';

/** A list of names that the statement built with `json_agg` or `to_json`; names only, never rows' data. */
export const namesOf = (row: TextRow, column: string): readonly string[] => {
  const parsed: unknown = JSON.parse(textOf(row, column));
  if (!Array.isArray(parsed)) throw new SwitchbackError('internal', `column "${column}" is not a list of names`);
  return parsed.map(String);
};

/** The only row of a statement that always answers with one. Throws kind `internal` when it did not. */
export const onlyRow = (result: SqlResult): TextRow => {
  const [row] = result.rows;
  if (row === undefined) throw new SwitchbackError('internal', 'a statement that answers one row answered none');
  return row;
};
