import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BlockerPolicy, Database, LiftAct } from '../../src/databases/database.ts';
import { SwitchbackError } from '../../src/domain/errors.ts';
import type { Guard, SqlExecutor } from '../../src/domain/sql.ts';
import { displayName } from '../../src/domain/table.ts';

/** A session of the application's, or of an applier's. */
export interface Session {
  query(sql: string): Promise<readonly Record<string, unknown>[]>;
  close(): Promise<void>;
}

/**
 * What an implementation brings: a database of its own that holds the tables `shop.a (id, note)` with the rows 1 and 2,
 * `shop.b (id, note)` empty, a table `guarded (n)` with one row 0 for guards to write to, and a sequence `shop.numbers`
 * that counts up and has handed out nothing.
 */
export interface DatabaseFixture {
  readonly database: Database;
  /** A session of a superuser's, so that nothing is refused for lack of privilege. */
  connect(): Promise<Session>;
  /** A session that passes the fence. */
  connectApplier(): Promise<Session>;
  readonly guarded: string;
  /** SQLSTATE or number of the error that a refused writer gets. */
  readonly refusal: string | number;
  close(): Promise<void>;
}

/** The code that a refused statement failed with, some word when the error had none; undefined when it passed. */
export const codeOfFailure = async (work: Promise<unknown>): Promise<unknown> => {
  try {
    await work;
    return undefined;
  } catch (error) {
    return (error as { code?: unknown }).code ?? 'a lost connection';
  }
};

/** What happens to blockers, and when. */
export const policy = (waitMs: number, action: BlockerPolicy['action']): BlockerPolicy => ({ waitMs, action });

/** A fence act over the suite's tables, short of patience unless told otherwise. */
export const anAct = (changes: Partial<LiftAct> = {}): LiftAct => ({
  tables: [
    { schema: 'shop', name: 'a' },
    { schema: 'shop', name: 'b' },
  ],
  reason: 'phase shop is on the target',
  guard: async () => undefined,
  blockers: policy(60_000, 'abort'),
  budgetMs: 3000,
  onBlocked: () => undefined,
  signal: new AbortController().signal,
  ...changes,
});

