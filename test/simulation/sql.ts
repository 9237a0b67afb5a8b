import type { SqlResult, TextRow } from '../../src/domain/sql.ts';
import { type Server, ServerError, type Transaction } from './server.ts';

type Text = string | null;
type Row = Readonly<Record<string, Text>>;

/** A node of Kysely's tree. Its classes are not exported one by one; every access below says what it expects. */
export interface Node {
  readonly kind: string;
  readonly [key: string]: unknown;
}

interface Column {
  readonly name: string;
  readonly type: string;
  readonly isNullable: boolean;
  readonly default: Node | null;
}

interface TableDefinition {
  readonly columns: readonly Column[];
  readonly key: readonly string[];
}

/** Rows that expressions are about, by table name; null where an outer join found none. */
type Scope = ReadonlyMap<string, Row | null>;

const CATALOG = 'catalog';
const storeOf = (table: string): string => `sidecar:${table}`;

/** Throws for anything that has not been taught: a statement that is half understood would prove nothing. */
const unknown = (what: string, node: unknown): never => {
  throw new Error(`the simulation's SQL interpreter does not know ${what}: ${JSON.stringify(node).slice(0, 400)}`);
};

/**
 * Runs the sidecar's statements, as Kysely builds them, in a transaction of a simulated server. Locks are taken as
 * PostgreSQL takes them; whoever has to wait is told by `Blocked` and runs the statement again.
 */
export class Statement {
  readonly #server: Server;
  readonly #transaction: Transaction;
  /** Conditions on an epoch hold always: the planted bug of a worker that asks nobody. */
  readonly #ignoresEpochs: boolean;
  /** An abort leaves no record: the planted bug of an undo that tells nobody. */
  readonly #forgetsAborts: boolean;

  constructor(
    server: Server,
    transaction: Transaction,
    options: { readonly ignoresEpochs: boolean; readonly forgetsAborts: boolean },
  ) {
    this.#server = server;
    this.#transaction = transaction;
    this.#ignoresEpochs = options.ignoresEpochs;
    this.#forgetsAborts = options.forgetsAborts;
  }

  /** Runs one statement and gives its answer. */
  run(node: Node): SqlResult {
    switch (node.kind) {
      case 'SelectQueryNode': {
        const rows = this.#select(node);
        return { rows, rowCount: rows.length };
      }
      case 'InsertQueryNode':
        return this.#insert(node);
      case 'UpdateQueryNode':
        return this.#update(node);
      case 'DeleteQueryNode':
        return this.#delete(node);
      case 'CreateSchemaNode':
        this.#server.write(this.#transaction, 'schema', 'switchback', 'exists');
        return NOTHING;
      case 'DropSchemaNode':
        return this.#dropSchema();
      case 'CreateTableNode':
        return this.#createTable(node);
      default:
        return unknown('this statement', node);
    }
  }

