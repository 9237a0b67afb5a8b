import type { BlockerPolicy, Database, FenceAct, LiftAct } from '../../src/databases/database.ts';
import type { Digests, KeyRange } from '../../src/databases/digests.ts';
import type { SchemaTool } from '../../src/databases/schema.ts';
import type { Sessions } from '../../src/databases/sessions.ts';
import { isKind, SwitchbackError } from '../../src/domain/errors.ts';
import type { Position, Side } from '../../src/domain/position.ts';
import type { Guard, SqlExecutor } from '../../src/domain/sql.ts';
import { displayName, type Sequence, type Table, type TableName } from '../../src/domain/table.ts';
import { monotonicMs, sleep } from './clock.ts';
import type { LockMode } from './locks.ts';
import type { Network, SimExecutor } from './network.ts';
import type { Server, Session, Transaction } from './server.ts';
import type { Process } from './world.ts';

const ATTEMPT_MS = 200;
const SHORTEST_ATTEMPT_MS = 40;

/** The simulation's executor behind the port's. */
export const simulated = (sql: SqlExecutor): SimExecutor => sql as SimExecutor;

/** A table of the simulation's application: a key and a text. */
export const tableOf = (name: string): Table => ({
  schema: 'public',
  name,
  columns: ['id', 'value'].map((column) => ({
    name: column,
    type: 'text',
    fullType: 'text',
    notNull: true,
    generated: false,
    identity: null,
  })),
  key: { index: `${name}_pkey`, columns: ['id'] },
  replicaIdentity: 'default',
  root: null,
  estimatedRows: 10,
  bytes: 8192,
});

/** What one side's ports are made of. */
export interface Place {
  readonly network: Network;
  readonly process: Process;
  readonly side: Side;
}

/** The application's tables and sequences, the same on both sides. */
export interface Catalogue {
  readonly tables: readonly Table[];
  readonly sequences: readonly Sequence[];
}

const lockTables = (server: Server, transaction: Transaction, tables: readonly TableName[], mode: LockMode): void => {
  for (const name of tables.map(displayName).sort()) server.lock(transaction, `table ${name}`, mode);
};

/** Runs an act under table locks, in short attempts, as the real fence does. */
const withLocks = async (
  place: Place,
  act: FenceAct,
  { mode, work }: { readonly mode: LockMode; readonly work: (server: Server, transaction: Transaction) => void },
): Promise<void> => {
  const { network, process, side } = place;
  const begun = monotonicMs();
  for (;;) {
    act.signal.throwIfAborted();
    const left = act.budgetMs - (monotonicMs() - begun);
    if (left < SHORTEST_ATTEMPT_MS)
      throw new SwitchbackError('aborted', `the locks on the ${side} could not be had within ${act.budgetMs} ms`);
    const lockMs = Math.min(ATTEMPT_MS, left);
    try {
      return await network.transaction(
        process,
        side,
        async (sql) => {
          await act.guard(sql);
          await sql.act('lock tables', (server, transaction) => lockTables(server, transaction, act.tables, mode));
          await sql.act('fence triggers', work);
        },
        { lockMs },
      );
    } catch (error) {
      if (!isKind(error, 'busy')) throw error;
    }
    await clearTheWay(place, act, begun);
    await sleep(50 + network.world.random() * 150, act.signal);
  }
};

const clearTheWay = async ({ network, process, side }: Place, act: FenceAct, begun: number): Promise<void> => {
  const mayEnd = isDue(act.blockers, monotonicMs() - begun);
  await network.request<void>(process, side, 'blockers', (server, reply) => {
    const holders = new Set(act.tables.flatMap((table) => server.locks.holders(`table ${displayName(table)}`)));
    if (mayEnd) for (const { session } of holders) server.end(session, 'terminated by Switchback');
    reply({ value: undefined });
  });
};

const isDue = (policy: BlockerPolicy, waitedMs: number): boolean =>
  policy.action === 'terminate' && waitedMs >= policy.waitMs;

