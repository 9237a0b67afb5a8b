import type { SqlExecutor, TextRow } from '../../../domain/sql.ts';
import { displayName, type Table, type TableName } from '../../../domain/table.ts';
import { quoteName, quoteTable, quoteText } from '../../../platform/postgres/quote.ts';
import { isTrue, namesOf, textOf } from '../../../platform/postgres/row.ts';
import type { DeferredItem, DeferredKind } from '../../schema.ts';
import { FOREIGN_KEYS, INDEXES } from './capture-sql.ts';

/** An index with what decides whether it can be put off. */
interface FoundIndex {
  readonly row: TextRow;
  readonly oid: string;
  /** The index of the partitioned table above that it is a part of. */
  readonly parent: string | null;
}

/**
 * Reads the indexes, keys, exclusion constraints and foreign keys of the tables, and of the partitioned tables whose
 * partitions are all among them, with the statements that bring each back as it is.
 *
 * What something else depends on is left where it is: an index that a foreign key of another phase refers to, a primary key
 * that a view groups by. So is an index that is not valid, because it could not be brought back as it is.
 */
export const captureDeferred = async (sql: SqlExecutor, tables: readonly Table[]): Promise<readonly DeferredItem[]> => {
  const names = [tables.map((t) => t.schema), tables.map((t) => t.name)];
  const { rows } = await sql.query(INDEXES, names);
  const found = rows.map((row) => ({ row, oid: textOf(row, 'oid'), parent: row.parent ?? null }));
  const free = withoutKept(found);
  const keys = keyIndexes(free, tables);
  const indexes = free.map((index) => indexItem(index, kindOf(index, keys)));
  const foreignKeys = (await sql.query(FOREIGN_KEYS, names)).rows.map(foreignKeyItem);
  return [...indexes, ...foreignKeys];
};

/** An index and those that it is a part of, or that are parts of it, stay or go together. */
const withoutKept = (found: readonly FoundIndex[]): readonly FoundIndex[] => {
  const byOid = new Map(found.map((index) => [index.oid, index]));
  const topOf = (index: FoundIndex): string => {
    if (index.parent === null) return index.oid;
    const parent = byOid.get(index.parent);
    // The partitioned table above is not wholly ours, so what it dictates stays.
    return parent === undefined ? '' : topOf(parent);
  };
  const kept = new Set(found.filter((index) => isTrue(index.row, 'kept')).map(topOf)).add('');
  return found.filter((index) => !kept.has(topOf(index)));
};

const columnSet = (columns: readonly string[]): string => JSON.stringify([...columns].sort());

/**
 * The indexes by which the lane finds rows, and those of partitioned tables above them. The source's key may have another
 * name here: what counts are its columns.
 */
const keyIndexes = (found: readonly FoundIndex[], tables: readonly Table[]): ReadonlySet<string> => {
  const byTable = Map.groupBy(found, ({ row }) => displayName(tableOf(row)));
  const byOid = new Map(found.map((index) => [index.oid, index]));
  const keys = new Set<string>();
  for (const table of tables) {
    const { key } = table;
    if (key === null) continue;
    const usable = (byTable.get(displayName(table)) ?? []).filter(
      ({ row }) => isTrue(row, 'addresses_rows') && columnSet(namesOf(row, 'columns')) === columnSet(key.columns),
    );
    const best =
      usable.find(({ row }) => row.name === key.index) ??
      usable.find(({ row }) => isTrue(row, 'is_primary')) ??
      usable[0];
    for (let index = best; index !== undefined; index = byOid.get(index.parent ?? '')) keys.add(index.oid);
  }
  return keys;
};

const kindOf = ({ oid, row }: FoundIndex, keys: ReadonlySet<string>): DeferredKind => {
  if (keys.has(oid)) return 'key';
  return isTrue(row, 'is_unique') || row.constraint_type === 'x' ? 'unique' : 'index';
};

const tableOf = (row: TextRow): TableName => ({ schema: textOf(row, 'schema'), name: textOf(row, 'table') });

const indexItem = ({ row, parent }: FoundIndex, kind: DeferredKind): DeferredItem => {
  const table = tableOf(row);
  const name = textOf(row, 'name');
  const isConstraint = row.constraint_type != null;
  const drop = isConstraint
    ? `ALTER TABLE IF EXISTS ${quoteTable(table)} DROP CONSTRAINT IF EXISTS ${quoteName(name)}`
    : `DROP INDEX IF EXISTS ${quoteTable({ schema: table.schema, name })}`;
  return {
    kind,
    table,
    name,
    references: null,
    ...definition(row, isConstraint),
    marks: marksOf(row, table),
    drop: parent === null ? drop : null,
    tablespace: row.tablespace ?? null,
    partitioned: isTrue(row, 'is_partitioned'),
  };
};

