import type { Operation } from '../history.ts';
import { FIRST_BALANCE, type WorkloadName } from '../workloads.ts';
import { checkAppends, type FinalLists } from './append.ts';
import { checkBank, type FinalBank } from './bank.ts';
import { checkRegisters, type FinalRegister } from './register.ts';
import { checkInserts } from './unique.ts';
import type { Verdict } from './verdict.ts';

/** What the primaries hold at the end, by workload. */
export interface Ends {
  readonly lists: FinalLists;
  /** The id of every row of the insert workload. */
  readonly ids: readonly number[];
  readonly bank: FinalBank;
  readonly registers: readonly FinalRegister[];
}

/** Judges all four histories. */
export const judge = (operations: readonly Operation[], ends: Ends): Readonly<Record<WorkloadName, Verdict>> => ({
  append: checkAppends(of(operations, 'append', 'read-list'), ends.lists),
  insert: checkInserts(of(operations, 'insert', 'find'), ends.ids),
  bank: checkBank(of(operations, 'transfer', 'read-balances'), ends.bank, FIRST_BALANCE),
  register: checkRegisters(of(operations, 'compare-and-set', 'read-register'), ends.registers),
});

const of = <Kind extends Operation['kind']>(
  operations: readonly Operation[],
  ...kinds: readonly Kind[]
): Extract<Operation, { kind: Kind }>[] =>
  operations.filter((o): o is Extract<Operation, { kind: Kind }> => (kinds as readonly string[]).includes(o.kind));
