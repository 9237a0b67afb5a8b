import { beforeAll, describe, expect, test, vi } from 'vitest';
import { isKind } from '../../src/domain/errors.ts';
import { readJournal } from '../../src/sidecar/journal.ts';
import { readRun } from '../../src/sidecar/run.ts';
import type { RunContext } from '../../src/stages/context.ts';
import type { Line } from '../../src/stages/journal-writer.ts';
import { Tenure } from '../../src/stages/tenure.ts';
import { sleep } from './clock.ts';
import { Cluster } from './cluster.ts';
import { makeStarts, type Starts } from './life.ts';
import type { LostReply } from './network.ts';
import { here } from './world.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

// What a worker believes to have written to the journal, and to have raised, is what the source has: whatever becomes of
// the connection. Everything here is the product's tenure over simulated servers, so that each moment can be met.

let starts: Starts;

beforeAll(async () => {
  starts = await makeStarts(['orders']);
});

const WHERE = { scope: 'test', phases: ['orders'] };
const line = (step: string): Line => ({ ...WHERE, step, status: 'begun', detail: null, ms: null });

/** Runs code of the product in a process of its own, on a run that stands. */
const inProcess = async <T>(
  seed: number,
  code: (tenure: Tenure, context: RunContext, cluster: Cluster) => Promise<T>,
): Promise<T> => {
  const cluster = new Cluster({ seed, ...(starts.ready ? { from: starts.ready } : {}) });
  const running = cluster.start('worker', async (context) => {
    const run = await readRun(context.source.sql);
    return await code(await Tenure.take(context, run?.id ?? ''), context, cluster);
  });
  await cluster.world.until(() => running.done !== null, cluster.world.now + 120_000);
  expect(cluster.world.violations).toEqual([]);
  if (running.done === null) throw new Error('it did not end');
  if ('error' in running.done) throw running.done.error;
  return running.done.value;
};

/** `step status` of the test's lines, in order. */
const written = async ({ source }: RunContext): Promise<readonly string[]> =>
  (await readJournal(source.sql, { after: 0n, limit: 1_000 }))
    .filter(({ scope }) => scope === WHERE.scope)
    .map(({ step, status }) => `${step} ${status}`);

/** What became of a promise, as a word. */
const settled = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
    return 'done';
  } catch (error) {
    return isKind(error, 'unreachable') ? 'unreachable' : String(error);
  }
};

/** The source does not answer this process until the link is mended. */
const cutSource = (cluster: Cluster, link: 'refused' | 'open'): void =>
  cluster.network.setLink(here().process, 'source', link);

describe('lines that share a transaction', () => {
  test('are durable for each who waits for one, or for none', async () => {
    for (let seed = 0; seed < 5; seed++) {
      const { said, stands } = await inProcess(seed, async (tenure, context, cluster) => {
        const first = tenure.record(line('first'));
        await sleep(0.1);
        // These two come while the first is written, so one transaction takes both.
        const others = [tenure.record(line('second')), tenure.record(line('third'))].map(settled);
        await first;
        cutSource(cluster, 'refused');
        const said = await Promise.all(others);
        cutSource(cluster, 'open');
        await tenure.record(line('fourth'));
        return { said, stands: await written(context) };
      });
      expect(said).toEqual(['unreachable', 'unreachable']);
      expect(stands).toEqual(['first begun', 'fourth begun']);
    }
  });

  test('are not lost where nobody waits for them: an outcome is written with what comes next', async () => {
    const stands = await inProcess(1, async (tenure, context, cluster) => {
      await tenure.step(WHERE, 'act', async () => undefined);
      cutSource(cluster, 'refused');
      expect(await settled(tenure.record(line('second')))).toBe('unreachable');
      cutSource(cluster, 'open');
      await tenure.record(line('third'));
      return await written(context);
    });
    expect(stands).toEqual(['act begun', 'act done', 'third begun']);
  });

  test('are not lost when nothing comes next: the worker writes them when the source answers again', async () => {
    const stands = await inProcess(1, async (tenure, context, cluster) => {
      await tenure.step(WHERE, 'act', async () => undefined);
      cutSource(cluster, 'refused');
      await sleep(1_000);
      cutSource(cluster, 'open');
      await tenure.heartbeat();
      await sleep(1_000);
      return await written(context);
    });
    expect(stands).toEqual(['act begun', 'act done']);
  });
});

test('an act that changes nothing does not wait for its intent, which stands before the next one', async () => {
  const stands = await inProcess(1, async (tenure, context, cluster) => {
    cutSource(cluster, 'refused');
    await tenure.lookingStep(WHERE, 'look', async () => undefined);
    cutSource(cluster, 'open');
    await tenure.step(WHERE, 'act', async () => undefined);
    await sleep(500);
    return await written(context);
  });
  expect(stands).toEqual(['look begun', 'look done', 'act begun', 'act done']);
});

