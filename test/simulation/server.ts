import type { Side } from '../../src/domain/position.ts';
import { Blocked, type LockMode, Locks } from './locks.ts';
import type { World } from './world.ts';

/** Anything that a store keeps. Never changed in place, so that a copy of a store is a copy of its map. */
export type Value = unknown;

/** One change of a row that other sides may be told of. */
export interface RowChange {
  readonly table: string;
  readonly key: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** What a commit wrote to the log, as far as anybody decodes it. */
export interface WalRecord {
  /** Where the commit ends; a position is one of these numbers as text. */
  readonly lsn: number;
  /** Changes of appliers are never sent on. */
  readonly isApplied: boolean;
  readonly rows: readonly RowChange[];
  /** The marker that it carries, if any. */
  readonly marker: { readonly lane: string; readonly seq: bigint } | null;
}

/** A replication slot: its reader is told what commits after `confirmed`. */
export interface Slot {
  confirmed: number;
  active: Session | null;
}

/** A slot that came to be or went, for those who watch the server. */
export interface SlotChange {
  readonly server: Server;
  readonly slot: string;
  readonly kind: 'made' | 'dropped';
  /** Worker id. */
  readonly by: string;
}

/** A connection to a server, with the transaction that is open in it. */
export interface Session {
  readonly id: number;
  /** Worker id, or the client's name. */
  readonly owner: string;
  readonly boot: number;
  transaction: Transaction | null;
  isAlive: boolean;
  /** Told when the server ends it. */
  onEnd: (() => void) | null;
}

/** A transaction's own writes, seen by nobody else until it commits, and its locks. */
export interface Transaction {
  readonly session: Session;
  readonly writes: Map<string, Map<string, Value>>;
  readonly locks: Set<string>;
  readonly beganAt: number;
  /** What it reads from when it is repeatable: everything as it was committed at one moment. */
  frozen: ReadonlyMap<string, ReadonlyMap<string, Value>> | null;
  /** An applier's: passes the fence, is never sent on. */
  isApplier: boolean;
  /** Resolves its waits with an error when it is ended from outside. */
  cancel: ((reason: string) => void) | null;
}

/** Everything that a server has that outlives its sessions; plain, so that a run can begin from a copy. */
export interface ServerState {
  readonly stores: ReadonlyMap<string, ReadonlyMap<string, Value>>;
  readonly wal: readonly WalRecord[];
  readonly lsn: number;
  readonly slots: ReadonlyMap<string, number>;
  readonly serial: number;
  readonly sequences: ReadonlyMap<string, number>;
}

/** What a commit changed, for those who watch the server. */
export interface Commit {
  readonly server: Server;
  readonly transaction: Transaction;
  readonly lsn: number;
}

/** An error as the driver throws it, with the server's SQLSTATE. */
export class ServerError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const WAL_WRITER_MS = 200;

/**
 * One database in memory: stores of keyed values, transactions that see only what is committed and their own writes, row and
 * table locks, a log of commits of which a prefix is durable, slots, sessions. A crash takes sessions, open transactions and
 * every commit that is not durable.
 */
export class Server {
  readonly world: World;
  readonly side: Side;
  readonly locks = new Locks();
  readonly sessions = new Set<Session>();
  readonly slots = new Map<string, Slot>();
  /** Last values given; neither a rollback nor a crash takes one back. */
  readonly sequences: Map<string, number>;
  readonly wal: WalRecord[];
  isUp = true;
  /** Counts its starts. */
  boot = 1;
  startedAt = 0;
  lsn: number;
  durableLsn: number;
  /** What its clock is ahead of the world's, in milliseconds. */
  clockAheadMs = 0;
  /** Appliers cannot write while it is set: the disk is full. */
  isDiskFull = false;
  /** Called after each commit, before anything else happens. */
  readonly onCommit: ((commit: Commit) => void)[] = [];
  /** Called when a slot is made or dropped, which is no part of a transaction. */
  readonly onSlot: ((change: SlotChange) => void)[] = [];
  /** Called after a crash has been undone to what was durable. */
  readonly onCrash: ((server: Server) => void)[] = [];
  readonly #stores = new Map<string, Map<string, Value>>();
  #volatile: { readonly lsn: number; readonly undo: () => void }[] = [];
  #serial: number;
  #readers: (() => void)[] = [];
  #isFlushPlanned = false;

  constructor(world: World, side: Side, state?: ServerState) {
    this.world = world;
    this.side = side;
    for (const [name, store] of state?.stores ?? []) this.#stores.set(name, new Map(store));
    this.wal = [...(state?.wal ?? [])];
    this.lsn = state?.lsn ?? 100;
    this.durableLsn = this.lsn;
    this.#serial = state?.serial ?? 0;
    this.sequences = new Map(state?.sequences);
    for (const [name, confirmed] of state?.slots ?? []) this.slots.set(name, { confirmed, active: null });
  }

