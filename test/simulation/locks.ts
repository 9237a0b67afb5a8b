import type { Transaction } from './server.ts';

/** Modes of row locks (`share`, `exclusive`) and of table locks (`write`, `fence`, `all`), each only among their own. */
export type LockMode = 'share' | 'exclusive' | 'write' | 'fence' | 'all';

const COMPATIBLE: ReadonlySet<string> = new Set(['share share', 'write write']);
const STRENGTH: Readonly<Record<LockMode, number>> = { share: 0, exclusive: 1, write: 0, fence: 1, all: 2 };

interface Waiter {
  readonly transaction: Transaction;
  readonly mode: LockMode;
  readonly granted: () => void;
}

interface Lock {
  readonly holders: Map<Transaction, LockMode>;
  readonly waiters: Waiter[];
}

/** Thrown by a statement that needs a lock which somebody else has; it is tried again from its start with the lock. */
export class Blocked {
  readonly key: string;
  readonly mode: LockMode;

  constructor(key: string, mode: LockMode) {
    this.key = key;
    this.mode = mode;
  }
}

/** The locks of one server. Whoever waits is served in order, and who comes later queues behind it. */
export class Locks {
  readonly #locks = new Map<string, Lock>();

  /** Takes a lock for a transaction, or throws {@link Blocked}. */
  take(transaction: Transaction, key: string, mode: LockMode): void {
    const lock = this.#lock(key);
    const held = lock.holders.get(transaction);
    if (held !== undefined && STRENGTH[held] >= STRENGTH[mode]) return;
    const isFree = this.#isFree(lock, transaction, mode);
    const isFirst = held !== undefined || lock.waiters.every((w) => COMPATIBLE.has(`${w.mode} ${mode}`));
    if (!isFree || !isFirst) throw new Blocked(key, mode);
    lock.holders.set(transaction, mode);
    transaction.locks.add(key);
  }

  /** Queues for a lock. `granted` is called when it has been given. Returns a function that leaves the queue. */
  wait(transaction: Transaction, blocked: Blocked, granted: () => void): () => void {
    const lock = this.#lock(blocked.key);
    const waiter = { transaction, mode: blocked.mode, granted };
    lock.waiters.push(waiter);
    return () => {
      const at = lock.waiters.indexOf(waiter);
      if (at >= 0) lock.waiters.splice(at, 1);
      this.#serve(blocked.key, lock);
    };
  }

  /** Whom a transaction would wait for. */
  holders(key: string): readonly Transaction[] {
    return [...(this.#locks.get(key)?.holders.keys() ?? [])];
  }

  /** Gives up all locks of a transaction. */
  release(transaction: Transaction): void {
    for (const key of transaction.locks) {
      const lock = this.#locks.get(key);
      if (!lock) continue;
      lock.holders.delete(transaction);
      this.#serve(key, lock);
    }
    transaction.locks.clear();
  }

  #serve(key: string, lock: Lock): void {
    for (;;) {
      const [first] = lock.waiters;
      if (first === undefined || !this.#isFree(lock, first.transaction, first.mode)) break;
      lock.waiters.shift();
      lock.holders.set(first.transaction, first.mode);
      first.transaction.locks.add(key);
      first.granted();
    }
    if (lock.holders.size === 0 && lock.waiters.length === 0) this.#locks.delete(key);
  }

  #isFree(lock: Lock, transaction: Transaction, mode: LockMode): boolean {
    for (const [holder, held] of lock.holders) {
      if (holder !== transaction && !COMPATIBLE.has(`${held} ${mode}`)) return false;
    }
    return true;
  }

  #lock(key: string): Lock {
    const known = this.#locks.get(key);
    if (known) return known;
    const made: Lock = { holders: new Map(), waiters: [] };
    this.#locks.set(key, made);
    return made;
  }
}