/**
 * A key of a plain table is made as an index first and taken as a constraint then: that keeps its storage parameters,
 * which the constraint's definition does not show, and holds the exclusive lock for a moment only. A partitioned table and
 * constraints that are not over a btree cannot have it so.
 */
const definition = (row: TextRow, isConstraint: boolean): Pick<DeferredItem, 'index' | 'constraint'> => {
  const index = textOf(row, 'definition');
  if (!isConstraint) return { index, constraint: null };
  const name = quoteName(textOf(row, 'name'));
  const add = `ALTER TABLE ONLY ${quoteTable(tableOf(row))} ADD CONSTRAINT ${name}`;
  const deferral = `${isTrue(row, 'is_deferrable') ? ' DEFERRABLE' : ''}${isTrue(row, 'is_deferred') ? ' INITIALLY DEFERRED' : ''}`;
  const full = textOf(row, 'constraint_definition');
  if (isTrue(row, 'takes_index')) {
    const word = row.constraint_type === 'p' ? 'PRIMARY KEY' : 'UNIQUE';
    return { index, constraint: `${add} ${word} USING INDEX ${name}${deferral}` };
  }
  // The definition of an exclusion constraint shows its storage parameters; that of a key does not.
  const options = row.options == null || row.constraint_type === 'x' ? '' : ` WITH (${row.options})`;
  return { index: null, constraint: `${add} ${full.slice(0, full.length - deferral.length)}${options}${deferral}` };
};

const marksOf = (row: TextRow, table: TableName): readonly string[] => {
  const marks: string[] = [];
  const index = quoteTable({ schema: table.schema, name: textOf(row, 'name') });
  const name = quoteName(textOf(row, 'name'));
  if (row.parent_name != null) {
    const parent = quoteTable({ schema: textOf(row, 'parent_schema'), name: row.parent_name });
    marks.push(`ALTER INDEX ${parent} ATTACH PARTITION ${index}`);
  }
  for (const statistics of namesOf(row, 'statistics')) marks.push(`ALTER INDEX ${index} ALTER COLUMN ${statistics}`);
  if (isTrue(row, 'is_clustered')) marks.push(`ALTER TABLE ${quoteTable(table)} CLUSTER ON ${name}`);
  if (isTrue(row, 'is_identity')) {
    marks.push(`ALTER TABLE ONLY ${quoteTable(table)} REPLICA IDENTITY USING INDEX ${name}`);
  }
  if (row.comment != null) marks.push(`COMMENT ON INDEX ${index} IS ${quoteText(row.comment)}`);
  if (row.constraint_comment != null) {
    marks.push(`COMMENT ON CONSTRAINT ${name} ON ${quoteTable(table)} IS ${quoteText(row.constraint_comment)}`);
  }
  return marks;
};

/**
 * Where the server allows it, a foreign key is added without looking at the rows and validated then, which lets writers
 * (our lane) go on. It must be valid in the end only if it was.
 */
const foreignKeyItem = (row: TextRow): DeferredItem => {
  const table = tableOf(row);
  const name = textOf(row, 'name');
  const relation = quoteTable(table);
  const full = textOf(row, 'definition');
  const inSteps = isTrue(row, 'is_validated') && !isTrue(row, 'is_partitioned');
  const comment =
    row.comment == null ? [] : [`COMMENT ON CONSTRAINT ${quoteName(name)} ON ${relation} IS ${quoteText(row.comment)}`];
  return {
    kind: 'foreign key',
    table,
    name,
    references: { schema: textOf(row, 'to_schema'), name: textOf(row, 'to_table') },
    index: null,
    constraint: `ALTER TABLE ${relation} ADD CONSTRAINT ${quoteName(name)} ${full}${inSteps ? ' NOT VALID' : ''}`,
    marks: [...(inSteps ? [`ALTER TABLE ${relation} VALIDATE CONSTRAINT ${quoteName(name)}`] : []), ...comment],
    drop: `ALTER TABLE IF EXISTS ${relation} DROP CONSTRAINT IF EXISTS ${quoteName(name)}`,
    tablespace: null,
    partitioned: false,
  };
};
