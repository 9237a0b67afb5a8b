import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Ledger } from '../../src/demo/ledger.ts';
import { checkLedger, type PrimaryRows, type RegisterRow, type WriteRow } from '../../src/demo/ledger-check.ts';
import { stallOf, switchesSeen } from '../../src/demo/stall.ts';

/**
 * A history made by hand: three clients write two keys in turn and read them, each operation ending before the next one
 * begins, so that any change of it is a fault. Each test plants one fault and expects that kind, and no other.
 */
const PHASE = 'orders';
const KEYS = [1, 2];
const WRITES = 12;

class World {
  readonly ledger: Ledger;
  readonly writes: WriteRow[] = [];
  nowMs = 0;
  readonly #registers = new Map<number, RegisterRow>();

  constructor() {
    this.ledger = new Ledger({ now: () => this.nowMs });
    for (const key of KEYS) this.#registers.set(key, { phase: PHASE, key, version: 0, op: 0 });
    for (let index = 0; index < WRITES; index++) {
      this.write((index % 3) + 1, KEYS[index % 2] ?? 1);
      this.read(((index + 1) % 3) + 1, KEYS[index % 2] ?? 1);
    }
  }

  begin(client: number, key: number, kind: 'write' | 'read' = 'write'): number {
    this.nowMs += 1;
    return this.ledger.begin({ phase: PHASE, kind, client, key });
  }

  /** Applies a write at the primary, and acknowledges it unless told otherwise. */
  apply(op: number, { acknowledge = true } = {}): void {
    const operation = this.ledger.operation(op);
    if (operation === undefined) throw new RangeError('no such operation');
    const { client, key } = operation;
    const before = this.register(key);
    const version = before.version + 1;
    this.writes.push({ phase: PHASE, op, client, key, version, afterOp: before.op });
    this.#registers.set(key, { phase: PHASE, key, version, op });
    this.nowMs += 1;
    if (acknowledge) this.ledger.acknowledge(op, { version, sawOp: before.op });
  }

  write(client: number, key: number): void {
    this.apply(this.begin(client, key));
  }

  read(client: number, key: number, seen = this.register(key)): void {
    const op = this.begin(client, key, 'read');
    this.nowMs += 1;
    this.ledger.acknowledge(op, { version: seen.version, sawOp: seen.op });
  }

  register(key: number): RegisterRow {
    const row = this.#registers.get(key);
    if (row === undefined) throw new RangeError('no such key');
    return row;
  }

