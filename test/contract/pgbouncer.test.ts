import { writeFileSync } from 'node:fs';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Pooler } from '../../src/demo/poolers.ts';
import type { Side } from '../../src/domain/position.ts';
import { monotonicMs, sleep } from '../../src/platform/clock.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { Console } from '../../src/routers/pgbouncer/console.ts';
import { type PgbouncerOptions, PgbouncerRouter } from '../../src/routers/pgbouncer/router.ts';
import { openClient } from '../support/clients.ts';
import { usePaths } from '../support/path.ts';
import { describeWithNewPoolers, describeWithPoolers, type MakePooler } from '../support/pgbouncer.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';
import { type RouterUnderTest, routerContract } from './router.ts';

/**
 * The router on real PgBouncers, two of them at once as an application has them behind a load balancer. Both sides are
 * databases of one server: a pooler does not mind.
 */
const server = useServer({ version: 18 });
const openPath = usePaths();
const PHASES = ['orders', 'catalog', 'a', 'b', 'c', 'd'];
const UNTOLD = 'host=127.0.0.1 port=1 dbname=nowhere';
const BUDGET_MS = 10_000;

const urls: Record<Side, string> = { source: '', target: '' };
let sql: PgbouncerOptions['servers'];

const entryOf = (side: Side): string => `host=127.0.0.1 port=${server().port} dbname=pooled_${side}`;

const routerOn = (poolers: readonly Pooler[], other: Partial<PgbouncerOptions> = {}): PgbouncerRouter =>
  new PgbouncerRouter({
    instances: poolers.map(({ admin, config }) => ({ admin, config })),
    databases: new Map(PHASES.map((phase) => [phase, `pool.${phase}`])),
    sides: { source: { url: urls.source }, target: { url: urls.target } },
    servers: sql,
    blockers: { waitMs: 500, action: 'abort' },
    foreignSettings: 'refuse',
    ...other,
  });

const entriesOf = (led: string): string => PHASES.map((phase) => `pool.${phase} = ${led} pool_size=5\n`).join('');

const poolersOf = (makePooler: MakePooler, mode: 'transaction' | 'session') => {
  let made: Promise<readonly Pooler[]> | undefined;
  return (): Promise<readonly Pooler[]> => {
    made ??= Promise.all([1, 2].map(() => makePooler({ mode, entries: entriesOf(UNTOLD) })));
    return made;
  };
};

const resumeAll = async (poolers: readonly Pooler[]): Promise<void> => {
  for (const pooler of poolers) {
    const paused = (await pooler.ask('SHOW DATABASES')).filter((row) => Number(row.paused) === 1);
    for (const { name } of paused) await pooler.ask(`RESUME "${name}"`);
  }
};

const pausedOn = async (poolers: readonly Pooler[]): Promise<number> => {
  const shown = await Promise.all(poolers.map((pooler) => pooler.ask('SHOW DATABASES')));
  return shown.flat().filter((row) => Number(row.paused) === 1).length;
};

beforeAll(async () => {
  for (const side of ['source', 'target'] as const) {
    urls[side] = await createDatabase(server(), `pooled_${side}`);
    await runSql(urls[side], `CREATE TABLE side AS SELECT '${side}' AS name`);
  }
  const serverOf = (side: Side) => new PostgresServer({ url: urls[side], label: side, application: 'test' });
  sql = { source: serverOf('source'), target: serverOf('target') };
});
afterAll(async () => {
  await Promise.all(Object.values(sql ?? {}).map((side) => (side as PostgresServer).close()));
});

