import type { Inventory } from '../databases/database.ts';
import type { Finding } from '../domain/finding.ts';
import { displayName, type Sequence, type TableName } from '../domain/table.ts';
import { assignTables } from '../plan/assign.ts';
import type { Plan } from '../plan/load.ts';
import type { PhaseScope, RunScope } from './context.ts';

/**
 * Which phase every table and sequence of the source belongs to. A sequence goes with the first table that uses it; one
 * that no table uses goes by its own name. What the patterns leave over is a finding, never a guess (fault 63).
 */
export const scopeOf = (plan: Plan, inventory: Inventory): RunScope => {
  const tables = assignTables(plan, inventory.tables);
  const phaseOf = new Map<string, string>();
  for (const [phase, taken] of tables.byPhase) for (const table of taken) phaseOf.set(displayName(table), phase);
  const ignored = new Set(tables.ignored.map(displayName));

  const ownerOf = (sequence: Sequence): string | 'ignored' | null => {
    const users = sequence.usedBy.map(displayName);
    const phase = users.map((user) => phaseOf.get(user)).find((p) => p !== undefined);
    if (phase !== undefined) return phase;
    return users.length > 0 && users.every((user) => ignored.has(user)) ? 'ignored' : null;
  };
  const free = inventory.sequences.filter((sequence) => ownerOf(sequence) === null);
  const loose = assignTables(plan, free);

  const phases = new Map<string, PhaseScope>();
  for (const { name } of plan.phases) {
    const own = tables.byPhase.get(name) ?? [];
    phases.set(name, {
      name,
      tables: own,
      roots: rootsOf(own),
      sequences: [
        ...inventory.sequences.filter((sequence) => ownerOf(sequence) === name),
        ...(loose.byPhase.get(name) ?? []),
      ],
    });
  }
  const findings = [
    ...tables.rest.map(tableOfNoPhase),
    ...loose.rest.map(sequenceOfNoPhase),
    ...tables.unmatchedPatterns
      // A pattern may be there for sequences alone.
      .filter(
        (u) =>
          u.reason !== 'nothing' || loose.unmatchedPatterns.some((l) => l.where === u.where && l.pattern === u.pattern),
      )
      .map(patternWithoutUse),
    ...plan.phases.filter(({ name }) => (tables.byPhase.get(name) ?? []).length === 0).map(emptyPhase),
  ];
  return { phases, ignored: tables.ignored, findings };
};

const rootsOf = (tables: PhaseScope['tables']): readonly TableName[] => {
  const roots = new Map<string, TableName>();
  for (const { root } of tables) if (root) roots.set(displayName(root), root);
  return [...roots.values()];
};

const tableOfNoPhase = (table: TableName): Finding => ({
  id: 'plan/table-of-no-phase',
  severity: 'blocks',
  subject: displayName(table),
  fact: 'no phase takes this table and it is not ignored',
  remedy: `add "${displayName(table)}" to a phase's \`tables\` or to \`ignore\``,
});

const sequenceOfNoPhase = (sequence: TableName): Finding => ({
  id: 'plan/sequence-of-no-phase',
  severity: 'warns',
  subject: displayName(sequence),
  fact: 'no column uses this sequence and no phase takes it by name, so its value will not be carried',
  remedy: `add "${displayName(sequence)}" to a phase's \`tables\` or to \`ignore\``,
});

const emptyPhase = ({ name }: { readonly name: string }): Finding => ({
  id: 'plan/empty-phase',
  severity: 'blocks',
  subject: `phase ${name}`,
  fact: 'its patterns take no table',
  remedy: 'correct the patterns, or remove the phase',
});

const patternWithoutUse = (unmatched: {
  readonly where: string;
  readonly pattern: string;
  readonly reason: string;
  readonly names: readonly string[];
}): Finding => ({
  id: 'plan/pattern-without-use',
  severity: unmatched.reason === 'partition' ? 'blocks' : 'warns',
  subject: unmatched.where,
  fact:
    unmatched.reason === 'nothing'
      ? `the pattern "${unmatched.pattern}" matches no table`
      : unmatched.reason === 'taken'
        ? `all that the pattern "${unmatched.pattern}" names belongs elsewhere already: ${unmatched.names.join(', ')}`
        : `the pattern "${unmatched.pattern}" names partitions, which go with their partitioned table: ${unmatched.names.join(', ')}`,
  remedy: unmatched.reason === 'partition' ? 'name the partitioned table' : 'correct the pattern or remove it',
});
