import type pg from 'pg';
import type { Deed, History } from './history.ts';

/** The phases of a run's plan and their tables. Each has two workloads, so that a switch of one leaves the other alone. */
export const PHASES = {
  lists: ['public.list', 'public.ticket'],
  accounts: ['public.account', 'public.transfer', 'public.register'],
} as const;

/** The name of a phase. */
export type PhaseName = keyof typeof PHASES;

export const PHASE_NAMES: readonly PhaseName[] = ['lists', 'accounts'];

/** The four workloads and the phase that holds each. */
export const WORKLOADS = { append: 'lists', insert: 'lists', bank: 'accounts', register: 'accounts' } as const;

/** The name of a workload. */
export type WorkloadName = keyof typeof WORKLOADS;

export const WORKLOAD_NAMES: readonly WorkloadName[] = ['append', 'insert', 'bank', 'register'];

/** None is added or removed. */
export const FIRST_ACCOUNTS = 12;
export const FIRST_BALANCE = 1_000;
const REGISTERS = 8;
/** Lists that are appended to at a time, and how many operations later others take their place. */
const LISTS = 4;
const OPERATIONS_PER_LIST = 400;

/** Tables of all workloads. `ticket.id` is not unique, so that a row applied twice is seen and not refused. */
export const SCHEMA_SQL = `
CREATE TABLE list (key int PRIMARY KEY, items bigint[] NOT NULL);
CREATE TABLE ticket (seq bigserial PRIMARY KEY, id bigint NOT NULL, note text NOT NULL);
CREATE INDEX ticket_id ON ticket (id);
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE transfer (seq bigserial PRIMARY KEY, op bigint NOT NULL, from_id int NOT NULL, to_id int NOT NULL, amount bigint NOT NULL);
CREATE TABLE register (key int PRIMARY KEY, version bigint NOT NULL, writer bigint NOT NULL);
`;

/** The first rows, for the source. */
export const ROWS_SQL = `
INSERT INTO account SELECT id, ${FIRST_BALANCE} FROM generate_series(1, ${FIRST_ACCOUNTS}) id;
INSERT INTO register SELECT key, 0, 0 FROM generate_series(1, ${REGISTERS}) key;
`;

/** An operation before it is tried: what is meant, and how it is done within a transaction. Returns the answers. */
export interface Intention {
  readonly deed: Deed;
  readonly isRead: boolean;
  readonly act: (session: pg.Client, op: number) => Promise<Deed>;
}

/** What clients know when they choose. */
export interface Choosing {
  readonly random: () => number;
  readonly history: History;
  /** Versions of registers that this client has seen, by key; it sets on these. */
  readonly versions: Map<number, number>;
  /** Ids whose inserts were acknowledged lately, to look for. */
  readonly inserted: readonly number[];
}

/** Chooses what a client of a workload does next; a third of it reads. */
export const intend = (workload: WorkloadName, choosing: Choosing): Intention => {
  const isRead = choosing.random() < 1 / 3;
  switch (workload) {
    case 'append':
      return isRead ? readList(choosing) : append(choosing);
    case 'insert':
      return isRead ? find(choosing) : insert();
    case 'bank':
      return isRead ? readBalances() : transfer(choosing);
    case 'register':
      return isRead ? readRegister(choosing) : compareAndSet(choosing);
  }
};

const below = ({ random }: Choosing, count: number): number => Math.floor(random() * count);

const listKey = (choosing: Choosing): number =>
  Math.floor(choosing.history.nextOp / OPERATIONS_PER_LIST) * LISTS + below(choosing, LISTS);

const append = (choosing: Choosing): Intention => {
  const deed = { kind: 'append', key: listKey(choosing) } as const;
  return {
    deed,
    isRead: false,
    act: async (session, op) => {
      await session.query(
        `INSERT INTO list VALUES ($1, ARRAY[$2::bigint]) ON CONFLICT (key) DO UPDATE SET items = list.items || EXCLUDED.items`,
        [deed.key, op],
      );
      return deed;
    },
  };
};

const readList = (choosing: Choosing): Intention => {
  const key = listKey(choosing);
  return {
    deed: { kind: 'read-list', key, items: [] },
    isRead: true,
    act: async (session) => {
      const { rows } = await session.query<{ items: string[] }>('SELECT items FROM list WHERE key = $1', [key]);
      return { kind: 'read-list', key, items: (rows[0]?.items ?? []).map(Number) };
    },
  };
};

const insert = (): Intention => ({
  deed: { kind: 'insert' },
  isRead: false,
  act: async (session, op) => {
    await session.query('INSERT INTO ticket (id, note) VALUES ($1, $2)', [op, 'note '.repeat(1 + (op % 60))]);
    return { kind: 'insert' };
  },
});

const find = (choosing: Choosing): Intention => {
  const id = choosing.inserted[below(choosing, choosing.inserted.length)] ?? 0;
  return {
    deed: { kind: 'find', id, found: 0 },
    isRead: true,
    act: async (session) => {
      const { rows } = await session.query<{ found: number }>(
        'SELECT count(*)::int AS found FROM ticket WHERE id = $1',
        [id],
      );
      return { kind: 'find', id, found: rows[0]?.found ?? 0 };
    },
  };
};

const transfer = (choosing: Choosing): Intention => {
  const from = 1 + below(choosing, FIRST_ACCOUNTS);
  const to = 1 + ((from + below(choosing, FIRST_ACCOUNTS - 1)) % FIRST_ACCOUNTS);
  const deed = { kind: 'transfer', from, to, amount: 1 + below(choosing, 50) } as const;
  return {
    deed,
    isRead: false,
    act: async (session, op) => {
      // The smaller number first, so that two transfers cannot wait for each other.
      const moves = [
        [from, -deed.amount],
        [to, deed.amount],
      ].sort(([a = 0], [b = 0]) => a - b);
      for (const move of moves) await session.query('UPDATE account SET balance = balance + $2 WHERE id = $1', move);
      await session.query('INSERT INTO transfer (op, from_id, to_id, amount) VALUES ($1, $2, $3, $4)', [
        op,
        from,
        to,
        deed.amount,
      ]);
      return deed;
    },
  };
};

const readBalances = (): Intention => ({
  deed: { kind: 'read-balances', balances: [] },
  isRead: true,
  act: async (session) => {
    const { rows } = await session.query<{ balance: string }>('SELECT balance FROM account ORDER BY id');
    return { kind: 'read-balances', balances: rows.map(({ balance }) => Number(balance)) };
  },
});

const compareAndSet = (choosing: Choosing): Intention => {
  const key = 1 + below(choosing, REGISTERS);
  const from = choosing.versions.get(key) ?? 0;
  return {
    deed: { kind: 'compare-and-set', key, from, isApplied: false },
    isRead: false,
    act: async (session, op) => {
      const { rowCount } = await session.query(
        'UPDATE register SET version = $2::bigint + 1, writer = $3 WHERE key = $1 AND version = $2::bigint',
        [key, from, op],
      );
      return { kind: 'compare-and-set', key, from, isApplied: rowCount === 1 };
    },
  };
};

const readRegister = (choosing: Choosing): Intention => {
  const key = 1 + below(choosing, REGISTERS);
  return {
    deed: { kind: 'read-register', key, version: 0, writer: 0 },
    isRead: true,
    act: async (session) => {
      const { rows } = await session.query<{ version: string; writer: string }>(
        'SELECT version, writer FROM register WHERE key = $1',
        [key],
      );
      return { kind: 'read-register', key, version: Number(rows[0]?.version), writer: Number(rows[0]?.writer) };
    },
  };
};