  #definition(table: string): TableDefinition {
    const found = this.#server.read(this.#transaction, CATALOG, table) as TableDefinition | undefined;
    if (!found) throw new ServerError('42P01', `relation "switchback.${table}" does not exist`);
    return found;
  }

  #createTable(node: Node): SqlResult {
    const name = tableName(node.table);
    if (this.#server.read(this.#transaction, CATALOG, name) !== undefined) return NOTHING;
    const constraints = list(node.constraints);
    const key =
      constraints.find((c) => c.kind === 'PrimaryKeyConstraintNode') ?? unknown('a table without a key', node);
    const columns = list(node.columns).map((column) => ({
      name: columnName(column.column),
      type: String((column.dataType as Node).dataType),
      isNullable: column.notNull !== true,
      default: ((column.defaultTo as Node | undefined)?.defaultValue as Node | undefined) ?? null,
    }));
    const definition: TableDefinition = { columns, key: list(key.columns).map(columnName) };
    this.#server.write(this.#transaction, CATALOG, name, definition);
    return NOTHING;
  }

  #dropSchema(): SqlResult {
    for (const table of [...this.#server.scan(this.#transaction, CATALOG).keys()]) {
      for (const key of [...this.#server.scan(this.#transaction, storeOf(table)).keys()]) {
        this.#server.write(this.#transaction, storeOf(table), key, undefined);
      }
      this.#server.write(this.#transaction, CATALOG, table, undefined);
    }
    this.#server.write(this.#transaction, 'schema', 'switchback', undefined);
    // The fence's function lives in the schema, and the triggers that call it go with it.
    for (const table of [...this.#server.scan(this.#transaction, 'fence').keys()]) {
      this.#server.write(this.#transaction, 'fence', table, undefined);
    }
    return NOTHING;
  }

  #select(node: Node): TextRow[] {
    const [from] = list((node.from as Node).froms);
    const table = tableName(from);
    this.#definition(table);
    let scopes: Scope[] = [];
    for (const [key, row] of this.#server.scan(this.#transaction, storeOf(table))) {
      const scope: Scope = new Map([[table, row as Row]]);
      if (!this.#holds(node.where, scope)) continue;
      this.#lockSelected(node, table, key);
      scopes.push(scope);
    }
    for (const join of list(node.joins)) scopes = this.#join(scopes, join);
    scopes = order(scopes, list((node.orderBy as Node | undefined)?.items), (item, scope) =>
      this.#value(item, scope, this.#typeOf(item, scope)),
    );
    if (node.distinctOn)
      scopes = distinct(scopes, (scope) =>
        list(node.distinctOn)
          .map((one) => this.#value(one, scope, 'text'))
          .join('\0'),
      );
    if (node.groupBy) return this.#grouped(node, scopes);
    if (node.limit) scopes = scopes.slice(0, Number(((node.limit as Node).limit as Node).value));
    return scopes.map((scope) => this.#project(list(node.selections), scope, [scope]));
  }

  #lockSelected(node: Node, table: string, key: string): void {
    for (const { modifier } of list(node.endModifiers)) {
      if (modifier !== 'ForShare' && modifier !== 'ForUpdate') unknown('this lock', modifier);
      this.#server.lock(this.#transaction, `${storeOf(table)} ${key}`, modifier === 'ForShare' ? 'share' : 'exclusive');
    }
  }

  #join(scopes: readonly Scope[], join: Node): Scope[] {
    if (join.joinType !== 'LeftJoin') unknown('this join', join);
    const table = tableName(join.table);
    const rows = [...this.#server.scan(this.#transaction, storeOf(table)).values()] as Row[];
    return scopes.flatMap((scope) => {
      const found = rows
        .map((row): Scope => new Map([...scope, [table, row]]))
        .filter((one) => this.#holds({ kind: 'WhereNode', where: (join.on as Node).on }, one));
      return found.length > 0 ? found : [new Map([...scope, [table, null]])];
    });
  }

  #grouped(node: Node, scopes: readonly Scope[]): TextRow[] {
    const items = list((node.groupBy as Node).items).map((item) => (item.groupBy ?? item) as Node);
    const groups = Map.groupBy(scopes, (scope) => items.map((item) => this.#value(item, scope, 'text')).join('\0'));
    return [...groups.values()].map((group) => this.#project(list(node.selections), group[0] as Scope, group));
  }

  #project(selections: readonly Node[], scope: Scope, group: readonly Scope[]): TextRow {
    const row: Record<string, Text> = {};
    for (const selection of selections) {
      const what = selection.selection as Node;
      if (what.kind === 'SelectAllNode') {
        for (const one of scope.values()) Object.assign(row, one);
      } else if (what.kind === 'ReferenceNode' && (what.column as Node).kind === 'SelectAllNode') {
        Object.assign(row, scope.get(tableName(what.table)));
      } else if (what.kind === 'AliasNode') {
        row[identifier(what.alias)] = this.#expression(what.node as Node, scope, group);
      } else {
        row[columnName(what.column)] = this.#value(what, scope, 'text');
      }
    }
    return row;
  }

  #insert(node: Node): SqlResult {
    const table = tableName(node.into);
    const definition = this.#definition(table);
    const columns = list(node.columns).map(columnName);
    const source = node.values as Node;
    const tuples: readonly (readonly Text[])[] =
      source.kind === 'SelectQueryNode'
        ? this.#select(source).map((row) => columns.map((name) => row[name] ?? null))
        : list(source.values).map((tuple) => this.#tuple(tuple));
    const returned: TextRow[] = [];
    let rowCount = 0;
    for (const tuple of tuples) {
      const given: Record<string, Text> = {};
      for (const [i, name] of columns.entries()) given[name] = this.#typed(definition, name, tuple[i] ?? null);
      const row = this.#complete(definition, given);
      if (this.#forgetsAborts && table === 'outcome' && row.outcome === 'aborted') continue;
      const stored = this.#store(table, definition, row, node.onConflict as Node | undefined);
      if (stored === null) continue;
      rowCount += 1;
      if (node.returning)
        returned.push(this.#project(list((node.returning as Node).selections), new Map([[table, stored]]), []));
    }
    return { rows: returned, rowCount };
  }

  #tuple(tuple: Node): readonly Text[] {
    if (tuple.kind === 'PrimitiveValueListNode') return (tuple.values as readonly unknown[]).map(textOf);
    return list(tuple.values).map((value) => this.#value(value, EMPTY_SCOPE, 'text'));
  }

  #complete(definition: TableDefinition, given: Readonly<Record<string, Text>>): Row {
    const row: Record<string, Text> = {};
    for (const column of definition.columns) {
      let value = given[column.name];
      if (value === undefined && column.type === 'bigserial') value = String(this.#server.serial());
      if (value === undefined && column.default) value = this.#value(column.default, EMPTY_SCOPE, 'text');
      if ((value === undefined || value === null) && !column.isNullable) {
        throw new ServerError('23502', `null value in column "${column.name}"`);
      }
      row[column.name] = value ?? null;
    }
    return row;
  }

  /** Stores a new row, or does what the statement says about a conflict. Null when nothing was written. */
  #store(table: string, definition: TableDefinition, row: Row, conflict: Node | undefined): Row | null {
    const key = keyOf(definition, row);
    // Whoever inserts under a key waits for another transaction that has, committed or not.
    this.#server.lock(this.#transaction, `${storeOf(table)} ${key}`, 'exclusive');
    const known = this.#server.read(this.#transaction, storeOf(table), key) as Row | undefined;
    if (known === undefined) {
      this.#server.write(this.#transaction, storeOf(table), key, row);
      return row;
    }
    if (conflict === undefined) throw new ServerError('23505', `duplicate key value in "${table}"`);
    if (conflict.doNothing === true) return null;
    const scope: Scope = new Map([
      [table, known],
      ['excluded', row],
    ]);
    if (!this.#holds(conflict.updateWhere, scope)) return null;
    return this.#change(table, definition, known, list(conflict.updates));
  }

  #change(table: string, definition: TableDefinition, known: Row, updates: readonly Node[]): Row {
    const scope: Scope = new Map([[table, known]]);
    const changed: Record<string, Text> = { ...known };
    for (const update of updates) {
      const name = columnName(update.column);
      changed[name] = this.#typed(definition, name, this.#value(update.value as Node, scope, 'text'));
    }
    this.#server.write(this.#transaction, storeOf(table), keyOf(definition, known), changed);
    return changed;
  }

  #update(node: Node): SqlResult {
    const table = tableName(node.table);
    const definition = this.#definition(table);
    const returned: TextRow[] = [];
    let rowCount = 0;
    for (const [key, row] of this.#matching(table, node.where)) {
      void key;
      const changed = this.#change(table, definition, row, list(node.updates));
      rowCount += 1;
      if (node.returning)
        returned.push(this.#project(list((node.returning as Node).selections), new Map([[table, changed]]), []));
    }
    return { rows: returned, rowCount };
  }

  #delete(node: Node): SqlResult {
    const [from] = list((node.from as Node).froms);
    const table = tableName(from);
    this.#definition(table);
    const found = this.#matching(table, node.where);
    for (const [key] of found) this.#server.write(this.#transaction, storeOf(table), key, undefined);
    return { rows: [], rowCount: found.length };
  }

  /** Rows that a statement will write, locked before any is written. */
  #matching(table: string, where: unknown): readonly (readonly [string, Row])[] {
    const found = ([...this.#server.scan(this.#transaction, storeOf(table))] as [string, Row][]).filter(([, row]) =>
      this.#holds(where, new Map([[table, row]])),
    );
    for (const [key] of found) this.#server.lock(this.#transaction, `${storeOf(table)} ${key}`, 'exclusive');
    return found;
  }

  #holds(where: unknown, scope: Scope): boolean {
    if (where === undefined) return true;
    const node = (where as Node).kind === 'WhereNode' ? ((where as Node).where as Node) : (where as Node);
    switch (node.kind) {
      case 'AndNode':
        return this.#holds(node.left, scope) && this.#holds(node.right, scope);
      case 'OrNode':
        return this.#holds(node.left, scope) || this.#holds(node.right, scope);
      case 'ParensNode':
        return this.#holds(node.node, scope);
      case 'BinaryOperationNode':
        return this.#compares(node, scope);
      default:
        return unknown('this condition', node);
    }
  }

  #compares(node: Node, scope: Scope): boolean {
    const left = node.leftOperand as Node;
    const right = node.rightOperand as Node;
    const operator = String((node.operator as Node).operator);
    if (this.#ignoresEpochs && left.kind === 'ReferenceNode' && columnName(left.column) === 'epoch') return true;
    const type = this.#typeOf(left, scope);
    const a = this.#value(left, scope, type);
    if (operator === 'in') return this.#listed(right, scope, type).includes(a);
    const b = this.#value(right, scope, type);
    if (operator === 'is') return a === b;
    if (operator === 'is not') return a !== b;
    if (a === null || b === null) return false;
    const order = compare(a, b, type);
    switch (operator) {
      case '=':
        return order === 0;
      case '!=':
      case '<>':
        return order !== 0;
      case '<':
        return order < 0;
      case '<=':
        return order <= 0;
      case '>':
        return order > 0;
      case '>=':
        return order >= 0;
      default:
        return unknown('this operator', node);
    }
  }

  #listed(node: Node, scope: Scope, type: string): readonly Text[] {
    if (node.kind === 'SelectQueryNode') return this.#select(node).map((row) => Object.values(row)[0] ?? null);
    if (node.kind === 'PrimitiveValueListNode') return (node.values as readonly unknown[]).map(textOf);
    if (node.kind === 'ValueListNode') return list(node.values).map((value) => this.#value(value, scope, type));
    return unknown('this list', node);
  }

  #typeOf(node: Node, scope: Scope): string {
    if (node.kind === 'OrderByItemNode') return this.#typeOf(node.orderBy as Node, scope);
    if (node.kind !== 'ReferenceNode') return 'text';
    const name = columnName(node.column);
    const tables = node.table ? [tableName(node.table)] : [...scope.keys()];
    for (const table of tables) {
      if (table === 'excluded') continue;
      const column = this.#definition(table).columns.find((c) => c.name === name);
      if (column) return column.type;
    }
    return unknown('this column', node);
  }

  #value(node: Node, scope: Scope, type: string): Text {
    switch (node.kind) {
      case 'ValueNode':
        return normal(textOf(node.value), type);
      case 'ReferenceNode':
        return columnOf(node, scope);
      case 'RawNode':
        return this.#expression(node, scope, []);
      case 'ParensNode':
        return this.#value(node.node as Node, scope, type);
      case 'OrderByItemNode':
        return this.#value(node.orderBy as Node, scope, type);
      default:
        return unknown('this value', node);
    }
  }

  /** Raw pieces of SQL, by their text. */
  #expression(node: Node, scope: Scope, group: readonly Scope[]): Text {
    if (node.kind !== 'RawNode') return this.#value(node, scope, 'text');
    const text = (node.sqlFragments as readonly string[]).join('?');
    if (text === 'now()') return this.#server.clock();
    if (NOW_AS_TEXT.test(text)) return this.#server.clock().replace('Z', '000Z');
    const age = (column: string): number => {
      const now = this.#server.clock();
      return (Date.parse(now) - Date.parse(anyColumn(scope, column) ?? now)) / 1000;
    };
    const sum = /^sum\((\w+)\)$/.exec(text)?.[1];
    if (sum !== undefined) return String(group.reduce((total, one) => total + BigInt(anyColumn(one, sum) ?? 0), 0n));
    const seconds = /^extract\(epoch from now\(\) - (\w+)\)$/.exec(text)?.[1];
    if (seconds !== undefined) return String(age(seconds));
    const millis = /^\(extract\(epoch from now\(\) - (\w+)\) \* 1000\)::bigint$/.exec(text)?.[1];
    if (millis !== undefined) return String(Math.round(age(millis) * 1000));
    if (text === 'pg_current_xact_id()::text::bigint') return String(this.#server.serial());
    if (text === 'epoch + 1') return String(BigInt(anyColumn(scope, 'epoch') ?? 0) + 1n);
    if (text === '?::text' || text === '?::bigint') return this.#value(list(node.parameters)[0] as Node, scope, 'text');
    return unknown('this expression', text);
  }

  #typed(definition: TableDefinition, name: string, value: Text): Text {
    const column = definition.columns.find((c) => c.name === name) ?? unknown('this column', name);
    return normal(value, column.type);
  }
}

