import type { Ledger, Operation } from './ledger.ts';

/** A row that a write left in its phase's journal table. */
export interface WriteRow {
  readonly phase: string;
  readonly op: number;
  readonly client: number;
  readonly key: number;
  /** The register's version that this write made. */
  readonly version: number;
  /** The operation whose value it replaced. */
  readonly afterOp: number;
}

/** A register as it stands. */
export interface RegisterRow {
  readonly phase: string;
  readonly key: number;
  readonly version: number;
  /** The operation that wrote it last; 0 for none. */
  readonly op: number;
}

/** Everything that the phases' primaries hold of the ledger's operations. */
export interface PrimaryRows {
  readonly writes: readonly WriteRow[];
  readonly registers: readonly RegisterRow[];
}

/** A kind of fault that the check can find. */
export type Fault = 'lost' | 'duplicated' | 'reordered' | 'phantom';

/** How the ledger and the primaries compare. */
export interface LedgerVerdict {
  /** Writes that their clients were told are done. */
  readonly acknowledged: number;
  /** Acknowledged writes that are not there (S2, S3). */
  readonly lost: number;
  /** Rows beyond the first of their operation (S3). */
  readonly duplicated: number;
  /** Operations that do not fit one order of their key: see {@link checkLedger} (S4). */
  readonly reordered: number;
  /** Failed writes that are there, and rows of an operation that nobody began (S3, S4). */
  readonly phantom: number;
  /** Writes of unknown outcome that turned out done; never a fault. */
  readonly unknownPresent: number;
  /** Writes of unknown outcome that turned out not done; never a fault. */
  readonly unknownAbsent: number;
  /** Acknowledged reads that were compared. */
  readonly reads: number;
  /** The first few of each, as sentences. */
  readonly examples: Readonly<Record<Fault, readonly string[]>>;
}

const EXAMPLES = 5;

/**
 * Compares the ledger with what the primaries hold (S2-S4 of the invariants). Call it when no client is running.
 *
 * The order of a key is its versions: each write's row names the version it made and the operation it replaced. An
 * operation is reordered when its row differs from what its client was told; when two rows claim one version, a version
 * has no writer, or a row replaced another operation than the one before it; when it began after another had ended and has
 * the lower version; when the register does not end with the last row; when a client's later look at a key shows an older
 * version; or when a read showed a value that nobody wrote. Everything is linear but one sort per key.
 */
export const checkLedger = (ledger: Ledger, rows: PrimaryRows): LedgerVerdict => {
  const faults = new Faults();
  const firstRows = checkRows(ledger, rows.writes, faults);
  const tally = checkOperations(ledger, firstRows, faults);
  const histories = historiesOf(firstRows.values());
  for (const history of histories.values()) checkHistory(ledger, history, { faults, lost: tally.lost });
  checkRegisters(rows.registers, { faults, lost: tally.lost, histories });
  const reads = checkReads(ledger, { faults, lost: tally.lost, histories });
  const { acknowledged, unknownPresent, unknownAbsent } = tally;
  return { acknowledged, unknownPresent, unknownAbsent, reads, ...faults.counts(), examples: faults.examples };
};

class Faults {
  readonly examples: Record<Fault, string[]> = { lost: [], duplicated: [], reordered: [], phantom: [] };
  readonly #counts: Record<Fault, number> = { lost: 0, duplicated: 0, reordered: 0, phantom: 0 };
  readonly #reordered = new Set<string>();

  add(fault: Fault, what: string): void {
    this.#counts[fault]++;
    if (this.examples[fault].length < EXAMPLES) this.examples[fault].push(what);
  }