const testsOf = (makePooler: MakePooler): void => {
  for (const mode of ['transaction', 'session'] as const) {
    const poolers = poolersOf(makePooler, mode);
    routerContract(`pgbouncer, ${mode} pooling`, async (): Promise<RouterUnderTest> => {
      const both = await poolers();
      for (const pooler of both) await pooler.setEntries(entriesOf(UNTOLD));
      return {
        open: () => routerOn(both),
        edit: async (phase, primary) => {
          for (const pooler of both) {
            const line = new RegExp(`^(pool\\.${phase} = ).*(pool_size=5.*)$`, 'm');
            await pooler.setEntries(pooler.entries().replace(line, `$1${entryOf(primary)} $2`));
          }
        },
        remove: () => resumeAll(both),
      };
    });

    describe(`sessions, ${mode} pooling`, () => {
      let both: readonly Pooler[];
      let clients: pg.Client[] = [];
      const client = async (pooler: Pooler | undefined): Promise<pg.Client> => {
        const made = await openClient(pooler?.urlFor('pool.orders') ?? '', 'till 7');
        clients.push(made);
        return made;
      };
      const ends = async (query: Promise<pg.QueryResult>): Promise<string> =>
        await query.then(
          ({ rows }) => String(Object.values(rows[0] ?? { none: 'done' })[0]),
          (error: unknown) => String(error),
        );

      beforeEach(async () => {
        both = await poolers();
        for (const pooler of both) await pooler.setEntries(entriesOf(entryOf('source')));
      });
      afterEach(async () => {
        await Promise.allSettled(clients.map((one) => one.end()));
        clients = [];
        await resumeAll(both);
      });

      /** Whoever is in the middle of something keeps a pause waiting: by its transaction, or by its session. */
      const occupy = async (): Promise<pg.Client> => {
        const busy = await client(both[1]);
        await busy.query(mode === 'transaction' ? 'BEGIN' : 'SELECT 1');
        await busy.query('SELECT 1');
        return busy;
      };

      it('that end in time are waited for; whoever comes meanwhile waits and is on the target afterwards', async () => {
        const router = routerOn(both, { blockers: { waitMs: BUDGET_MS, action: 'abort' } });
        const busy = await occupy();
        const holding = router.hold(['orders'], BUDGET_MS);
        await expect.poll(() => pausedOn(both)).toBe(2);
        // One that comes new waits for its greeting already.
        const answer = ends(client(both[0]).then((late) => late.query('SELECT name FROM side')));
        await (mode === 'transaction' ? busy.query('COMMIT') : busy.end());
        await holding;
        const { version } = await router.observe('orders');
        await router.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: { orders: version } });
        expect(await Promise.race([answer, sleep(200)])).toBeUndefined();
        await router.release(['orders']);
        // Not held any longer by what PgBouncer takes for a server that refuses logins.
        expect(await Promise.race([answer, sleep(10_000)])).toBe('target');
        const settings = (await Promise.all(both.map((pooler) => pooler.ask('SHOW CONFIG')))).flat();
        const retries = settings.filter(({ key }) => key === 'server_login_retry').map(({ value }) => value);
        expect(retries).toEqual(['15', '15']);
      });

      it('that do not are named, and every pooler goes on', async () => {
        await occupy();
        const refused = routerOn(both).hold(['orders'], BUDGET_MS);
        const named =
          /cannot pause pool\.orders, which is in use by postgres from 127\.0\.0\.1:\d+ \(till 7\), process \d+/;
        await expect(refused).rejects.toMatchObject({ kind: 'refused', message: expect.stringMatching(named) });
        expect(await pausedOn(both)).toBe(0);
      });

      it('are ended where the plan says so, and no others', async () => {
        const busy = await occupy();
        const other = await client(both[0]);
        if (mode === 'transaction') await other.query('SELECT 1');
        await routerOn(both, { blockers: { waitMs: 200, action: 'terminate' } }).hold(['orders'], BUDGET_MS);
        expect(await pausedOn(both)).toBe(2);
        expect(await ends(busy.query('SELECT 1'))).toMatch(/terminat|closed|not queryable/i);
        await routerOn(both).release(['orders']);
        expect(await ends(other.query('SELECT name FROM side'))).toBe('source');
      });

      it('are waited for also when PgBouncer answers a pause by mistake', async () => {
        const busy = await occupy();
        const holding = routerOn(both, { blockers: { waitMs: BUDGET_MS, action: 'abort' } }).hold(
          ['orders'],
          BUDGET_MS,
        );
        let isOver = false;
        holding.finally(() => {
          isOver = true;
        });
        await expect.poll(() => pausedOn(both)).toBe(2);
        const other = await openClient(both[1]?.urlFor('pool.a') ?? '', 'other');
        clients.push(other);
        await other.query('BEGIN; SELECT 1');
        await both[1]?.ask('RECONNECT "pool.a"');
        const waited = both[1]?.ask('WAIT_CLOSE "pool.a"');
        await sleep(200);
        await (mode === 'transaction' ? other.query('COMMIT') : other.end());
        await waited;
        await sleep(300);
        expect(isOver).toBe(false);
        await (mode === 'transaction' ? busy.query('COMMIT') : busy.end());
        await holding;
      });

      it('that stay on the old server after an unheld repoint are ended where the plan says so', async () => {
        const router = routerOn(both, { blockers: { waitMs: 200, action: 'terminate' } });
        const busy = await occupy();
        const { version } = await router.observe('orders');
        await router.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: { orders: version } });
        expect(await ends(busy.query('SELECT 1'))).toMatch(/terminat|closed|not queryable/i);
        expect(await ends((await client(both[1])).query('SELECT name FROM side'))).toBe('target');
      });
    });
  }

  describe('a pooler', () => {
    const poolers = poolersOf(makePooler, 'transaction');
    let both: readonly Pooler[];
    let one: Pooler;

    beforeEach(async () => {
      both = await poolers();
      const [first] = both;
      if (first === undefined) throw new Error('no pooler');
      one = first;
      for (const pooler of both) await pooler.setEntries(entriesOf(entryOf('source')));
    });
    afterEach(() => resumeAll(both));

    const toTarget = async (router: PgbouncerRouter, version?: string): Promise<void> => {
      const expected = version ?? (await router.observe('orders')).version;
      await router.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: { orders: expected } });
    };

    it('that has fallen silent fails the hold in time, and the other goes on', async () => {
      one.signal('SIGSTOP');
      const failed = await routerOn(both)
        .hold(['orders'], 1_000)
        .catch((error: unknown) => error);
      one.signal('SIGCONT');
      expect(failed).toMatchObject({ kind: 'unreachable' });
      // Whatever the silent one finds in its socket when it wakes up: a release makes sure.
      await routerOn(both).release(['orders']);
      expect(await pausedOn(both)).toBe(0);
    });

    it('lets us in once for all that is said to it one after the other', async () => {
      const ours = async (): Promise<readonly unknown[]> =>
        (await one.ask('SHOW CLIENTS')).filter((row) => row.application_name === 'switchback').map(({ ptr }) => ptr);
      // Routers of other tests keep theirs for a while.
      const before = await ours();
      const router = routerOn([one]);
      const { version } = await router.observe('orders');
      await router.hold(['orders'], BUDGET_MS);
      await toTarget(router, version);
      await router.release(['orders']);
      expect((await ours()).filter((ptr) => !before.includes(ptr))).toHaveLength(1);
    });

    it('that was started anew is asked on a new session', async () => {
      const console = new Console(one.admin);
      await console.database('pool.orders');
      await one.stop();
      await one.start();
      expect(await console.database('pool.orders')).toMatchObject({ isPaused: false });
    });

    it('whose session was lost without a word is asked on a new one', async () => {
      const path = await openPath(one.port);
      const console = new Console(one.admin.replace(`:${one.port}/`, `:${path.port}/`));
      await console.database('pool.orders');
      path.cutWhenSpeaking();
      expect(await console.database('pool.orders')).toMatchObject({ isPaused: false });
    });

    it('is sent no pause when the time for it is over', async () => {
      const late = new Console(one.admin).pause('pool.orders', monotonicMs(), async () => BUDGET_MS);
      await expect(late).rejects.toMatchObject({ kind: 'unreachable' });
      expect(await pausedOn(both)).toBe(0);
    });

    it('that was started anew between the edit and its RELOAD leads where the file does', async () => {
      const router = routerOn(both);
      const { version } = await router.observe('orders');
      await one.stop();
      await expect(toTarget(router, version)).rejects.toMatchObject({ kind: 'unreachable' });
      expect(one.entries()).toContain('dbname=pooled_target');
      await one.start();
      await toTarget(router, version);
      expect(await router.observe('orders')).toMatchObject({ primary: 'target', held: false });
    });

    it('that is gone when it should follow keeps nobody waiting on the others, which lead to the new side', async () => {
      const router = routerOn(both);
      await router.hold(['orders'], BUDGET_MS);
      const { version } = await router.observe('orders');
      await one.stop();
      await expect(toTarget(router, version)).rejects.toMatchObject({ kind: 'unreachable' });
      const others = both.filter((pooler) => pooler !== one);
      expect(await pausedOn(others)).toBe(0);
      const [row] = await runSql(others[0]?.urlFor('pool.orders') ?? '', 'SELECT name FROM side');
      expect(row?.name).toBe('target');
      await one.start();
      await toTarget(router, version);
      expect(await router.observe('orders')).toMatchObject({ primary: 'target', held: false });
    });

    it('whose file was edited and not read leads to no side', async () => {
      for (const pooler of both) writeFileSync(pooler.config, entriesOf(entryOf('target')));
      expect(await routerOn(both).observe('orders')).toMatchObject({ primary: null });
    });

    it('whose file was edited is not overwritten, and no other one is changed', async () => {
      const router = routerOn(both);
      const { version } = await router.observe('orders');
      const before = entriesOf(entryOf('source'));
      const edited = before.replace('_source', '_third');
      writeFileSync(both.at(-1)?.config ?? '', edited);
      await expect(toTarget(router, version)).rejects.toMatchObject({
        kind: 'refused',
        remedy: expect.stringContaining('pool.orders leads to host=127.0.0.1'),
      });
      expect(both.map((pooler) => pooler.entries())).toEqual([before, edited]);
    });

    it('whose file was changed by a worker that died then is not taken for edited', async () => {
      const router = routerOn(both);
      const { version } = await router.observe('orders');
      await toTarget(routerOn([one]), version);
      expect(await router.observe('orders')).toMatchObject({ primary: null });
      await toTarget(router, version);
      expect(await router.observe('orders')).toMatchObject({ primary: 'target' });
    });

    it('that does not read the file is told so after its RELOAD', async () => {
      const other = { admin: one.admin, config: `${one.config}.other` };
      writeFileSync(other.config, one.entries());
      const router = routerOn([], { instances: [other] });
      await expect(toTarget(router)).rejects.toMatchObject({
        kind: 'refused',
        message: expect.stringMatching(/leads pool\.orders to .*pooled_source after its RELOAD/),
        remedy: expect.stringContaining(one.mainConfig),
      });
    });

    it('that does not let us in, or is not there, says so without the password', async () => {
      const refusalOf = async (admin: string): Promise<{ kind: string; message: string; remedy: string }> =>
        await routerOn([], { instances: [{ admin, config: one.config }] })
          .hold(['orders'], BUDGET_MS)
          .then(
            () => ({ kind: 'none', message: '', remedy: '' }),
            (error) => error,
          );
      const seen = [
        await refusalOf(one.viewer),
        await refusalOf(one.admin.replace(/:[^:@]+@/, ':wrong-secret@')),
        await refusalOf(one.urlFor('pgbouncer')),
        await refusalOf(one.admin.replace(String(one.port), '1')),
        await refusalOf(`${one.admin}?sslmode=require`),
      ];
      expect(seen.map(({ kind }) => kind)).toEqual(['refused', 'refused', 'refused', 'unreachable', 'refused']);
      expect(seen.map(({ message }) => message)).toEqual([
        expect.stringContaining('does not let us in: admin access needed'),
        expect.stringContaining('does not let us in: password authentication failed'),
        expect.stringContaining('does not let us in: not allowed'),
        expect.stringContaining('cannot be asked'),
        expect.stringContaining('as safe as its URL asks'),
      ]);
      expect(JSON.stringify(seen.map(({ message, remedy }) => [message, remedy]))).not.toMatch(/-secret/);
    });
  });
};

describeWithPoolers('the router', testsOf);
describeWithNewPoolers('the router', testsOf);
