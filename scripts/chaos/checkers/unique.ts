import type { Find, Insert } from '../history.ts';
import { type Verdict, Violations, verdictOf } from './verdict.ts';

/**
 * Judges the insert workload: each acknowledged id is there exactly once, failed ones never, unknown ones at most once; and
 * a look at an id that had been acknowledged before the look began has found it. `ids` holds the id of every row.
 */
export const checkInserts = (operations: readonly (Insert | Find)[], ids: readonly number[]): Verdict => {
  const found = new Violations();
  const inserts = new Map<number, Insert>();
  for (const operation of operations) if (operation.kind === 'insert') inserts.set(operation.op, operation);
  const rows = new Map<number, number>();
  for (const id of ids) rows.set(id, (rows.get(id) ?? 0) + 1);
  for (const [id, count] of rows) {
    const insert = inserts.get(id);
    if (count > 1) found.add('duplicated', `insert ${id}`, `is there ${count} times`);
    if (insert === undefined) found.add('phantom', `id ${id}`, 'is there, and no client inserted it');
    else if (insert.outcome === 'failed') found.add('phantom', `insert ${id}`, `failed (${insert.code}) and is there`);
  }
  let unknownDone = 0;
  for (const { op, outcome } of inserts.values()) {
    if (outcome === 'unknown' && rows.has(op)) unknownDone += 1;
    if (outcome === 'acknowledged' && !rows.has(op))
      found.add('lost', `insert ${op}`, 'was acknowledged and is not there');
  }
  const finds = operations.filter((o): o is Find => o.kind === 'find' && o.outcome === 'acknowledged');
  for (const find of finds) checkFind(find, inserts.get(find.id), found);
  return verdictOf({ operations, unknownDone, reads: finds, found });
};

const checkFind = (find: Find, insert: Insert | undefined, found: Violations): void => {
  const who = `look ${find.op}`;
  if (find.found > 1) found.add('duplicated', who, `found ${find.found} rows of insert ${find.id}`);
  if (find.found > 0 && (insert === undefined || insert.outcome === 'failed' || insert.invokedMs > find.completedMs)) {
    found.add('phantom', who, `found insert ${find.id}, which had not been made`);
  }
  const wasTold = insert?.outcome === 'acknowledged' && insert.completedMs < find.invokedMs;
  if (find.found === 0 && wasTold && find.isCurrent) {
    found.add('stale', who, `did not find insert ${find.id}, which had been acknowledged before`);
  }
};