/** What every {@link Database} does, whatever the server. */
export const databaseContract = (name: string, make: () => Promise<DatabaseFixture>): void => {
  describe(`database contract: ${name}`, () => {
    let fixture: DatabaseFixture;
    const sessions: Session[] = [];
    const connect = async (): Promise<Session> => {
      const session = await fixture.connect();
      sessions.push(session);
      return session;
    };
    const notes = async () => (await connect()).query('SELECT id, note FROM shop.a ORDER BY id');
    const guardedValue = async () => (await (await connect()).query(`SELECT n FROM ${fixture.guarded}`))[0]?.n;
    const guard: Guard = async (sql: SqlExecutor) => {
      await sql.query(`UPDATE ${fixture.guarded} SET n = n + 1`);
    };

    beforeEach(async () => {
      fixture = await make();
    });
    afterEach(async () => {
      for (const session of sessions.splice(0)) await session.close();
      await fixture.close();
    });

    test('the inventory lists tables with keys and columns, sorted', async () => {
      const { tables } = await fixture.database.inventory();
      const names = tables.map(displayName).filter((table) => table.startsWith('shop.'));
      expect(names).toEqual(['shop.a', 'shop.b']);
      const a = tables.find((table) => displayName(table) === 'shop.a');
      expect(a?.key?.columns).toEqual(['id']);
      expect(a?.columns.map((column) => column.name)).toEqual(['id', 'note']);
    });

    test('a fenced table refuses every write, a lifted one takes it', async () => {
      const writer = await connect();
      await fixture.database.fence(anAct());
      for (const sql of [
        `INSERT INTO shop.a VALUES (3, 'x')`,
        `UPDATE shop.a SET note = 'x'`,
        'DELETE FROM shop.a',
        `INSERT INTO shop.b VALUES (1, 'x')`,
      ]) {
        expect(await codeOfFailure(writer.query(sql)), sql).toBe(fixture.refusal);
      }
      expect(await notes()).toHaveLength(2);
      await fixture.database.lift(anAct());
      await writer.query(`INSERT INTO shop.a VALUES (3, 'x')`);
      expect(await notes()).toHaveLength(3);
    });

    test('an applier passes the fence', async () => {
      await fixture.database.fence(anAct());
      const applier = await fixture.connectApplier();
      await applier.query(`INSERT INTO shop.a VALUES (3, 'applied')`);
      await applier.close();
      expect(await notes()).toHaveLength(3);
    });

    test('fence and lift may be repeated, and the guard runs every time', async () => {
      await fixture.database.fence(anAct({ guard }));
      await fixture.database.fence(anAct({ guard }));
      expect(await codeOfFailure((await connect()).query('DELETE FROM shop.a'))).toBe(fixture.refusal);
      await fixture.database.lift(anAct({ guard }));
      await fixture.database.lift(anAct({ guard }));
      await (await connect()).query('DELETE FROM shop.a');
      expect(String(await guardedValue())).toBe('4');
    });

    test('a guard that throws leaves nothing, neither of the fence nor of its own rows', async () => {
      const stale: Guard = async (sql) => {
        await guard(sql);
        throw new SwitchbackError('deposed', 'a newer epoch is known');
      };
      await expect(fixture.database.fence(anAct({ guard: stale }))).rejects.toMatchObject({ kind: 'deposed' });
      await (await connect()).query(`INSERT INTO shop.a VALUES (3, 'x')`);
      await fixture.database.fence(anAct());
      await expect(fixture.database.lift(anAct({ guard: stale }))).rejects.toMatchObject({ kind: 'deposed' });
      expect(await codeOfFailure((await connect()).query('DELETE FROM shop.a'))).toBe(fixture.refusal);
      expect(String(await guardedValue())).toBe('0');
    });

    test('a writer in flight is waited for, and what it committed is before the head that is read afterwards', async () => {
      const writer = await connect();
      await writer.query('BEGIN');
      await writer.query(`INSERT INTO shop.a VALUES (3, 'in flight')`);
      let fenced = false;
      const fencing = fixture.database.fence(anAct()).then(() => {
        fenced = true;
      });
      await new Promise((resolve) => setTimeout(resolve, 400));
      expect(fenced).toBe(false);
      await writer.query('COMMIT');
      await fencing;
      expect(await notes()).toHaveLength(3);
    });

    test('a budget that runs out aborts, names who was in the way, and clients write on', async () => {
      const writer = await connect();
      await writer.query('BEGIN');
      await writer.query(`INSERT INTO shop.a VALUES (3, 'endless')`);
      const error: unknown = await fixture.database.fence(anAct({ budgetMs: 900, guard })).catch((e: unknown) => e);
      expect(error).toMatchObject({ kind: 'aborted' });
      expect(String(error)).toContain('endless');
      await (await connect()).query(`INSERT INTO shop.b VALUES (1, 'goes on')`);
      await writer.query('COMMIT');
      expect(String(await guardedValue())).toBe('0');
    });

    test('an aborted signal stops a fence that waits', async () => {
      const writer = await connect();
      await writer.query('BEGIN');
      await writer.query(`INSERT INTO shop.a VALUES (3, 'x')`);
      const controller = new AbortController();
      setTimeout(() => controller.abort(new Error('enough')), 300);
      const fencing = fixture.database.fence(anAct({ budgetMs: 60_000, signal: controller.signal }));
      await expect(fencing).rejects.toThrow();
      await writer.query('COMMIT');
      await (await connect()).query('DELETE FROM shop.a');
    });

    test('neither readers nor row locks keep a fence or a lift waiting', async () => {
      const reader = await connect();
      await reader.query('BEGIN');
      await reader.query('SELECT * FROM shop.a WHERE id = 1 FOR UPDATE');
      await fixture.database.fence(anAct({ budgetMs: 400 }));
      await fixture.database.lift(anAct({ budgetMs: 400 }));
      await reader.query('ROLLBACK');
    });

    test('the head moves on with every commit', async () => {
      const before = await fixture.database.head();
      await (await connect()).query(`INSERT INTO shop.a VALUES (3, 'x')`);
      expect(await fixture.database.head()).not.toBe(before);
    });

    test('a sequence is advanced when behind, left when beyond, and the guard decides', async () => {
      const { sequences } = fixture.database;
      const numbers = { schema: 'shop', name: 'numbers' };
      expect(await sequences.read([numbers])).toEqual([{ ...numbers, lastValue: '1', isCalled: false }]);
      await sequences.advance([{ ...numbers, lastValue: '41', isCalled: true }], guard);
      expect(await sequences.read([numbers])).toEqual([{ ...numbers, lastValue: '41', isCalled: true }]);
      await sequences.advance([{ ...numbers, lastValue: '7', isCalled: true }], guard);
      expect(await sequences.read([numbers])).toEqual([{ ...numbers, lastValue: '41', isCalled: true }]);
      const stale: Guard = () => Promise.reject(new SwitchbackError('deposed', 'a newer epoch is known'));
      const refused = sequences.advance([{ ...numbers, lastValue: '99', isCalled: true }], stale);
      await expect(refused).rejects.toMatchObject({ kind: 'deposed' });
      expect(await sequences.read([numbers])).toEqual([{ ...numbers, lastValue: '41', isCalled: true }]);
      expect(await sequences.read([])).toEqual([]);
    });
  });
};
