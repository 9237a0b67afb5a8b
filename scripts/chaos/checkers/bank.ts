import type { ReadBalances, Transfer } from '../history.ts';
import { type Verdict, Violations, verdictOf } from './verdict.ts';

/** A transfer as its row says it. */
export interface TransferRow {
  readonly op: number;
  readonly from: number;
  readonly to: number;
  readonly amount: number;
}

/** The bank at the end: balances by account from 1, and a row of every transfer. */
export interface FinalBank {
  readonly balances: readonly number[];
  readonly transfers: readonly TransferRow[];
}

/**
 * Judges the bank workload: the total is the first one in every read and at the end; each acknowledged transfer has one
 * row that says what was meant, failed ones have none; and the balances at the end are what the rows make of the first ones.
 */
export const checkBank = (
  operations: readonly (Transfer | ReadBalances)[],
  end: FinalBank,
  firstBalance: number,
): Verdict => {
  const found = new Violations();
  const total = end.balances.length * firstBalance;
  const reads = operations.filter((o): o is ReadBalances => o.kind === 'read-balances' && o.outcome === 'acknowledged');
  for (const { op, balances } of reads) checkTotal(`read ${op}`, { balances, total, found });
  checkTotal('the end', { balances: end.balances, total, found });
  const transfers = operations.filter((o): o is Transfer => o.kind === 'transfer');
  const rows = checkRows(new Map(transfers.map((t) => [t.op, t])), end.transfers, found);
  let unknownDone = 0;
  for (const { op, outcome } of transfers) {
    if (outcome === 'unknown' && rows.has(op)) unknownDone += 1;
    if (outcome === 'acknowledged' && !rows.has(op)) {
      found.add('lost', `transfer ${op}`, 'was acknowledged and has no row');
    }
  }
  checkReplay(end, firstBalance, found);
  return verdictOf({ operations, unknownDone, reads, found });
};

const checkTotal = (
  who: string,
  {
    balances,
    total,
    found,
  }: { readonly balances: readonly number[]; readonly total: number; readonly found: Violations },
): void => {
  const sum = balances.reduce((all, balance) => all + balance, 0);
  if (sum !== total) found.add('unbalanced', who, `showed a total of ${sum} instead of ${total}`);
};

const checkRows = (
  transfers: ReadonlyMap<number, Transfer>,
  rows: readonly TransferRow[],
  found: Violations,
): ReadonlySet<number> => {
  const seen = new Set<number>();
  for (const { op, from, to, amount } of rows) {
    const meant = transfers.get(op);
    if (seen.has(op)) found.add('duplicated', `transfer ${op}`, 'has more than one row');
    seen.add(op);
    if (meant === undefined) found.add('phantom', `transfer ${op}`, 'has a row, and no client began it');
    else if (meant.outcome === 'failed') found.add('phantom', `transfer ${op}`, `failed (${meant.code}) and has a row`);
    else if (meant.from !== from || meant.to !== to || meant.amount !== amount) {
      found.add('phantom', `transfer ${op}`, 'has a row that says something else');
    }
  }
  return seen;
};

const checkReplay = (end: FinalBank, firstBalance: number, found: Violations): void => {
  const expected = end.balances.map(() => firstBalance);
  for (const { from, to, amount } of end.transfers) {
    expected[from - 1] = (expected[from - 1] ?? 0) - amount;
    expected[to - 1] = (expected[to - 1] ?? 0) + amount;
  }
  end.balances.forEach((balance, index) => {
    if (balance === expected[index]) return;
    found.add('unbalanced', `account ${index + 1}`, `holds ${balance}, and its transfers make ${expected[index]}`);
  });
};