/** The port to one simulated database. */
export const simulatedDatabase = (place: Place, catalogue: Catalogue): Database => {
  const { network, process, side } = place;
  const isFenced = (server: Server, table: TableName): boolean => server.get('fence', displayName(table)) === 'on';
  return {
    inventory: () =>
      network.request(process, side, 'inventory', (_, reply) => reply({ value: { ...catalogue, roots: [] } })),
    head: () =>
      network.request<Position>(process, side, 'head', (server, reply) =>
        reply({ value: String(server.lsn) as Position }),
      ),
    fence: (act) =>
      withLocks(place, act, {
        mode: 'fence',
        work: (server, transaction) => {
          for (const table of act.tables) server.write(transaction, 'fence', displayName(table), 'on');
        },
      }),
    lift: async (act: LiftAct) => {
      const some = new Error('something is fenced');
      try {
        await network.transaction(process, side, async (sql) => {
          await act.guard(sql);
          if (await sql.act('read triggers', (server) => act.tables.some((table) => isFenced(server, table))))
            throw some;
        });
      } catch (error) {
        if (error !== some) throw error;
        await withLocks(place, act, {
          mode: 'fence',
          work: (server, transaction) => {
            for (const table of act.tables) {
              if (isFenced(server, table)) server.write(transaction, 'fence', displayName(table), 'off');
            }
          },
        });
      }
      if (act.remove !== true) return;
      await withLocks(place, act, {
        mode: 'all',
        work: (server, transaction) => {
          for (const table of act.tables) server.write(transaction, 'fence', displayName(table), undefined);
        },
      });
    },
    sequences: {
      read: (names) =>
        network.request(process, side, 'read sequences', (server, reply) =>
          reply({
            value: names.map(({ schema, name }) => ({
              schema,
              name,
              lastValue: String(server.sequences.get(name) ?? 0),
              isCalled: true,
            })),
          }),
        ),
      advance: async (states, guard) => {
        await network.transaction(process, side, async (sql) => {
          await guard(sql);
          await sql.act('advance sequences', (server) => {
            for (const { name, lastValue } of states)
              server.sequences.set(name, Math.max(server.sequences.get(name) ?? 0, Number(lastValue)));
          });
        });
      },
    },
  };
};

const hash = (text: string): number => {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
};

/** Digests that a simulated server computes of what is committed. */
export const simulatedDigests = ({ network, process, side }: Place): Digests => {
  const ask = <T>(label: string, table: Table, answer: (rows: ReadonlyMap<string, string>) => T): Promise<T> =>
    network.request<T>(process, side, label, (server, reply) =>
      reply({ value: answer(server.store(`rows:${displayName(table)}`) as ReadonlyMap<string, string>) }),
    );
  const rowHash = (key: string, value: string): string => String(hash(`${key}=${value}`));
  const inRange = (rows: ReadonlyMap<string, string>, { after, upTo }: KeyRange) =>
    [...rows].filter(
      ([key]) => (after === null || key > (after[0] ?? '')) && (upTo === null || key <= (upTo[0] ?? '')),
    );
  const digest = (rows: readonly (readonly [string, string])[]) => ({
    rows: String(rows.length),
    sum: String(rows.reduce((sum, [key, value]) => sum + hash(`${key}=${value}`), 0)),
  });
  return {
    // A table is one range here, so nobody is asked; the digest that follows meets every fault that the question would.
    nextRange: async (_, after) => ({ after, upTo: null }),
    ofRange: (table, range) => ask('digest', table, (rows) => digest(inRange(rows, range))),
    ofKeys: (table, keys) =>
      ask('digest of keys', table, (rows) =>
        digest(keys.flatMap(([key = '']) => (rows.has(key) ? [[key, rows.get(key) ?? ''] as const] : []))),
      ),
    hashesOf: (table, keys) =>
      ask('hashes', table, (rows) =>
        keys.map(([key = '']) => (rows.has(key) ? rowHash(key, rows.get(key) ?? '') : null)),
      ),
    rowsOf: (table, range) =>
      ask('rows', table, (rows) =>
        inRange(rows, range).map(([key, value]) => ({ key: [key], hash: rowHash(key, value) })),
      ),
  };
};

