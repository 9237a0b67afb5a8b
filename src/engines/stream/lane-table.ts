import type { SwitchbackError } from '../../domain/errors.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { quoteName } from '../../platform/postgres/quote.ts';
import type { Keyed } from '../../rows/change.ts';
import { halted } from './halt.ts';
import type { Relation, RelationColumn } from './pgoutput.ts';
import type { WrittenColumn, WrittenTable, WrittenTables } from './written-tables.ts';

/** A table of the lane as its changes come (order of columns) and as they are written (types, keys). */
export interface LaneTable extends Keyed {
  readonly table: Table;
  /** In the order of the origin's tuples. */
  readonly columns: readonly WrittenColumn[];
}

/** What a relation of the stream is to a lane. */
export type Matched =
  | { readonly kind: 'table'; readonly table: LaneTable }
  /** Our marker table: never applied. */
  | { readonly kind: 'marker'; readonly columns: readonly string[] }
  /** A partitioned table, which holds no rows; only a TRUNCATE names it, together with its leaves. */
  | { readonly kind: 'partitioned' };

/** Name of a type by its OID on the origin, told before the relation that uses it; only for types that are not built in. */
export type TypeNames = ReadonlyMap<number, { readonly schema: string; readonly name: string }>;

/** What a relation is matched against. */
export interface LaneTables {
  readonly tables: ReadonlyMap<string, Table>;
  readonly written: WrittenTables;
  /** Display name of the table of markers. */
  readonly marker: string;
  /** Label of the written side, for messages. */
  readonly side: string;
}

/** Types below have the same OID on every server. */
const FIRST_USER_TYPE_ID = 10_000;

/**
 * Finds what a relation of the stream is, and makes sure that the written side has the same columns (S13). Throws kind
 * `halted` when it has not, or when the table is not of this lane.
 */
export const matchRelation = (relation: Relation, types: TypeNames, lane: LaneTables): Matched => {
  const name = displayName(relation);
  if (name === lane.marker) return { kind: 'marker', columns: relation.columns.map((c) => c.name) };
  const table = lane.tables.get(name);
  const written = lane.written.get(name);
  if (table === undefined) {
    if (written?.isPartitioned) return { kind: 'partitioned' };
    throw schemaChanged(lane, name, 'is published but is no table of this phase');
  }
  if (written === undefined) throw schemaChanged(lane, name, `does not exist on the ${lane.side}`);
  const columns = matchColumns(relation, types, { name, written, lane });
  return { kind: 'table', table: { name, table, columns, keyAt: matchKey(relation, table, { written, lane }) } };
};

const schemaChanged = (lane: LaneTables, name: string, fact: string): SwitchbackError =>
  halted({
    id: 'lane/schema-changed',
    subject: name,
    fact,
    remedy: `bring ${name} on the ${lane.side} to what the change needs (same columns, types and lengths), then: switchback resume PLAN PHASE`,
  });

const matchColumns = (
  relation: Relation,
  types: TypeNames,
  to: { readonly name: string; readonly written: WrittenTable; readonly lane: LaneTables },
): readonly WrittenColumn[] => {
  const { name, lane } = to;
  const stored = new Map(to.written.columns.filter((c) => !c.isGenerated).map((c) => [c.name, c]));
  const columns = relation.columns.map((column) => {
    const written = stored.get(column.name);
    if (written === undefined) {
      throw schemaChanged(lane, name, `the ${lane.side} has no column ${quoteName(column.name)} to write to`);
    }
    const difference = differenceOf(column, written, types);
    if (difference !== null) throw schemaChanged(lane, name, `column ${quoteName(column.name)} ${difference}`);
    stored.delete(column.name);
    return written;
  });
  const [extra] = stored.keys();
  if (extra === undefined) return columns;
  throw schemaChanged(lane, name, `column ${quoteName(extra)} is on the ${lane.side} and not in the changes`);
};

const differenceOf = (column: RelationColumn, written: WrittenColumn, types: TypeNames): string | null => {
  if (column.typeId < FIRST_USER_TYPE_ID) {
    if (column.typeId !== written.typeId) return `has type ${written.type}, the changes have type ${column.typeId}`;
  } else {
    const type = types.get(column.typeId);
    // A built-in type's schema comes as an empty text.
    const schema = type?.schema === '' ? 'pg_catalog' : type?.schema;
    if (type?.name !== written.baseName || schema !== written.baseSchema) {
      return `has type ${written.type}, the changes have ${schema ?? 'type'}.${type?.name ?? column.typeId}`;
    }
  }
  if (column.typeModifier === written.typeModifier) return null;
  return `has another length or precision (modifier ${written.typeModifier}, the changes have ${column.typeModifier})`;
};

const matchKey = (
  relation: Relation,
  table: Table,
  to: { readonly written: WrittenTable; readonly lane: LaneTables },
): readonly number[] | null => {
  const name = displayName(table);
  if (table.key === null) {
    if (relation.identity === 'd' || relation.identity === 'i') {
      if (relation.columns.some((c) => c.isIdentity)) throw schemaChanged(to.lane, name, 'has got a key');
    }
    return null;
  }
  const { columns } = table.key;
  const keyAt = columns.map((column) => relation.columns.findIndex((c) => c.name === column));
  const isAddressed =
    relation.identity === 'f'
      ? keyAt.every((at) => at >= 0)
      : sameNames(
          relation.columns.filter((c) => c.isIdentity).map((c) => c.name),
          columns,
        );
  if (!isAddressed) throw schemaChanged(to.lane, name, `is no longer addressed by (${columns.join(', ')})`);
  if (to.written.uniqueKeys.some((key) => sameNames(key, columns))) return keyAt;
  throw halted({
    id: 'lane/no-key-index',
    subject: name,
    fact: `has no unique index over (${columns.join(', ')}) on the ${to.lane.side}, by which changes find their rows`,
    remedy: `create it: CREATE UNIQUE INDEX CONCURRENTLY ON ${quoteName(table.schema)}.${quoteName(table.name)} (${columns.map(quoteName).join(', ')}); then: switchback resume PLAN PHASE`,
  });
};

const sameNames = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((name) => b.includes(name));