const NOW_AS_TEXT = /^to_char\(now\(\) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS\.US"Z"'\)$/;
const NOTHING: SqlResult = { rows: [], rowCount: 0 };
const EMPTY_SCOPE: Scope = new Map();

const list = (nodes: unknown): readonly Node[] => (nodes as readonly Node[] | undefined) ?? [];
const identifier = (node: unknown): string => String((node as Node).name);
const columnName = (node: unknown): string => identifier((node as Node).column);
const tableName = (node: unknown): string => identifier(((node as Node).table as Node).identifier);
const textOf = (value: unknown): Text => (value === null || value === undefined ? null : String(value));

const normal = (value: Text, type: string): Text =>
  type === 'boolean' && value !== null ? (value === 'true' || value === 't' ? 't' : 'f') : value;

const keyOf = (definition: TableDefinition, row: Row): string =>
  definition.key.map((name) => row[name] ?? '').join('\0');

const columnOf = (node: Node, scope: Scope): Text => {
  const name = columnName(node.column);
  if (node.table) return scope.get(tableName(node.table))?.[name] ?? null;
  return anyColumn(scope, name);
};

const anyColumn = (scope: Scope, name: string): Text => {
  for (const row of scope.values()) if (row && name in row) return row[name] ?? null;
  return null;
};

const compare = (a: string, b: string, type: string): number => {
  if (type === 'bigint' || type === 'bigserial') {
    const [x, y] = [BigInt(a), BigInt(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  }
  return a < b ? -1 : a > b ? 1 : 0;
};

const isDescending = (item: Node): boolean =>
  ((item.direction as Node | undefined)?.sqlFragments as readonly string[] | undefined)?.[0] === 'desc';

const order = (scopes: Scope[], items: readonly Node[], value: (item: Node, scope: Scope) => Text): Scope[] => {
  if (items.length === 0) return scopes;
  const isNumber = (text: Text): boolean => text !== null && /^-?\d+$/.test(text);
  return scopes.sort((a, b) => {
    for (const item of items) {
      const [x, y] = [value(item, a), value(item, b)];
      const type = isNumber(x) && isNumber(y) ? 'bigint' : 'text';
      const by = compare(x ?? '', y ?? '', type);
      if (by !== 0) return isDescending(item) ? -by : by;
    }
    return 0;
  });
};

const distinct = (scopes: readonly Scope[], of: (scope: Scope) => string): Scope[] => {
  const seen = new Set<string>();
  return scopes.filter((scope) => !seen.has(of(scope)) && seen.add(of(scope)) !== undefined);
};
