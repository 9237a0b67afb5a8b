import type { Finding } from '../../../../domain/finding.ts';
import { displayName, type TableName } from '../../../../domain/table.ts';
import { quoteName, quoteTable } from '../../../../platform/postgres/quote.ts';
import type { Link, RelationFacts } from '../facts/relations.ts';

/** Where a table goes: a phase's name, `ignored`, or undefined when it is in none of the phases looked at. */
export type Placement = (table: TableName) => { readonly phase: string } | 'ignored' | undefined;

const between = (link: Link): string => `${displayName(link.child)} → ${displayName(link.parent)}`;

/** A foreign key whose two ends do not switch together. */
const judgeForeignKey = (link: Link, placement: Placement): readonly Finding[] => {
  const [child, parent] = [placement(link.child), placement(link.parent)];
  const ends = [child, parent].filter((end) => typeof end === 'object');
  if (ends.length === 0) return [];
  if (typeof child === 'object' && typeof parent === 'object' && child.phase === parent.phase) return [];
  const drop = `ALTER TABLE ${quoteTable(link.child)} DROP CONSTRAINT ${quoteName(link.name)};`;
  if (parent === 'ignored') {
    const fact = `foreign key ${link.name} refers to an ignored table, whose rows will not be on the target`;
    const remedy = `take ${displayName(link.parent)} into the phase, or ${drop}`;
    return [{ id: 'plan/foreign-key', severity: 'blocks', subject: between(link), fact, remedy }];
  }
  const fact = `foreign key ${link.name} leaves the phase: while its two ends are on different sides, the server checks it against rows that lag, and a cascade or TRUNCATE … CASCADE is refused`;
  const remedy = 'put both tables into one phase, or name both phases in one cutover';
  return [{ id: 'plan/foreign-key', severity: 'warns', subject: between(link), fact, remedy }];
};

/** A write to the parent reaches the heirs' rows, so the parent has to be fenced with each of them. */
const judgeHeir = (link: Link, placement: Placement): readonly Finding[] => {
  const [child, parent] = [placement(link.child), placement(link.parent)];
  if (typeof child !== 'object' || (typeof parent === 'object' && parent.phase === child.phase)) return [];
  const fact = `inherits from ${displayName(link.parent)}, which is not in its phase; fencing one fences the other`;
  const remedy = 'put both tables into one phase';
  return [{ id: 'plan/inheritance', severity: 'blocks', subject: displayName(link.child), fact, remedy }];
};

const judgeLargeObjects = (facts: RelationFacts): readonly Finding[] => {
  if (facts.largeObjects === 0) return [];
  const [column] = facts.largeObjectColumns;
  const where = column === undefined ? '' : `, perhaps referred to by ${facts.largeObjectColumns.join(', ')}`;
  return [
    {
      id: 'database/large-objects',
      severity: column === undefined ? 'warns' : 'blocks',
      subject: 'source',
      fact: `${facts.largeObjects} large objects are not replicated${where}`,
      remedy: 'move them into bytea columns, or remove those nobody uses: vacuumlo',
    },
  ];
};

/** What the change stream does not carry, on the source. */
const judgeNotCarried = (facts: RelationFacts): readonly Finding[] => [
  ...facts.foreignPartitions.map(
    (table): Finding => ({
      id: 'table/foreign-partition',
      severity: 'blocks',
      subject: displayName(table),
      fact: 'is a foreign table and a partition; its rows are in another database',
      remedy: `ALTER TABLE … DETACH PARTITION ${quoteTable(table)};`,
    }),
  ),
  ...facts.foreignTables.map(
    (table): Finding => ({
      id: 'relation/foreign-table',
      severity: 'warns',
      subject: displayName(table),
      fact: 'is a foreign table; its rows are in another database',
      remedy: 'see that the target reaches that database too',
    }),
  ),
  ...facts.materializedViews.map(
    (view): Finding => ({
      id: 'relation/materialized-view',
      severity: 'warns',
      subject: displayName(view),
      fact: 'is a materialised view; its rows are not replicated',
      remedy: `on the target, before the cutover: REFRESH MATERIALIZED VIEW ${quoteTable(view)};`,
    }),
  ),
  ...facts.cyclingSequences.map(
    (sequence): Finding => ({
      id: 'sequence/cycles',
      severity: 'warns',
      subject: displayName(sequence),
      fact: 'starts again at its end (CYCLE), so "beyond the other side" has no meaning for it after that',
      remedy: `ALTER SEQUENCE ${quoteTable(sequence)} NO CYCLE;`,
    }),
  ),
];

/** Judges what surrounds the phases' tables on the source. */
export const judgeSourceRelations = (facts: RelationFacts, placement: Placement): readonly Finding[] => [
  ...facts.foreignKeys.flatMap((link) => judgeForeignKey(link, placement)),
  ...facts.heirs.flatMap((link) => judgeHeir(link, placement)),
  ...judgeLargeObjects(facts),
  ...judgeNotCarried(facts),
];

/** Judges what would change or hide rows that we read or write on a side; the lanes go both ways, so on either. */
export const judgeRowAccess = (
  facts: RelationFacts,
  role: { readonly side: string; readonly role: string; readonly bypassesRowSecurity: boolean },
): readonly Finding[] => [
  ...facts.secured
    .filter((table) => !role.bypassesRowSecurity && (table.forced || !table.owned))
    .map(
      (table): Finding => ({
        id: 'table/row-security',
        severity: 'blocks',
        subject: `${displayName(table)} on the ${role.side}`,
        fact: `row-level security hides rows from role ${quoteName(role.role)}`,
        remedy: `ALTER ROLE ${quoteName(role.role)} BYPASSRLS;`,
      }),
    ),
  ...facts.firing.map((firing): Finding => {
    const table = quoteTable(firing.table);
    return {
      id: 'table/firing-trigger',
      severity: 'blocks',
      subject: `${displayName(firing.table)} on the ${role.side}`,
      fact: `${firing.what} ${quoteName(firing.name)} also fires for what we apply (ENABLE ALWAYS or REPLICA), so its effects would be there twice`,
      remedy: `ALTER TABLE ${table} ENABLE ${firing.what.toUpperCase()} ${quoteName(firing.name)};`,
    };
  }),
];
