import type { TableName } from '../../domain/table.ts';

/** Quotes an identifier for PostgreSQL, whatever is in it. Throws RangeError on NUL, which no identifier can hold. */
export const quoteName = (name: string): string => {
  if (name.includes('\0')) throw new RangeError('an identifier cannot contain NUL');
  return `"${name.replaceAll('"', '""')}"`;
};

/** Quotes a schema-qualified table name. */
export const quoteTable = (table: TableName): string => `${quoteName(table.schema)}.${quoteName(table.name)}`;

/** Quotes a text literal, with E'' only where a backslash needs it, so that standard_conforming_strings does not matter. */
export const quoteText = (text: string): string => {
  if (text.includes('\0')) throw new RangeError('a text literal cannot contain NUL');
  const doubled = text.replaceAll("'", "''");
  return doubled.includes('\\') ? `E'${doubled.replaceAll('\\', '\\\\')}'` : `'${doubled}'`;
};