  /** A copy of all that is committed. Sessions must have ended. */
  state(): ServerState {
    return {
      stores: new Map([...this.#stores].map(([name, store]) => [name, new Map(store)])),
      wal: [...this.wal],
      lsn: this.lsn,
      slots: new Map([...this.slots].map(([name, slot]) => [name, slot.confirmed])),
      serial: this.#serial,
      sequences: new Map(this.sequences),
    };
  }

  /** The server's clock as text. */
  clock(): string {
    return new Date(Date.UTC(2026, 0, 1) + this.world.now + this.clockAheadMs).toISOString();
  }

  /** A number that was never given before; like a sequence's it is not taken back by a rollback. */
  serial(): number {
    this.#serial += 1;
    return this.#serial;
  }

  /** Committed content of a store. */
  store(name: string): ReadonlyMap<string, Value> {
    return this.#stores.get(name) ?? EMPTY;
  }

  /** A committed value. */
  get(store: string, key: string): Value {
    return this.#stores.get(store)?.get(key);
  }

  /** Makes a slot that begins at the end of the log; one of the same name is dropped. */
  makeSlot(slot: string, by: string): void {
    this.dropSlot(slot, by);
    this.slots.set(slot, { confirmed: this.lsn, active: null });
    for (const look of this.onSlot) look({ server: this, slot, kind: 'made', by });
  }

  /** Drops a slot, if there is one. */
  dropSlot(slot: string, by: string): void {
    if (!this.slots.delete(slot)) return;
    for (const look of this.onSlot) look({ server: this, slot, kind: 'dropped', by });
  }

  /** Opens a session. */
  connect(owner: string): Session {
    const session = { id: this.serial(), owner, boot: this.boot, transaction: null, isAlive: true, onEnd: null };
    this.sessions.add(session);
    return session;
  }

  /** Begins a transaction in a session. */
  begin(session: Session, isApplier = false): Transaction {
    const transaction = {
      session,
      writes: new Map(),
      locks: new Set<string>(),
      beganAt: this.world.now,
      frozen: null,
      isApplier,
      cancel: null,
    };
    session.transaction = transaction;
    return transaction;
  }

  /** Lets a transaction read everything as it is now. */
  freeze(transaction: Transaction): void {
    transaction.frozen = new Map([...this.#stores].map(([name, store]) => [name, new Map(store)]));
  }

  /** What a transaction sees under a key: its own write, or what is committed. */
  read(transaction: Transaction, store: string, key: string): Value {
    const own = transaction.writes.get(store);
    return own?.has(key) ? own.get(key) : (transaction.frozen ?? this.#stores).get(store)?.get(key);
  }

  /** Everything that a transaction sees of a store. */
  scan(transaction: Transaction, store: string): ReadonlyMap<string, Value> {
    const own = transaction.writes.get(store);
    const committed = (transaction.frozen ?? this.#stores).get(store) ?? EMPTY;
    if (own === undefined) return committed;
    const merged = new Map(committed);
    for (const [key, value] of own) {
      if (value === undefined) merged.delete(key);
      else merged.set(key, value);
    }
    return merged;
  }

  /** Writes under a key whose lock it takes; undefined deletes. Throws {@link Blocked}. */
  write(transaction: Transaction, store: string, key: string, value: Value): void {
    this.lock(transaction, `${store} ${key}`, 'exclusive');
    let own = transaction.writes.get(store);
    if (own === undefined) {
      own = new Map();
      transaction.writes.set(store, own);
    }
    own.set(key, value);
  }

  /** Takes a lock or throws {@link Blocked}. */
  lock(transaction: Transaction, key: string, mode: LockMode): void {
    this.locks.take(transaction, key, mode);
  }

  /**
   * Runs a statement that may have to wait for locks: it is tried from its start again each time it has got one. `done` is
   * called exactly once, unless the server crashes; with 55P03 when a lock was waited for longer than `lockMs`.
   */
  run<T>(
    transaction: Transaction,
    statement: () => T,
    options: {
      readonly lockMs: number;
      readonly done: (result: { readonly value: T } | { readonly error: unknown }) => void;
    },
  ): void {
    const { done, lockMs } = options;
    const boot = this.boot;
    let endTimer: (() => void) | null = null;
    let leave: (() => void) | null = null;
    const finish = (result: { readonly value: T } | { readonly error: unknown }): void => {
      endTimer?.();
      transaction.cancel = null;
      done(result);
    };
    const fail = (error: unknown): void => {
      leave?.();
      finish({ error });
    };
    const attempt = (): void => {
      if (this.boot !== boot) return;
      try {
        finish({ value: statement() });
      } catch (error) {
        if (!(error instanceof Blocked)) {
          finish({ error });
          return;
        }
        leave = this.locks.wait(transaction, error, () => {
          leave = null;
          this.world.schedule(null, 0, `${this.side}: lock granted`, () => {
            if (transaction.session.isAlive) attempt();
          });
        });
        transaction.cancel = (reason) => fail(new ServerError('57P01', reason));
        endTimer ??= this.world.schedule(null, lockMs, `${this.side}: lock timeout`, () => {
          if (this.boot === boot && leave !== null)
            fail(new ServerError('55P03', 'canceling statement due to lock timeout'));
        });
      }
    };
    attempt();
  }

  /**
   * Commits. With `flush` it is durable when this returns, and all that was committed before; without, a crash may lose it.
   * Returns where it ends in the log.
   */
  commit(
    transaction: Transaction,
    options: { readonly flush: boolean; readonly marker?: WalRecord['marker'] },
  ): number {
    transaction.session.transaction = null;
    if (transaction.writes.size === 0) {
      this.locks.release(transaction);
      return this.lsn;
    }
    this.lsn += 1 + transaction.writes.size;
    const rows: RowChange[] = [];
    const undo: (() => void)[] = [];
    for (const [name, own] of transaction.writes) {
      const store = this.#writable(name);
      for (const [key, value] of own) {
        const before = store.get(key);
        if (name.startsWith('rows:') && before !== value) {
          rows.push({ table: name.slice(5), key, before: textOf(before), after: textOf(value) });
        }
        undo.push(() => put(store, key, before));
        put(store, key, value);
      }
    }
    const record = { lsn: this.lsn, isApplied: transaction.isApplier, rows, marker: options.marker ?? null };
    const isLogged = rows.length > 0 || record.marker !== null;
    if (isLogged) this.wal.push(record);
    this.#volatile.push({
      lsn: this.lsn,
      undo: () => {
        for (const one of undo.reverse()) one();
        if (isLogged) this.wal.pop();
      },
    });
    if (options.flush) this.flush();
    else this.#planFlush();
    for (const look of this.onCommit) look({ server: this, transaction, lsn: this.lsn });
    this.locks.release(transaction);
    return this.lsn;
  }

  /** Rolls back. */
  rollback(transaction: Transaction): void {
    transaction.session.transaction = null;
    transaction.writes.clear();
    this.locks.release(transaction);
  }

  /** Makes everything that is committed durable. */
  flush(): void {
    if (this.durableLsn === this.lsn) return;
    this.durableLsn = this.lsn;
    this.#volatile = [];
    const readers = this.#readers;
    this.#readers = [];
    for (const wake of readers) wake();
  }

  /** Calls once, when more of the log has become durable or the server has ended. */
  onFlushed(wake: () => void): () => void {
    this.#readers.push(wake);
    return () => {
      this.#readers = this.#readers.filter((one) => one !== wake);
    };
  }

  /** Records after a position that are durable; a reader is never sent more. */
  after(position: number): readonly WalRecord[] {
    const found: WalRecord[] = [];
    for (let i = this.wal.length - 1; i >= 0; i--) {
      const record = this.wal[i] as WalRecord;
      if (record.lsn <= position) break;
      if (record.lsn <= this.durableLsn) found.push(record);
    }
    return found.reverse();
  }

  /** Ends a session as the server does: its transaction is rolled back, and its owner sees the connection break. */
  end(session: Session, reason: string): void {
    if (!session.isAlive) return;
    session.isAlive = false;
    this.sessions.delete(session);
    for (const slot of this.slots.values()) if (slot.active === session) slot.active = null;
    const { transaction } = session;
    if (transaction) {
      transaction.cancel?.(reason);
      this.rollback(transaction);
    }
    session.onEnd?.();
  }

  /** Power off: only what is durable is left. */
  crash(): void {
    if (!this.isUp) return;
    this.isUp = false;
    this.boot += 1;
    for (const session of [...this.sessions]) this.end(session, 'the server crashed');
    for (const { undo } of this.#volatile.reverse()) undo();
    this.#volatile = [];
    // Numbers of lost commits are given again, as a log's positions are.
    this.lsn = this.durableLsn;
    const readers = this.#readers;
    this.#readers = [];
    for (const wake of readers) wake();
    for (const look of this.onCrash) look(this);
  }

  /** Starts again after a crash. */
  start(): void {
    this.isUp = true;
    this.startedAt = this.world.now;
  }

  #writable(name: string): Map<string, Value> {
    let store = this.#stores.get(name);
    if (store === undefined) {
      store = new Map();
      this.#stores.set(name, store);
    }
    return store;
  }

  #planFlush(): void {
    if (this.#isFlushPlanned) return;
    this.#isFlushPlanned = true;
    this.world.schedule(null, WAL_WRITER_MS, `${this.side}: WAL writer`, () => {
      this.#isFlushPlanned = false;
      if (this.isUp) this.flush();
    });
  }
}

const EMPTY: ReadonlyMap<string, Value> = new Map();

const textOf = (value: Value): string | null => (typeof value === 'string' ? value : null);

const put = (store: Map<string, Value>, key: string, value: Value): void => {
  if (value === undefined) store.delete(key);
  else store.set(key, value);
};
