import { SwitchbackError } from '../../domain/errors.ts';
import type { SqlExecutor, TextRow } from '../../domain/sql.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { quoteName, quoteTable } from './quote.ts';
import { textOf } from './row.ts';

/** How two values of a key column are compared. */
export type Comparison = 'less' | 'atMost' | 'equal' | 'atLeast' | 'greater';

/**
 * One column of a key with the operators and the collation of its index. They are named in full, because our search_path
 * is pg_catalog: there `=` on a citext column quietly means text's, which is another equality and cannot use the index.
 */
export interface KeyColumn {
  readonly name: string;
  /** Safe in a cast, as {@link Column.type}. */
  readonly type: string;
  /** ` COLLATE …` when the index has another collation than the column, else empty. */
  readonly collate: string;
  readonly operators: Readonly<Record<Comparison, Operator>>;
}

/** An operator as the catalogue names it. */
export interface Operator {
  readonly schema: string;
  readonly name: string;
}

/** B-tree strategy numbers, see PostgreSQL's "B-Tree Strategies". */
const STRATEGIES = { less: 1, atMost: 2, equal: 3, atLeast: 4, greater: 5 } as const satisfies Record<
  Comparison,
  number
>;

/** The index of the key's name, or else any whole unique one over the same columns: each side names its own. */
const KEY_COLUMNS = `
  WITH indexes AS (
    SELECT x.*, i.relname = $3 AS is_named,
           ARRAY(SELECT a.attname::text FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS u(attnum, ord)
                 JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = u.attnum
                 WHERE u.ord <= x.indnkeyatts ORDER BY u.ord) AS columns
    FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
    JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
    WHERE n.nspname = $1 AND t.relname = $2 AND x.indisunique AND x.indisvalid AND x.indpred IS NULL),
  chosen AS (
    SELECT * FROM indexes WHERE columns @> $4::text[] AND columns <@ $4::text[]
    ORDER BY is_named DESC, columns = $4::text[] DESC, indexrelid LIMIT 1)
  SELECT a.attname AS name, format_type(a.atttypid, -1) AS type,
         cn.nspname AS collation_schema, co.collname AS collation_name,
         o.amopstrategy AS strategy, opn.nspname AS operator_schema, op.oprname AS operator
  FROM chosen x
  CROSS JOIN LATERAL (
    SELECT u.* FROM unnest(x.indkey::int2[], x.indclass::oid[], x.indcollation::oid[])
      WITH ORDINALITY AS u(attnum, opclass, coll, ord) WHERE u.ord <= x.indnkeyatts) k
  JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
  JOIN pg_opclass c ON c.oid = k.opclass
  JOIN pg_amop o ON o.amopfamily = c.opcfamily AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype
    AND o.amoppurpose = 's'
  JOIN pg_operator op ON op.oid = o.amopopr JOIN pg_namespace opn ON opn.oid = op.oprnamespace
  LEFT JOIN pg_collation co ON co.oid = k.coll AND co.oid <> a.attcollation
  LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
  ORDER BY k.ord, o.amopstrategy`;

const collateOf = (row: TextRow | undefined): string => {
  if (row?.collation_name == null) return '';
  return ` COLLATE ${quoteTable({ schema: textOf(row, 'collation_schema'), name: row.collation_name })}`;
};

/**
 * Reads the columns of a table's key, in key order, with their operators on this side. Throws kind `internal` for a table
 * without a key, `refused` when this side has no unique index over it.
 */
export const readKeyColumns = async (sql: SqlExecutor, table: Table): Promise<readonly KeyColumn[]> => {
  if (table.key === null) throw new SwitchbackError('internal', `${displayName(table)} has no key`);
  const { rows } = await sql.query(KEY_COLUMNS, [table.schema, table.name, table.key.index, table.key.columns]);
  return table.key.columns.map((name) => {
    const own = rows.filter((row) => row.name === name);
    const [first] = own;
    const operator = (comparison: Comparison): Operator => {
      const row = own.find((candidate) => Number(candidate.strategy) === STRATEGIES[comparison]);
      if (row !== undefined) return { schema: textOf(row, 'operator_schema'), name: textOf(row, 'operator') };
      throw new SwitchbackError('refused', `${displayName(table)} has no unique index on its key`, {
        remedy: `make one on (${table.key?.columns.map(quoteName).join(', ')}) on the side that has none, then: switchback resume PLAN`,
      });
    };
    return {
      name,
      type: first === undefined ? '' : textOf(first, 'type'),
      collate: collateOf(first),
      operators: {
        less: operator('less'),
        atMost: operator('atMost'),
        equal: operator('equal'),
        atLeast: operator('atLeast'),
        greater: operator('greater'),
      },
    };
  });
};

const operatorSql = ({ schema, name }: Operator): string => `OPERATOR(${quoteName(schema)}.${name})`;

const compareOne = (column: KeyColumn, comparison: Comparison, sides: readonly [string, string]): string =>
  `${sides[0]}${column.collate} ${operatorSql(column.operators[comparison])} ${sides[1]}`;

/** Whether each pair of expressions, one per key column, is equal: for a join or a lookup by the key's index. */
export const keyEquals = (columns: readonly KeyColumn[], left: readonly string[], right: readonly string[]): string =>
  columns.map((column, at) => compareOne(column, 'equal', [left[at] ?? '', right[at] ?? ''])).join(' AND ');

/** Comparisons of whole keys. */
type KeyComparison = 'greater' | 'atMost' | 'less';

/** Without rows, as (a, b) > (x, y) ⇔ a ≥ x ∧ (a > x ∨ (a = x ∧ b > y)); the first part is what the index is read by. */
const compareInTurn = (
  columns: readonly KeyColumn[],
  comparison: KeyComparison,
  sides: readonly (readonly [string, string])[],
): string => {
  const [column, ...rest] = columns;
  const [pair, ...pairs] = sides;
  if (column === undefined || pair === undefined) return 'true';
  if (rest.length === 0) return compareOne(column, comparison, pair);
  const [open, strict] = comparison === 'greater' ? (['atLeast', 'greater'] as const) : (['atMost', 'less'] as const);
  const deeper = compareInTurn(rest, comparison, pairs);
  return `(${compareOne(column, open, pair)} AND (${compareOne(column, strict, pair)} OR ${deeper}))`;
};

/**
 * Compares two lists of expressions, one per key column, in the order of the key's index. A row comparison where one
 * operator name fits all columns, because an index is searched by it in one go; else column by column.
 */
export const keyCompares = (
  columns: readonly KeyColumn[],
  comparison: KeyComparison,
  sides: { readonly left: readonly string[]; readonly right: readonly string[] },
): string => {
  const pairs = columns.map((_, at) => [sides.left[at] ?? '', sides.right[at] ?? ''] as const);
  const operators = new Set(columns.map((column) => operatorSql(column.operators[comparison])));
  const [operator] = operators;
  if (operators.size !== 1 || operator === undefined) return compareInTurn(columns, comparison, pairs);
  const left = columns.map((column, at) => `${pairs[at]?.[0] ?? ''}${column.collate}`);
  return `ROW(${left.join(', ')}) ${operator} ROW(${pairs.map((pair) => pair[1]).join(', ')})`;
};

/** ORDER BY items for the order that {@link keyCompares} compares by; `backwards` for the opposite one. */
export const keyOrder = (columns: readonly KeyColumn[], expressions: readonly string[], backwards = false): string =>
  columns
    .map((column, at) => {
      const operator = operatorSql(column.operators[backwards ? 'greater' : 'less']);
      return `${expressions[at] ?? ''}${column.collate} USING ${operator}`;
    })
    .join(', ');