/** Sessions of a simulated server. */
export const simulatedSessions = ({ network, process, side }: Place): Sessions => {
  let present: Session | null = null;
  return {
    describe: () =>
      network.request(process, side, 'describe', (server, reply) =>
        reply({
          value: {
            identity: `simulated:${side}`,
            instance: `${side}@${server.startedAt}`,
            version: 'PostgreSQL simulated',
          },
        }),
      ),
    presence: async () => {
      const known = present;
      if (known?.isAlive) return `${known.id}@${known.boot}`;
      return await network.request<string>(process, side, 'presence', (_, reply) => {
        const session = network.connect(process, side);
        present = session;
        reply({ value: `${session.id}@${session.boot}` });
      });
    },
    isPresent: (token) =>
      network.request(process, side, 'is present', (server, reply) => {
        const [id, boot] = token.split('@').map(Number);
        const isThere = [...server.sessions].some((session) => session.id === id);
        // A restart took every session with it; the worker will be back with another one.
        reply({ value: isThere || (token !== '' && boot !== server.boot) });
      }),
    endWorker: (holder) =>
      network.effect(process, side, 'end sessions', (server) => {
        const found = [...server.sessions].filter((session) => session.owner === holder);
        for (const session of found) server.end(session, 'terminated by a newer worker');
        return found.length;
      }),
    endStrangers: (holder) =>
      network.effect(process, side, 'end strangers', (server) => {
        const isStranger = ({ owner, transaction }: Session): boolean =>
          owner !== holder &&
          network.processOf(owner) !== undefined &&
          transaction !== null &&
          transaction.writes.size > 0 &&
          server.world.now - transaction.beganAt > 1_000;
        const found = [...server.sessions].filter(isStranger);
        for (const session of found) server.end(session, 'terminated by the holder of the lease');
        return found.length;
      }),
  };
};

/** The schema on a simulated target: tables stand, and each has an index and a foreign key that a copy puts off. */
export const simulatedSchema = (place: Place): SchemaTool => {
  const { network, process, side } = place;
  const target = <T>(label: string, guard: Guard, work: (server: Server, transaction: Transaction) => T): Promise<T> =>
    network.transaction(process, side, async (sql) => {
      await guard(sql);
      return await sql.act(label, work);
    });
  return {
    create: ({ record }) => network.transaction(process, side, (sql) => record(sql, [])),
    // Something of ours stands for all that was created; it goes in one transaction.
    undo: async (_, guard) => {
      await target('undo', guard, (server, transaction) => server.write(transaction, 'created', 'all', undefined));
      return [];
    },
    capture: async (tables) =>
      tables.flatMap((table) =>
        (['key', 'index', 'foreign key'] as const).map((kind) => ({
          kind,
          table: { schema: table.schema, name: table.name },
          name: `${table.name} ${kind}`,
          references: kind === 'foreign key' ? { schema: table.schema, name: table.name } : null,
          index: 'CREATE INDEX',
          constraint: null,
          marks: [],
          drop: 'DROP INDEX',
          tablespace: null,
          partitioned: false,
        })),
      ),
    drop: (items, guard) =>
      target('drop indexes', guard, (server, transaction) => {
        for (const { name } of items) server.write(transaction, 'dropped index', name, 'dropped');
      }),
    build: async (items, { guard, statistics = [], signal, onProgress }) => {
      let done = 0;
      for await (const some of Symbol.asyncIterator in items ? items : [items]) {
        for (const item of some) {
          signal.throwIfAborted();
          await target(`build ${item.name}`, guard, (server, transaction) =>
            server.write(transaction, 'dropped index', item.name, undefined),
          );
          done += 1;
          onProgress({ item, done, total: done, ms: 1 });
        }
      }
      if (statistics.length > 0)
        await network.request<void>(process, side, 'analyze', (_, reply) => reply({ value: undefined }));
      signal.throwIfAborted();
    },
    empty: (tables, guard) =>
      target('empty', guard, (server, transaction) => {
        transaction.isApplier = true;
        lockTables(server, transaction, tables, 'all');
        for (const table of tables) {
          const store = `rows:${displayName(table)}`;
          for (const key of [...server.scan(transaction, store).keys()])
            server.write(transaction, store, key, undefined);
        }
      }),
  };
};
