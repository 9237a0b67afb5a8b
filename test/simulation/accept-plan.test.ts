import { beforeAll, describe, expect, test, vi } from 'vitest';
import type { Side } from '../../src/domain/position.ts';
import { carryOut } from '../../src/stages/command.ts';
import type { RunContext } from '../../src/stages/context.ts';
import { Worker } from '../../src/stages/worker.ts';
import { sleep } from './clock.ts';
import { Cluster, type Running } from './cluster.ts';
import { makeStarts, type Starts } from './life.ts';
import type { SimExecutor } from './network.ts';
import { simulated } from './ports.ts';
import { answerOf } from './recovery.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

// A changed plan is pinned by whoever holds the lease, and by nobody else.

let starts: Starts;

beforeAll(async () => {
  starts = await makeStarts(['orders']);
});

const OLD = 'f'.repeat(64);
const NEW = 'e'.repeat(64);

const makeCluster = (seed = 1): Cluster => new Cluster({ seed, ...(starts.ready ? { from: starts.ready } : {}) });

/** The plan as somebody has edited it. */
const edited = (context: RunContext, hash = NEW): RunContext => ({ ...context, plan: { ...context.plan, hash } });

const accept = (cluster: Cluster, hash = NEW): Running<void> =>
  cluster.start('accepting', async (context) => {
    await (await Worker.open(edited(context, hash), { acceptPlan: hash.slice(0, 12) })).close();
  });

const end = async (cluster: Cluster, running: Running<unknown>): Promise<string> => {
  const isOver = (): boolean => running.done !== null || running.process.state === 'dead';
  await cluster.world.until(isOver, cluster.world.now + 60_000);
  return answerOf(running);
};

const pinned = (cluster: Cluster): Readonly<Record<Side, unknown>> => {
  const on = (side: Side) =>
    ([...cluster.servers[side].store('sidecar:run').values()][0] as { readonly plan_hash: string }).plan_hash;
  return { source: on('source'), target: on('target') };
};

describe('run --accept-plan', () => {
  test('changes nothing while another worker holds the lease', async () => {
    const cluster = makeCluster();
    cluster.startWorker();
    await cluster.world.until(() => false, cluster.world.now + 1_000);
    expect(await end(cluster, accept(cluster))).toContain('holds the lease');
    expect(pinned(cluster)).toEqual({ source: OLD, target: OLD });
  });

  test('pins the plan on both sides when it has the lease, and gives that back', async () => {
    const cluster = makeCluster();
    expect(await end(cluster, accept(cluster))).toBe('"ended"');
    expect(pinned(cluster)).toEqual({ source: NEW, target: NEW });
    expect([...cluster.servers.source.store('sidecar:lease').values()]).toMatchObject([{ holder: '' }]);
  });

  test('leaves the old plan in force when it dies before the source has the new one, and is repeated', async () => {
    const cluster = makeCluster();
    cluster.onEffect = ({ process, label }, moment) => {
      if (moment !== 'before' || label !== 'source COMMIT sidecar:run') return 'go';
      cluster.world.kill(process);
      return 'die';
    };
    await end(cluster, accept(cluster));
    cluster.onEffect = () => 'go';
    expect(pinned(cluster)).toEqual({ source: OLD, target: NEW });
    expect(await end(cluster, accept(cluster))).toBe('"ended"');
    expect(pinned(cluster)).toEqual({ source: NEW, target: NEW });
  });

  test('is looked up when the answer of its COMMIT is lost', async () => {
    for (const fate of ['done', 'undone', 'late'] as const) {
      const cluster = makeCluster(7);
      cluster.onEffect = ({ process, label }, moment) => {
        if (moment !== 'before' || label !== 'source COMMIT sidecar:run') return 'go';
        cluster.onEffect = () => 'go';
        cluster.lostReply = { holder: process.holder, side: 'source', fate };
        return 'go';
      };
      expect(await end(cluster, accept(cluster))).toBe('"ended"');
      expect(pinned(cluster)).toEqual({ source: NEW, target: NEW });
    }
  });

  test('that somebody else was quicker with is seen under the lease, by it and by a command with the old plan', async () => {
    const other = 'd'.repeat(64);
    for (const asked of ['accept', 'command'] as const) {
      const cluster = makeCluster();
      // Between the look at what is pinned and the look at the lease, which a command has also before: somebody comes and goes.
      const quicker = (context: RunContext): RunContext => {
        const sql = simulated(context.source.sql) as SimExecutor & RunContext['source']['sql'];
        let looks = asked === 'command' ? 2 : 1;
        const run: SimExecutor['run'] = async (node) => {
          if (/"name":"lease"/.test(JSON.stringify(node.from ?? null))) looks -= 1;
          if (looks === 0) {
            looks = -1;
            const before = accept(cluster, other);
            while (before.done === null) await sleep(1);
          }
          return await sql.run(node);
        };
        return { ...context, source: { ...context.source, sql: { ...sql, run } as typeof sql } };
      };
      const later = cluster.start<unknown>('later', async (context) => {
        if (asked === 'accept') return await Worker.open(quicker(edited(context)), { acceptPlan: NEW.slice(0, 12) });
        const request = { command: 'verify', phases: [], options: {}, by: 'somebody' } as const;
        return await carryOut(quicker(context), request, {
          signal: new AbortController().signal,
          onJournal: () => undefined,
        });
      });
      const said = await end(cluster, later);
      if (asked === 'command') {
        expect(said).toContain('the plan has changed');
        expect(pinned(cluster)).toEqual({ source: other, target: other });
      } else {
        expect(pinned(cluster)).toEqual({ source: NEW, target: NEW });
      }
    }
  });
});
