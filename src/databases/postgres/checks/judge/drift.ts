import type { Finding } from '../../../../domain/finding.ts';
import { displayName, type TableName } from '../../../../domain/table.ts';
import { quoteName, quoteTable } from '../../../../platform/postgres/quote.ts';
import type { SchemaItem, SchemaKind } from '../facts/schema.ts';

type Severity = Finding['severity'] | null;

/** What a difference of one kind means. `missing` and `extra` are said of the target; null is no finding. */
interface Rule {
  readonly missing: Severity;
  readonly extra: Severity;
  readonly differs: Severity;
  /** Names are the application's for some kinds and the server's own for others, where what it does decides. */
  readonly by: 'name' | 'definition';
  /** May be missing while the phase's rows are copied, because it is built after them. */
  readonly deferred?: true;
}

/**
 * What would refuse, change or lose a row in either direction blocks. What only concerns the application warns, since the
 * two sides may differ there on purpose.
 */
const RULES: Readonly<Record<SchemaKind, Rule>> = {
  table: { missing: 'blocks', extra: 'blocks', differs: 'blocks', by: 'name' },
  column: { missing: 'blocks', extra: 'blocks', differs: 'blocks', by: 'name' },
  'not null': { missing: null, extra: null, differs: 'blocks', by: 'name' },
  default: { missing: 'warns', extra: 'warns', differs: 'warns', by: 'name' },
  'generated column': { missing: 'blocks', extra: 'blocks', differs: 'warns', by: 'name' },
  identity: { missing: 'warns', extra: 'warns', differs: 'warns', by: 'name' },
  collation: { missing: 'warns', extra: 'warns', differs: 'warns', by: 'name' },
  check: { missing: 'warns', extra: 'blocks', differs: 'warns', by: 'definition' },
  exclusion: { missing: 'warns', extra: 'blocks', differs: 'warns', by: 'definition', deferred: true },
  'unique index': { missing: 'blocks', extra: 'blocks', differs: 'blocks', by: 'definition', deferred: true },
  index: { missing: 'warns', extra: null, differs: 'warns', by: 'definition', deferred: true },
  'foreign key': { missing: 'warns', extra: 'warns', differs: 'warns', by: 'definition', deferred: true },
  trigger: { missing: 'warns', extra: 'warns', differs: 'warns', by: 'name' },
  'partition key': { missing: 'blocks', extra: 'blocks', differs: 'blocks', by: 'name' },
  'partition bound': { missing: 'blocks', extra: 'blocks', differs: 'blocks', by: 'name' },
  enum: { missing: 'warns', extra: null, differs: 'blocks', by: 'name' },
  domain: { missing: 'warns', extra: null, differs: 'warns', by: 'name' },
  'composite type': { missing: 'warns', extra: null, differs: 'blocks', by: 'name' },
  extension: { missing: 'blocks', extra: null, differs: null, by: 'name' },
  sequence: { missing: 'warns', extra: null, differs: 'warns', by: 'name' },
  view: { missing: 'warns', extra: null, differs: null, by: 'name' },
  function: { missing: 'warns', extra: null, differs: null, by: 'name' },
};

const CAST =
  /::(?:"(?:[^"]|"")+"|[a-z_][\w$]*)(?:\.(?:"(?:[^"]|"")+"|[a-z_][\w$]*))?(?: [a-z][a-z ]*)?(?:\(\d+(?:,\s*\d+)?\))?(?:\[\])*/g;

/**
 * A definition without casts, parentheses and spaces. A server prints what it has parsed, and that changes when its own
 * text is parsed again: `(ARRAY['a'::character varying])::text[]` comes back as `ARRAY[('a'::character varying)::text]`.
 */
export const essence = (definition: string): string => definition.replace(CAST, '').replace(/[\s()]/g, '');

type Difference = 'missing' | 'extra' | 'differs';

interface Drift {
  readonly difference: Difference;
  readonly source: SchemaItem | null;
  readonly target: SchemaItem | null;
}

const tableKey = (table: TableName | null): string => (table === null ? '' : `${table.schema}\0${table.name}`);
const byName = (item: SchemaItem): string => `${item.kind}\0${tableKey(item.table)}\0${item.name}`;
const byDefinition = (item: SchemaItem): string => `${item.kind}\0${tableKey(item.table)}\0${essence(item.definition)}`;

const compareByName = (source: readonly SchemaItem[], target: readonly SchemaItem[]): readonly Drift[] => {
  const there = new Map(target.map((item) => [byName(item), item]));
  const here = new Set(source.map(byName));
  const drifts = source.flatMap((item): readonly Drift[] => {
    const other = there.get(byName(item));
    if (other === undefined) return [{ difference: 'missing', source: item, target: null }];
    if (essence(other.definition) === essence(item.definition)) return [];
    return [{ difference: 'differs', source: item, target: other }];
  });
  const extra = target.filter((item) => !here.has(byName(item)));
  return [...drifts, ...extra.map((item): Drift => ({ difference: 'extra', source: null, target: item }))];
};