describe('a COMMIT whose answer is lost', () => {
  /** The next commit to a table on the source is lost like this. Resolves soon after it was. */
  const lose = async (cluster: Cluster, table: string, fate: LostReply): Promise<void> => {
    const { holder } = here().process;
    let isLost = false;
    cluster.onEffect = ({ process, label }, moment) => {
      if (process.holder !== holder || moment !== 'before' || !label.includes(`COMMIT sidecar:${table}`)) return 'go';
      cluster.onEffect = () => 'go';
      cluster.lostReply = { holder, side: 'source', fate };
      isLost = true;
      return 'go';
    };
    while (!isLost) await sleep(0.05);
  };
  const FATES: readonly LostReply[] = ['done', 'undone', 'late'];

  test.each(FATES)('of the journal is looked up, and its lines stand once: %s', async (fate) => {
    for (let seed = 0; seed < 20; seed++) {
      const stands = await inProcess(seed, async (tenure, context, cluster) => {
        await tenure.step(WHERE, 'act', async () => undefined);
        void lose(cluster, 'journal', fate);
        await tenure.record(line('second'));
        await tenure.record(line('third'));
        await sleep(5_000);
        return await written(context);
      });
      expect({ seed, stands }).toEqual({ seed, stands: ['act begun', 'act done', 'second begun', 'third begun'] });
    }
  });

  test('of the journal is still looked for when the source was away for longer than anybody waits', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const { said, stands } = await inProcess(seed, async (tenure, context, cluster) => {
        await tenure.step(WHERE, 'act', async () => undefined);
        const lost = lose(cluster, 'journal', seed % 2 === 0 ? 'done' : 'late');
        const second = settled(tenure.record(line('second')));
        await lost;
        cutSource(cluster, 'refused');
        const said = await second;
        cutSource(cluster, 'open');
        await tenure.record(line('third'));
        return { said, stands: await written(context) };
      });
      // What was asked for in vain may stand; what was recorded before it does, once.
      expect(said).toMatch(/could not be looked up/);
      expect({ seed, stands }).toEqual({ seed, stands: ['act begun', 'act done', 'second begun', 'third begun'] });
    }
  });

  test('ends a worker that was deposed meanwhile, and leaves its line once or not at all', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const { said, stands } = await inProcess(seed, async (tenure, context, cluster) => {
        const { world } = cluster;
        const { process } = here();
        const lost = lose(cluster, 'journal', FATES[seed % 3] ?? 'late');
        const second = tenure.record(line('second')).then(
          () => 'done',
          (error: unknown) => (isKind(error, 'deposed') ? 'deposed' : String(error)),
        );
        await lost;
        // Asleep for longer than a lease lasts, and woken after somebody else has taken it.
        world.schedule(null, 0, 'falls asleep', () => world.pause(process));
        world.schedule(null, 16_000, 'another comes', () => cluster.start('another', (it) => Tenure.take(it, 'run')));
        world.schedule(null, 17_000, 'wakes', () => world.wake(process));
        const said = await second;
        return { said, stands: await written(context) };
      });
      expect(said).toBe('deposed');
      expect(stands.length).toBeLessThanOrEqual(1);
    }
  });

  test('and an entry of somebody else where ours would be: that is told, and the next line comes after it', async () => {
    const { said, stands } = await inProcess(1, async (tenure, context, cluster) => {
      await tenure.record(line('first'));
      const { source } = cluster.servers;
      const newest = [...source.store('sidecar:journal').values()].at(-1) as { readonly id: string };
      const hand = source.begin(source.connect('a hand'));
      const id = String(BigInt(newest.id) + 1n);
      source.write(hand, 'sidecar:journal', id, { ...newest, id, step: 'by hand' });
      source.commit(hand, { flush: true });
      expect(cluster.world.violations.splice(0)).toMatchObject([
        { id: 'S7', text: expect.stringMatching(/a hand wrote/) },
      ]);
      const said = await tenure.record(line('second')).catch((error: unknown) => error);
      await tenure.record(line('third'));
      return { said, stands: await written(context) };
    });
    expect(said).toMatchObject({
      kind: 'busy',
      message: expect.stringMatching(/entry \d+ of the journal was written/),
    });
    expect(stands).toEqual(['first begun', 'by hand begun', 'third begun']);
  });

  test.each(FATES)('of a raise is no take-over by somebody else: %s', async (fate) => {
    for (let seed = 0; seed < 40; seed++) {
      const { before, after } = await inProcess(seed, async (tenure, _, cluster) => {
        const before = tenure.epoch;
        void lose(cluster, 'lease', fate);
        const raised = await tenure.raise();
        await tenure.act(async () => undefined);
        return { before, after: raised };
      });
      expect({ seed, after }).toEqual({ seed, after: before + 1n });
    }
  });
});

// Within a switch clients wait for every statement on either side, and a mirror is dozens of them.
test('the mirror is written when steps have ended that follow each other, or a second after the first at the latest', async () => {
  const { chain, long } = await inProcess(1, async (tenure, _, cluster) => {
    const { world } = cluster;
    let written: number[] = [];
    cluster.onEffect = ({ label }, moment) => {
      if (moment === 'after' && label === 'target insert mirror') written.push(world.now);
      return 'go';
    };
    for (let n = 0; n < 5; n++) await tenure.step(WHERE, `step ${n}`, () => sleep(150));
    const ended = world.now;
    await sleep(500);
    const chain = written.map((at) => at > ended);
    written = [];
    await tenure.step(WHERE, 'short', async () => undefined);
    const begun = world.now;
    await tenure.step(WHERE, 'long', () => sleep(10_000));
    const long = written.map((at) => Math.floor((at - begun) / 1_000));
    return { chain, long };
  });
  expect({ chain, long }).toEqual({ chain: [true], long: [1] });
});
