import type { Inventory } from '../databases/database.ts';
import type { Finding } from '../domain/finding.ts';
import type { Side } from '../domain/position.ts';
import { beginAnew, fillRemedy } from '../domain/remedy.ts';
import type { Table } from '../domain/table.ts';
import { displayName, type Sequence, type TableName } from '../domain/table.ts';
import { assignTables } from '../plan/assign.ts';
import type { Plan } from '../plan/load.ts';
import { monotonicMs } from '../platform/clock.ts';
import { sidecarExists } from '../sidecar/install.ts';
import { readRun } from '../sidecar/run.ts';
import { type PhaseScope, portsOf, type RunContext, type RunScope } from './context.ts';

/** Tables that phases were prepared with, by phase; see RunFacts. */
export type Pinned = Readonly<Record<string, readonly string[]>>;

/** Reads what the phases are made of now, from the catalogue of a side and from what they were prepared with. */
export const readScope = async (context: RunContext, side: Side = 'source'): Promise<RunScope> => {
  const run = (await sidecarExists(context.source.sql)) ? await readRun(context.source.sql) : null;
  const inventory = await portsOf(context, side).database.inventory();
  return scopeOf(context.plan, inventory, run?.facts.tables ?? {});
};

/** A look is shared for this long. */
const SHARED_MS = 10_000;

/**
 * The scope for phases that are prepared one after the other. Each needs the whole catalogue, since only so a table that no
 * phase takes is seen; to read 5,000 tables anew for each of 200 phases would take minutes. What has changed since a look is
 * found like everything that changes once a phase is prepared: by the checks before a switch.
 */
export class SharedLook {
  readonly #context: RunContext;
  #last: { readonly scope: Promise<RunScope>; readonly atMs: number } | null = null;

  constructor(context: RunContext) {
    this.#context = context;
  }

  /** The scope as it was at most ten seconds ago. */
  async scope(): Promise<RunScope> {
    const last = this.#last;
    if (last !== null && monotonicMs() - last.atMs <= SHARED_MS) return await last.scope;
    const scope = readScope(this.#context);
    this.#last = { scope, atMs: monotonicMs() };
    scope.catch(() => this.forget());
    return await scope;
  }

  /** The next one looks anew: something may have been mended. */
  forget(): void {
    this.#last = null;
  }
}

/**
 * Which phase every table and sequence of the source belongs to. A sequence goes with the first table that uses it; one
 * that no table uses goes by its own name. What the patterns leave over is a finding, never a guess (fault 63). A phase
 * that has been prepared keeps its tables: one that has come since was never copied and is not followed.
 */
export const scopeOf = (plan: Plan, inventory: Inventory, pinned: Pinned = {}): RunScope => {
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
  const ofPhase = Map.groupBy(inventory.sequences, ownerOf);
  const free = ofPhase.get(null) ?? [];
  const loose = assignTables(plan, free);

  const phases = new Map<string, PhaseScope>();
  const changed = new Map<string, readonly Finding[]>();
  for (const { name } of plan.phases) {
    const found = tables.byPhase.get(name) ?? [];
    const kept = pinned[name];
    const names = new Set(kept);
    const own = kept === undefined ? found : found.filter((table) => names.has(displayName(table)));
    if (kept !== undefined) changed.set(name, changesOf({ phase: name, found, kept, path: plan.path }));
    phases.set(name, {
      name,
      tables: own,
      roots: rootsOf(own),
      sequences: [...(ofPhase.get(name) ?? []), ...(loose.byPhase.get(name) ?? [])],
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
    ...[...phases.values()].flatMap(sameNames),
    ...[...changed.values()].flat(),
  ];
  return { phases, ignored: tables.ignored, findings, changed };
};

/** What blocks some phases: tables of no phase, and how these phases' tables have changed. */
export const scopeFindings = (scope: RunScope, phases: ReadonlySet<string>): readonly Finding[] => {
  const others = new Set([...scope.changed].flatMap(([phase, findings]) => (phases.has(phase) ? [] : findings)));
  return scope.findings.filter((finding) => finding.severity === 'blocks' && !others.has(finding));
};

const changesOf = (about: {
  readonly phase: string;
  readonly path: string;
  readonly found: readonly Table[];
  readonly kept: readonly string[];
}): readonly Finding[] => {
  const { phase, found, kept, path } = about;
  const names = new Set(found.map(displayName));
  const known = new Set(kept);
  return [
    ...found.filter((table) => !known.has(displayName(table))).map((table) => newTable({ phase, path }, table)),
    ...kept.filter((name) => !names.has(name)).map((name) => goneTable({ phase, path }, name)),
  ];
};

interface Whose {
  readonly phase: string;
  readonly path: string;
}

const newTable = ({ phase, path }: Whose, table: Table): Finding =>
  table.root === null
    ? {
        id: 'plan/new-table',
        severity: 'blocks',
        subject: displayName(table),
        fact: `came after phase ${phase} was prepared: its rows are not copied and its changes not followed`,
        remedy: `drop it, or move it to where no phase takes it; or ${fillRemedy(beginAnew(phase), { plan: path })}`,
      }
    : {
        id: 'plan/new-partition',
        severity: 'blocks',
        subject: displayName(table),
        fact: `is a partition of ${displayName(table.root)} that came after phase ${phase} was prepared`,
        remedy: `create it on the other side too, then: switchback resume ${path} ${phase}`,
      };

const goneTable = ({ phase, path }: Whose, name: string): Finding => ({
  id: 'plan/table-gone',
  severity: 'blocks',
  subject: name,
  fact: `phase ${phase} was prepared with it, and it is not there any more under this name`,
  remedy: `give it back its name; a partition that was dropped: drop it on the other side too, then: switchback resume ${path} ${phase}`,
});

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

/** Progress is recorded by the name that people see, which two names of identifiers with dots can share: `"a.b".c`, `a."b.c"`. */
const sameNames = ({ name, tables }: PhaseScope): readonly Finding[] => {
  const names = tables.map(displayName);
  const first = new Map(names.map((table, at) => [table, at] as const).reverse());
  const twice = new Set(names.filter((table, at) => first.get(table) !== at));
  return [...twice].map((table) => ({
    id: 'plan/same-name',
    severity: 'blocks',
    subject: table,
    fact: `two tables of phase ${name} are both shown under this name`,
    remedy: 'put them into two phases, or rename one of them on both sides',
  }));
};

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