/** What is the same on both sides is taken away first; what is left is compared by name. */
const compareByDefinition = (source: readonly SchemaItem[], target: readonly SchemaItem[]): readonly Drift[] => {
  const there = new Set(target.map(byDefinition));
  const here = new Set(source.map(byDefinition));
  return compareByName(
    source.filter((item) => !there.has(byDefinition(item))),
    target.filter((item) => !here.has(byDefinition(item))),
  );
};

/** The statement that mends it on the target, for the kinds where there is one. */
const remedyOf = (drift: Drift): string => {
  const item = drift.source ?? drift.target;
  if (item === null) return '';
  const table = item.table === null ? '' : quoteTable(item.table);
  const name = quoteName(item.name);
  const alter = `on the target: ALTER TABLE ${table}`;
  const wanted = drift.source?.definition ?? '';
  switch (item.kind) {
    case 'column':
      if (drift.difference === 'extra') return `${alter} DROP COLUMN ${name}; or add it on the source too`;
      return drift.difference === 'missing'
        ? `${alter} ADD COLUMN ${name} ${wanted};`
        : `${alter} ALTER COLUMN ${name} TYPE ${wanted};`;
    case 'not null':
      return `${alter} ALTER COLUMN ${name} ${wanted === 'NOT NULL' ? 'SET' : 'DROP'} NOT NULL;`;
    case 'default':
      return `${alter} ALTER COLUMN ${name} ${drift.source === null ? 'DROP DEFAULT' : `SET DEFAULT ${wanted}`};`;
    case 'check':
    case 'exclusion':
    case 'foreign key':
      return drift.source === null ? `${alter} DROP CONSTRAINT ${name};` : `${alter} ADD CONSTRAINT ${name} ${wanted};`;
    case 'unique index':
    case 'index':
      if (drift.source === null) return `on the target: drop ${name}, or make it on the source too`;
      return `on the target: CREATE ${item.kind === 'index' ? '' : 'UNIQUE '}INDEX ${name} ON ${table} USING ${wanted};`;
    case 'extension':
      return `on the target: CREATE EXTENSION ${name};`;
    default:
      return 'bring the target along with the source; for all of it: pg_dump --schema-only of both, and diff';
  }
};

const subjectOf = (item: SchemaItem): string =>
  item.table === null ? `${item.kind} ${item.name}` : displayName(item.table);

const factOf = ({ difference, source, target }: Drift): string => {
  const item = source ?? target;
  if (item === null) return '';
  const what = item.name === '' || item.table === null ? item.kind : `${item.kind} ${item.name}`;
  if (difference === 'differs')
    return `${what} is ${target?.definition} on the target, ${source?.definition} on the source`;
  const where = difference === 'missing' ? 'is not on the target' : 'is only on the target';
  const definition = item.definition === '' || item.kind === 'table' ? '' : ` (${item.definition})`;
  return `${what}${definition} ${where}`;
};

const findingOf = (drift: Drift): readonly Finding[] => {
  const item = drift.source ?? drift.target;
  const severity = item === null ? null : RULES[item.kind][drift.difference];
  if (item === null || severity === null) return [];
  const id = `drift/${item.kind.replaceAll(' ', '-')}`;
  return [{ id, severity, subject: subjectOf(item), fact: factOf(drift), remedy: remedyOf(drift) }];
};

/** What belongs to a table that is on one side only is not told one by one. */
const ofSharedTables = (items: readonly SchemaItem[], others: readonly SchemaItem[]): readonly SchemaItem[] => {
  const tables = new Set(others.filter((item) => item.kind === 'table').map((item) => tableKey(item.table)));
  return items.filter((item) => item.kind === 'table' || item.table === null || tables.has(tableKey(item.table)));
};

/**
 * Compares the schemas of both sides (fault 37). Tables in `copying` have their indexes and foreign keys put off at the
 * moment; pass none right before a switch, when everything has to be there.
 */
export const judgeDrift = (
  source: readonly SchemaItem[],
  target: readonly SchemaItem[],
  copying: readonly TableName[],
): readonly Finding[] => {
  const here = ofSharedTables(source, target);
  const there = ofSharedTables(target, source);
  const deferred = new Set(copying.map(tableKey));
  const isNamed = (item: SchemaItem) => RULES[item.kind].by === 'name';
  const isPutOff = ({ difference, source: item }: Drift) =>
    difference === 'missing' &&
    item !== null &&
    RULES[item.kind].deferred === true &&
    deferred.has(tableKey(item.table));
  const drifts = [
    ...compareByName(here.filter(isNamed), there.filter(isNamed)),
    ...compareByDefinition(
      here.filter((item) => !isNamed(item)),
      there.filter((item) => !isNamed(item)),
    ),
  ];
  return drifts.filter((drift) => !isPutOff(drift)).flatMap(findingOf);
};
