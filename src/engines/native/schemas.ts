import type { SqlExecutor } from '../../domain/sql.ts';
import { displayName, type Table, type TableName } from '../../domain/table.ts';
import { quoteName } from '../../platform/postgres/quote.ts';
import { textOf } from '../../platform/postgres/row.ts';
import type { NativeContext } from './context.ts';
import { publicationLost, schemaChanged, tableNames } from './halt.ts';
import { markerTable } from './names.ts';

const PUBLISHED = `
  SELECT t.schemaname AS schema, t.tablename AS name FROM pg_publication p
    LEFT JOIN pg_publication_tables t ON t.pubname = p.pubname WHERE p.pubname = $1`;

/** Stored columns by name, with their types; a generated one is each side's own. */
const COLUMNS = `
  SELECT w.schema, w.name,
         (SELECT coalesce(json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod)) ORDER BY a.attname), '[]')
            FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')
           AS columns
    FROM json_to_recordset($1::json) AS w(schema text, name text)
    JOIN pg_namespace n ON n.nspname = w.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind = 'r'`;

/** Which tables a publication publishes; null when it is not there. */
export const publishedTables = async (sql: SqlExecutor, publication: string): Promise<readonly TableName[] | null> => {
  const { rows } = await sql.query(PUBLISHED, [publication]);
  if (rows.length === 0) return null;
  return rows.flatMap((row) =>
    row.schema == null ? [] : [{ schema: textOf(row, 'schema'), name: textOf(row, 'name') }],
  );
};

const readColumns = async (sql: SqlExecutor, tables: readonly Table[]): Promise<ReadonlyMap<string, string>> => {
  const wanted = JSON.stringify(tables.map(({ schema, name }) => ({ schema, name })));
  const { rows } = await sql.query(COLUMNS, [wanted]);
  return new Map(
    rows.map((row) => [
      displayName({ schema: textOf(row, 'schema'), name: textOf(row, 'name') }),
      textOf(row, 'columns'),
    ]),
  );
};

type Columns = readonly (readonly [name: string, type: string])[];

const differenceOf = (from: string, to: string, side: string): string => {
  const [ours, theirs] = [JSON.parse(from) as Columns, new Map(JSON.parse(to) as Columns)];
  for (const [name, type] of ours) {
    const other = theirs.get(name);
    theirs.delete(name);
    if (other === undefined) return `the ${side} has no column ${quoteName(name)} to write to`;
    if (other !== type) return `column ${quoteName(name)} has type ${other} on the ${side}, and now type ${type}`;
  }
  const [extra] = theirs.keys();
  return `column ${quoteName(extra ?? '')} is on the ${side} and not in the changes`;
};

/**
 * Makes sure that what is published is the lane's tables, and that the two sides have the same columns (S13): the server's own
 * worker would go on with a column that is gone or of another type, and pass over the rows of a new partition. Throws kind
 * `halted` when they differ.
 */
export const assertSameSchemas = async (context: NativeContext): Promise<void> => {
  const { spec, from, to } = context;
  const [published, ours, theirs] = await Promise.all([
    publishedTables(from, spec.publication),
    readColumns(from, spec.tables),
    readColumns(to, spec.tables),
  ]);
  if (published === null) throw publicationLost(context);
  const names = tableNames(context);
  const there = new Set(published.map(displayName));
  const marker = displayName(markerTable(spec.publication, spec.direction));
  for (const name of there) {
    if (name !== marker && !names.has(name)) {
      throw schemaChanged(context, name, 'is published but is no table of this phase');
    }
  }
  for (const name of names) {
    const [a, b] = [ours.get(name), theirs.get(name)];
    if (!there.has(name) || a === undefined) throw schemaChanged(context, name, 'is not published any more');
    if (b === undefined) throw schemaChanged(context, name, `does not exist on the ${to.label}`);
    if (a !== b) throw schemaChanged(context, name, differenceOf(a, b, to.label));
  }
};