  /** One operation counts once, however many rules it breaks. */
  addReordered(subject: string, what: string): void {
    if (this.#reordered.has(subject)) return;
    this.#reordered.add(subject);
    this.add('reordered', `${subject} ${what}`);
  }

  counts(): Readonly<Record<Fault, number>> {
    return this.#counts;
  }
}

/** Versions whose acknowledged writer is lost: their gaps are counted there and not again as a broken order. */
type LostVersions = ReadonlySet<string>;

interface OrderContext {
  readonly faults: Faults;
  readonly lost: LostVersions;
}

type Histories = ReadonlyMap<string, readonly WriteRow[]>;

const keyName = (of: { readonly phase: string; readonly key: number }): string => `${of.phase} key ${of.key}`;
const versionName = (key: string, version: number): string => `${key} version ${version}`;
const opName = (op: number): string => `operation ${op}`;

const checkRows = (ledger: Ledger, writes: readonly WriteRow[], faults: Faults): Map<number, WriteRow> => {
  const firstRows = new Map<number, WriteRow>();
  for (const row of writes) {
    const operation = ledger.operation(row.op);
    if (operation?.kind !== 'write' || operation.phase !== row.phase) {
      faults.add('phantom', `${row.phase} holds operation ${row.op}, which no client began there`);
    }
    if (firstRows.has(row.op)) {
      faults.add('duplicated', `operation ${row.op} on ${keyName(row)} is there more than once`);
    } else {
      firstRows.set(row.op, row);
    }
  }
  return firstRows;
};

interface Tally {
  acknowledged: number;
  unknownPresent: number;
  unknownAbsent: number;
  readonly lost: Set<string>;
}

const checkOperations = (ledger: Ledger, rows: ReadonlyMap<number, WriteRow>, faults: Faults): Tally => {
  const tally: Tally = { acknowledged: 0, unknownPresent: 0, unknownAbsent: 0, lost: new Set() };
  for (const operation of ledger.operations()) {
    if (operation.kind !== 'write') continue;
    const row = rows.get(operation.op);
    if (operation.outcome === 'acknowledged') {
      tally.acknowledged++;
      if (row === undefined) {
        tally.lost.add(versionName(keyName(operation), operation.version));
        faults.add('lost', `${describe(operation)} was acknowledged and is not there`);
      } else if (differs(operation, row)) {
        faults.addReordered(
          opName(operation.op),
          `was acknowledged as ${describe(operation)} and is ${describeRow(row)}`,
        );
      }
    } else if (operation.outcome === 'failed') {
      if (row !== undefined) faults.add('phantom', `${describe(operation)} failed and is there`);
    } else if (row === undefined) tally.unknownAbsent++;
    else tally.unknownPresent++;
  }
  return tally;
};

const differs = (operation: Operation, row: WriteRow): boolean =>
  row.key !== operation.key ||
  row.client !== operation.client ||
  row.version !== operation.version ||
  row.afterOp !== operation.sawOp;

const describe = (operation: Operation): string =>
  `operation ${operation.op} of client ${operation.client} on ${versionName(keyName(operation), operation.version)}`;

const describeRow = (row: WriteRow): string =>
  `${versionName(keyName(row), row.version)} of client ${row.client} after operation ${row.afterOp}`;

const historiesOf = (rows: Iterable<WriteRow>): Histories => {
  const histories = new Map<string, WriteRow[]>();
  for (const row of rows) {
    const history = histories.get(keyName(row));
    if (history === undefined) histories.set(keyName(row), [row]);
    else history.push(row);
  }
  for (const history of histories.values()) history.sort((a, b) => a.version - b.version || a.op - b.op);
  return histories;
};

const checkHistory = (ledger: Ledger, history: readonly WriteRow[], { faults, lost }: OrderContext): void => {
  let before = { version: 0, op: 0 };
  let latestStartMs = Number.NEGATIVE_INFINITY;
  for (const row of history) {
    const key = keyName(row);
    if (row.version <= before.version) {
      faults.addReordered(opName(row.op), `claims ${versionName(key, row.version)}, as does operation ${before.op}`);
    }
    if (hasUnexplainedGap(key, { lost, from: before.version + 1, to: row.version })) {
      faults.addReordered(opName(row.op), `is ${versionName(key, row.version)}, but a version before it has no writer`);
    }
    if (row.version === before.version + 1 && row.afterOp !== before.op) {
      faults.addReordered(
        opName(row.op),
        `replaced operation ${row.afterOp} on ${key}, but follows operation ${before.op}`,
      );
    }
    const operation = ledger.operation(row.op);
    if (operation?.outcome === 'acknowledged') {
      if (operation.endMs < latestStartMs) {
        faults.addReordered(opName(row.op), `had ended before an earlier version of ${key} was begun`);
      }
      latestStartMs = Math.max(latestStartMs, operation.startMs);
    }
    before = row;
  }
};

/** Whether any version of `from` up to but without `to` is neither there nor counted as lost. */
const hasUnexplainedGap = (
  key: string,
  range: { readonly lost: LostVersions; readonly from: number; readonly to: number },
): boolean => {
  for (let version = range.from; version < range.to; version++) {
    if (!range.lost.has(versionName(key, version))) return true;
  }
  return false;
};

const checkRegisters = (
  registers: readonly RegisterRow[],
  { faults, lost, histories }: OrderContext & { readonly histories: Histories },
): void => {
  const seen = new Set<string>();
  for (const register of registers) {
    const key = keyName(register);
    const last = histories.get(key)?.at(-1) ?? { version: 0, op: 0 };
    const subject = `the register of ${key}`;
    if (seen.has(key)) faults.addReordered(subject, 'is there more than once');
    seen.add(key);
    const isExplained = register.version > last.version && lost.has(versionName(key, register.version));
    if (isExplained || (register.version === last.version && register.op === last.op)) continue;
    const ends = `its writes end with version ${last.version} by operation ${last.op}`;
    faults.addReordered(subject, `shows version ${register.version} by operation ${register.op}, but ${ends}`);
  }
  for (const key of histories.keys()) {
    if (!seen.has(key)) faults.addReordered(`the register of ${key}`, 'is not there');
  }
};

const checkReads = (
  ledger: Ledger,
  { faults, lost, histories }: OrderContext & { readonly histories: Histories },
): number => {
  const writers = new Map<string, number>();
  for (const [key, history] of histories) {
    for (const row of history) writers.set(versionName(key, row.version), row.op);
  }
  const latest = new Map<string, number>();
  let reads = 0;
  for (const operation of ledger.operations()) {
    if (operation.outcome !== 'acknowledged') continue;
    const key = keyName(operation);
    const session = `client ${operation.client} ${key}`;
    if (operation.version < (latest.get(session) ?? 0)) {
      faults.addReordered(opName(operation.op), `showed ${session} version ${operation.version} after a later one`);
    }
    latest.set(session, operation.version);
    if (operation.kind !== 'read') continue;
    reads++;
    const value = versionName(key, operation.version);
    const writer = operation.version === 0 ? 0 : writers.get(value);
    if (writer !== operation.sawOp && !lost.has(value)) {
      faults.addReordered(
        opName(operation.op),
        `read ${value} as operation ${operation.sawOp}'s, which did not write it`,
      );
    }
  }
  return reads;
};