  rows(change: Partial<PrimaryRows> = {}): PrimaryRows {
    return { writes: this.writes, registers: [...this.#registers.values()], ...change };
  }
}

const nth = (rows: readonly WriteRow[], index: number): WriteRow => {
  const row = rows[index];
  if (row === undefined) throw new RangeError('no such row');
  return row;
};

const CLEAN = { lost: 0, duplicated: 0, reordered: 0, phantom: 0 };

describe('checkLedger', () => {
  it('finds nothing in a clean history', () => {
    const world = new World();
    const verdict = checkLedger(world.ledger, world.rows());
    expect(verdict).toMatchObject({ ...CLEAN, acknowledged: WRITES, reads: WRITES });
    expect(Object.values(verdict.examples).flat()).toEqual([]);
  });

  it.each([0, 4, WRITES - 1])('finds lost write %i, and counts the gap that it leaves once', (index) => {
    const world = new World();
    const writes = world.writes.filter((_, position) => position !== index);
    const verdict = checkLedger(world.ledger, world.rows({ writes }));
    expect(verdict).toMatchObject({ ...CLEAN, lost: 1 });
    expect(verdict.examples.lost[0]).toContain(`operation ${nth(world.writes, index).op} `);
  });

  it('finds every write of a primary that lost them all', () => {
    const world = new World();
    const registers = KEYS.map((key) => ({ phase: PHASE, key, version: 0, op: 0 }));
    expect(checkLedger(world.ledger, { writes: [], registers })).toMatchObject({ ...CLEAN, lost: WRITES });
  });

  it('finds a write that is there twice', () => {
    const world = new World();
    const writes = [...world.writes, nth(world.writes, 3)];
    expect(checkLedger(world.ledger, world.rows({ writes }))).toMatchObject({ ...CLEAN, duplicated: 1 });
  });

  it('finds a write of unknown outcome that is there twice', () => {
    const world = new World();
    const op = world.begin(1, 1);
    world.apply(op, { acknowledge: false });
    world.ledger.unknown(op);
    const writes = [...world.writes, nth(world.writes, WRITES)];
    expect(checkLedger(world.ledger, world.rows({ writes }))).toMatchObject({
      ...CLEAN,
      duplicated: 1,
      unknownPresent: 1,
    });
  });

  it('finds two writes whose versions were swapped', () => {
    const world = new World();
    const [first, second] = [nth(world.writes, 2), nth(world.writes, 4)];
    const writes = world.writes.map((row) => {
      if (row === first) return { ...row, version: second.version };
      return row === second ? { ...row, version: first.version } : row;
    });
    const verdict = checkLedger(world.ledger, world.rows({ writes }));
    expect(verdict).toMatchObject({ lost: 0, duplicated: 0, phantom: 0 });
    expect(verdict.reordered).toBeGreaterThanOrEqual(2);
  });

  it('finds a register that an older write was applied to last', () => {
    const world = new World();
    const older = nth(world.writes, 2);
    const registers = [{ phase: PHASE, key: older.key, version: older.version, op: older.op }, world.register(2)];
    expect(checkLedger(world.ledger, world.rows({ registers }))).toMatchObject({ ...CLEAN, reordered: 1 });
  });

  it('finds a register that is missing', () => {
    const world = new World();
    const registers = [world.register(1)];
    expect(checkLedger(world.ledger, world.rows({ registers }))).toMatchObject({ ...CLEAN, reordered: 1 });
  });

  it('finds two writes that both follow the same one, as after going on from a stale copy', () => {
    const world = new World();
    const last = world.register(1);
    const op = world.begin(1, 1);
    world.apply(op);
    const late = world.begin(2, 1);
    world.ledger.acknowledge(late, { version: last.version + 1, sawOp: last.op });
    const row = { phase: PHASE, op: late, client: 2, key: 1, version: last.version + 1, afterOp: last.op };
    const verdict = checkLedger(world.ledger, world.rows({ writes: [...world.writes, row] }));
    expect(verdict).toMatchObject({ lost: 0, duplicated: 0, phantom: 0 });
    expect(verdict.reordered).toBeGreaterThanOrEqual(1);
  });

  it('finds an order that contradicts time, even if the clients were told the same', () => {
    const world = new World();
    const last = world.register(2);
    const first = world.begin(1, 2);
    world.ledger.acknowledge(first, { version: last.version + 2, sawOp: first + 1 });
    world.nowMs += 1;
    const second = world.begin(2, 2);
    world.nowMs += 1;
    world.ledger.acknowledge(second, { version: last.version + 1, sawOp: last.op });
    const row = { phase: PHASE, key: 2 };
    const writes = [
      ...world.writes,
      { ...row, op: second, client: 2, version: last.version + 1, afterOp: last.op },
      { ...row, op: first, client: 1, version: last.version + 2, afterOp: second },
    ];
    const registers = [world.register(1), { ...row, version: last.version + 2, op: first }];
    expect(checkLedger(world.ledger, { writes, registers })).toMatchObject({ ...CLEAN, reordered: 1 });
  });

  it('finds a version that nobody wrote', () => {
    const world = new World();
    const before = world.register(1);
    const op = world.begin(1, 1);
    world.ledger.acknowledge(op, { version: before.version + 2, sawOp: 999 });
    const row = { phase: PHASE, op, client: 1, key: 1, version: before.version + 2, afterOp: 999 };
    const registers = [{ phase: PHASE, key: 1, version: row.version, op }, world.register(2)];
    const verdict = checkLedger(world.ledger, { writes: [...world.writes, row], registers });
    expect(verdict).toMatchObject({ ...CLEAN, reordered: 1 });
  });

  it('finds a client that read an older version after a later one', () => {
    const world = new World();
    const older = nth(world.writes, 0);
    world.read(1, 1, { phase: PHASE, key: 1, version: older.version, op: older.op });
    expect(checkLedger(world.ledger, world.rows())).toMatchObject({ ...CLEAN, reordered: 1 });
  });

  it('finds a read of a value that nobody wrote', () => {
    const world = new World();
    world.read(1, 1, { ...world.register(1), op: nth(world.writes, 0).op });
    expect(checkLedger(world.ledger, world.rows())).toMatchObject({ ...CLEAN, reordered: 1 });
  });

  it('finds a failed write that is there', () => {
    const world = new World();
    const op = world.begin(3, 1);
    world.ledger.refuse(op, '25006');
    world.ledger.fail(op);
    expect(checkLedger(world.ledger, world.rows())).toMatchObject(CLEAN);
    world.apply(op, { acknowledge: false });
    expect(checkLedger(world.ledger, world.rows())).toMatchObject({ ...CLEAN, phantom: 1 });
  });

  it.each([
    ['an operation that nobody began', { op: 9_999 }],
    ['an operation of another phase', { phase: 'catalog' }],
  ])('finds a row of %s', (_what, change) => {
    const world = new World();
    const op = world.begin(1, 1);
    world.ledger.unknown(op);
    const writes = [...world.writes, { ...nth(world.writes, 0), op, version: 1, afterOp: 0, ...change }];
    expect(checkLedger(world.ledger, world.rows({ writes })).phantom).toBe(1);
  });

  it('tells the two ends of an unknown outcome apart and holds neither against anybody', () => {
    const world = new World();
    const done = world.begin(1, 1);
    world.apply(done, { acknowledge: false });
    world.ledger.unknown(done);
    world.ledger.unknown(world.begin(2, 1));
    world.write(3, 1);
    expect(checkLedger(world.ledger, world.rows())).toMatchObject({ ...CLEAN, unknownPresent: 1, unknownAbsent: 1 });
  });
});

describe('Ledger', () => {
  it('keeps what it is told, beyond its first capacity, and in its file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'switchback-ledger-'));
    const file = join(directory, 'ledger.jsonl');
    let nowMs = 0;
    const ledger = new Ledger({ file, now: () => nowMs++ });
    for (let index = 1; index <= 3000; index++) {
      const op = ledger.begin({ phase: index % 2 === 0 ? 'a' : 'b', kind: 'write', client: 7, key: index });
      ledger.acknowledge(op, { version: index * 2, sawOp: index - 1 });
    }
    const expected = {
      op: 2999,
      phase: 'b',
      client: 7,
      key: 2999,
      version: 5998,
      sawOp: 2998,
      outcome: 'acknowledged',
    };
    expect(ledger.operation(2999)).toMatchObject({ ...expected, startMs: 5996, endMs: 5997 });
    expect(ledger.operation(3001)).toBeUndefined();
    await ledger.close();
    const lines = readFileSync(file, 'utf8').trim().split('\n');
    expect(lines).toHaveLength(3000);
    expect(JSON.parse(lines[2998] ?? '')).toMatchObject(expected);
    rmSync(directory, { recursive: true });
  });

  it('refuses a second outcome', () => {
    const ledger = new Ledger();
    const op = ledger.begin({ phase: 'a', kind: 'write', client: 1, key: 1 });
    ledger.unknown(op);
    expect(() => ledger.acknowledge(op, { version: 1, sawOp: 0 })).toThrow(RangeError);
    expect(ledger.counts()).toMatchObject({ pending: 0, unknown: 1, acknowledged: 0 });
  });

  it('says when its file cannot be written', async () => {
    const ledger = new Ledger({ file: join(tmpdir(), 'no-such-directory-of-switchback', 'ledger') });
    await expect(ledger.close()).rejects.toThrow('ENOENT');
  });
});

describe('stallOf', () => {
  it('measures the operations that overlapped the switch, and only their errors', () => {
    let nowMs = 0;
    const ledger = new Ledger({ now: () => nowMs });
    const run = (phase: string, fromMs: number, toMs: number, refusals = 0): void => {
      nowMs = fromMs;
      const op = ledger.begin({ phase, kind: 'write', client: 1, key: 1 });
      for (let count = 0; count < refusals; count++) ledger.refuse(op, '25006');
      nowMs = toMs;
      ledger.acknowledge(op, { version: 1, sawOp: 0 });
    };
    nowMs = 0;
    ledger.noteRoute({ phase: 'orders', primary: 'source', held: false });
    run('orders', 10, 15, 4);
    nowMs = 100;
    ledger.noteRoute({ phase: 'orders', primary: 'source', held: true });
    nowMs = 250;
    ledger.noteRoute({ phase: 'orders', primary: 'target', held: true });
    nowMs = 300;
    ledger.noteRoute({ phase: 'orders', primary: 'target', held: false });
    run('orders', 95, 310, 1);
    run('orders', 120, 305, 2);
    run('catalog', 120, 900, 3);
    run('orders', 400, 401, 5);
    const switches = switchesSeen(ledger);
    expect(switches).toEqual([{ phases: ['orders'], from: 'source', to: 'target', fromMs: 100, toMs: 300 }]);
    expect(switches.map((window) => stallOf(ledger, window))).toEqual([
      { operations: 2, p99Ms: 215, maxMs: 215, errors: 3 },
    ]);
  });

  it('sees a repoint without a hold, an undone switch, and nothing in a hold that lasts', () => {
    let nowMs = 0;
    const ledger = new Ledger({ now: () => nowMs++ });
    const note = (primary: 'source' | 'target', held: boolean) => ledger.noteRoute({ phase: 'a', primary, held });
    note('source', false);
    note('target', false);
    note('target', true);
    note('target', false);
    note('target', true);
    expect(switchesSeen(ledger)).toEqual([
      { phases: ['a'], from: 'source', to: 'target', fromMs: 1, toMs: 1 },
      { phases: ['a'], from: 'target', to: 'target', fromMs: 2, toMs: 3 },
    ]);
  });

  it('counts an operation of unknown outcome as an error', () => {
    const ledger = new Ledger({ now: () => 5 });
    ledger.unknown(ledger.begin({ phase: 'a', kind: 'write', client: 1, key: 1 }));
    expect(stallOf(ledger, { phases: ['a'], fromMs: 0, toMs: 9 })).toMatchObject({ operations: 1, errors: 1 });
  });
});
