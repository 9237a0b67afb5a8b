import type { Operation } from '../history.ts';
import type { WorkloadName } from '../workloads.ts';
import { type Ends, judge } from './judge.ts';
import type { Verdict, Violation } from './verdict.ts';

/** A fault that was planted, and whether its checker reported it as what it is. */
export interface Control {
  readonly what: string;
  readonly isReported: boolean;
}

interface Plant {
  readonly workload: WorkloadName;
  readonly kind: Violation;
  /** The history and the end with the fault in them; undefined when this history offers no place for it. */
  readonly plant: (operations: readonly Operation[], ends: Ends) => readonly [readonly Operation[], Ends] | undefined;
}

/**
 * Negative controls on the very history that was judged: plants one fault at a time in a copy, judges it again, and says
 * whether there are more violations of that kind than before. A history too small to plant one in is not a control.
 */
export const plantAll = (
  operations: readonly Operation[],
  ends: Ends,
  verdicts: Readonly<Record<WorkloadName, Verdict>>,
): readonly Control[] =>
  PLANTS.map(({ workload, kind, plant }) => {
    const planted = plant(operations, ends);
    if (planted === undefined) return { what: `${kind} in ${workload} (no place for it)`, isReported: false };
    const before = verdicts[workload].violations[kind];
    const after = judge(...planted)[workload].violations[kind];
    return { what: `${kind} in ${workload}`, isReported: after > before };
  });

const lastAcknowledged = <Kind extends Operation['kind']>(operations: readonly Operation[], kind: Kind) =>
  operations.findLast((o): o is Extract<Operation, { kind: Kind }> => o.kind === kind && o.outcome === 'acknowledged');

/** Changes the longest list. */
const inList =
  (change: (items: readonly number[]) => readonly number[]): Plant['plant'] =>
  (operations, ends) => {
    const [longest] = [...ends.lists].sort(([, a], [, b]) => b.length - a.length);
    if (longest === undefined || longest[1].length < 2) return undefined;
    return [operations, { ...ends, lists: new Map([...ends.lists, [longest[0], change(longest[1])]]) }];
  };

const inIds =
  (change: (ids: readonly number[], last: number) => readonly number[]): Plant['plant'] =>
  (operations, ends) => {
    const last = lastAcknowledged(operations, 'insert');
    return last && [operations, { ...ends, ids: change(ends.ids, last.op) }];
  };

const inTransfers =
  (change: (rows: Ends['bank']['transfers']) => Ends['bank']['transfers']): Plant['plant'] =>
  (operations, ends) => {
    if (ends.bank.transfers.length === 0) return undefined;
    return [operations, { ...ends, bank: { ...ends.bank, transfers: change(ends.bank.transfers) } }];
  };

/** The outcome of an operation whose effect is there becomes `failed`. */
const failLast =
  (kind: 'append' | 'insert' | 'transfer' | 'compare-and-set'): Plant['plant'] =>
  (operations, ends) => {
    const last = operations.findLast((o) => o.kind === kind && o.outcome === 'acknowledged' && isEffective(o));
    if (last === undefined) return undefined;
    return [operations.map((o): Operation => (o === last ? { ...o, outcome: 'failed', code: '25006' } : o)), ends];
  };

const isEffective = (o: Operation): boolean => o.kind !== 'compare-and-set' || o.isApplied;

/** A register shows the state before its last one, as if the last write had been lost. */
const rollBack: Plant['plant'] = (operations, ends) => {
  const last = operations.findLast((o) => o.kind === 'compare-and-set' && o.outcome === 'acknowledged' && o.isApplied);
  if (last?.kind !== 'compare-and-set') return undefined;
  const registers = ends.registers.map((r) => (r.key === last.key ? { ...r, version: last.from } : r));
  return [operations, { ...ends, registers }];
};

/** A read that shows the first state although others had been told of. */
const readThePast: Plant['plant'] = (operations, ends) => {
  const read = lastAcknowledged(operations, 'read-register');
  if (read === undefined || read.version === 0) return undefined;
  const past: Operation = { ...read, version: 0, writer: 0, isCurrent: true };
  return [operations.map((o) => (o === read ? past : o)), ends];
};

const readAnEmptyList: Plant['plant'] = (operations, ends) => {
  const read = operations.findLast((o) => o.kind === 'read-list' && o.isCurrent && o.items.length > 1);
  if (read?.kind !== 'read-list') return undefined;
  return [operations.map((o): Operation => (o === read ? { ...read, items: [] } : o)), ends];
};

const loseABalance: Plant['plant'] = (operations, ends) => {
  const [first = 0, ...rest] = ends.bank.balances;
  return [operations, { ...ends, bank: { ...ends.bank, balances: [first - 1, ...rest] } }];
};

const PLANTS: readonly Plant[] = [
  { workload: 'append', kind: 'lost', plant: inList((items) => items.slice(0, -1)) },
  { workload: 'append', kind: 'duplicated', plant: inList((items) => [...items, items[0] ?? 0]) },
  // Its first and its last item: so far apart that the one had been told before the other began.
  {
    workload: 'append',
    kind: 'reordered',
    plant: inList((items) => [...items.slice(-1), ...items.slice(1, -1), ...items.slice(0, 1)]),
  },
  { workload: 'append', kind: 'phantom', plant: failLast('append') },
  { workload: 'append', kind: 'stale', plant: readAnEmptyList },
  { workload: 'insert', kind: 'lost', plant: inIds((ids, last) => ids.filter((id) => id !== last)) },
  { workload: 'insert', kind: 'duplicated', plant: inIds((ids, last) => [...ids, last]) },
  { workload: 'insert', kind: 'phantom', plant: failLast('insert') },
  { workload: 'bank', kind: 'lost', plant: inTransfers((rows) => rows.slice(0, -1)) },
  { workload: 'bank', kind: 'duplicated', plant: inTransfers((rows) => [...rows, ...rows.slice(-1)]) },
  { workload: 'bank', kind: 'phantom', plant: failLast('transfer') },
  { workload: 'bank', kind: 'unbalanced', plant: loseABalance },
  { workload: 'register', kind: 'lost', plant: rollBack },
  { workload: 'register', kind: 'phantom', plant: failLast('compare-and-set') },
  { workload: 'register', kind: 'stale', plant: readThePast },
];
