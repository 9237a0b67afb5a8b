import { beforeAll, expect, test, vi } from 'vitest';
import type { RequestCommand, RequestResult } from '../../src/sidecar/requests.ts';
import { carryOut } from '../../src/stages/command.ts';
import { Cluster, type Running } from './cluster.ts';
import { makeStarts, type Starts } from './life.ts';
import type { Moment } from './network.ts';
import { answerOf } from './recovery.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

// What a command tells whoever gave it, when its way to the worker breaks, the run ends under it, or it is interrupted.

const WAIT_MS = 200_000;
let starts: Starts;

beforeAll(async () => {
  starts = await makeStarts(['orders']);
});

const begin = (): Cluster => {
  if (!starts.ready) throw new Error('there is no ready phase to begin with');
  const cluster = new Cluster({ seed: 5, from: starts.ready });
  return cluster;
};

const ended = async (cluster: Cluster, asked: Running<unknown>): Promise<string> => {
  await cluster.world.until(() => asked.done !== null, cluster.world.now + WAIT_MS);
  return answerOf(asked);
};

/** Does something at an effect of a process, once. */
const at = (cluster: Cluster, of: string, effect: RegExp, moment: Moment, act: (asked: string) => void): void => {
  let isDone = false;
  cluster.onEffect = ({ process, label }, when) => {
    if (isDone || when !== moment || !process.holder.startsWith(of) || !effect.test(label)) return 'go';
    isDone = true;
    act(label);
    return 'go';
  };
};

/** The answer of an effect is lost, and the source is out of the command's reach for a while. */
const loseAnswer = (cluster: Cluster, of: string, effect: RegExp, forMs: number): void =>
  at(cluster, of, effect, 'after', () => {
    const process = cluster.processes.find(({ holder }) => holder.startsWith(of));
    if (!process) throw new Error(`there is no process ${of}`);
    cluster.network.setLink(process, 'source', 'refused');
    cluster.world.schedule(null, forMs, 'the way is mended', () => cluster.network.setLink(process, 'source', 'open'));
  });

const requests = (cluster: Cluster): number => cluster.servers.source.store('sidecar:request').size;

const runWorker = async (cluster: Cluster): Promise<Running<void>> => {
  const worker = cluster.startWorker();
  await cluster.world.until(() => false, cluster.world.now + 500);
  return worker;
};

test('a command whose handing over is not answered finds its request, and asks no second time', async () => {
  const cluster = begin();
  await runWorker(cluster);
  loseAnswer(cluster, 'cutover', /insert request/, 2_000);
  expect(await ended(cluster, cluster.startCommand('cutover'))).toContain('orders is on the target now');
  expect(requests(cluster)).toBe(1);
});

test('a command that cannot find out whether it was handed over says so', async () => {
  const cluster = begin();
  await runWorker(cluster);
  loseAnswer(cluster, 'cutover', /insert request/, WAIT_MS);
  const said = await ended(cluster, cluster.startCommand('cutover'));
  expect(said).toContain('it is not known whether the worker was handed the command, which it may carry out');
  expect(cluster.state('orders')).toBe('soaking');
});

test('a command that takes its request back is not kept waiting by a lost answer', async () => {
  const cluster = begin();
  const worker = await runWorker(cluster);
  cluster.world.pause(worker.process);
  loseAnswer(cluster, 'cutover', /(delete|update) request/, 500);
  const cutover = cluster.startCommand('cutover');
  await cluster.world.until(() => requests(cluster) === 1, cluster.world.now + 1_000);
  cluster.world.kill(worker.process);
  expect(await ended(cluster, cutover)).toContain('orders is on the target now');
});

test('a request that is not there any more is no reason to wait', async () => {
  const cluster = begin();
  const worker = await runWorker(cluster);
  cluster.world.pause(worker.process);
  const cutover = cluster.startCommand('cutover');
  await cluster.world.until(() => requests(cluster) === 1, cluster.world.now + 1_000);
  const { source } = cluster.servers;
  const session = source.connect('somebody');
  const transaction = source.begin(session);
  for (const key of source.store('sidecar:request').keys())
    source.write(transaction, 'sidecar:request', key, undefined);
  source.commit(transaction, { flush: true });
  expect(await ended(cluster, cutover)).toContain('the sidecar was made anew while the worker had the cutover');
});

test.each(['cutover', 'verify'] as const)(
  'a %s that waits when the run is ended is not taken for done',
  async (name) => {
    const cluster = begin();
    await runWorker(cluster);
    const abort = cluster.startCommand('abort');
    await cluster.world.until(() => requests(cluster) === 1, cluster.world.now + 1_000);
    const waiting = cluster.startCommand(name);
    expect(await ended(cluster, abort)).toContain('"exitCode":0');
    expect(await ended(cluster, waiting)).toContain('another command has ended the run and removed its sidecars');
  },
);

test('a command that is interrupted out of the source’s reach does not say that nothing was done', async () => {
  const cluster = begin();
  await runWorker(cluster);
  const stop = new AbortController();
  loseAnswer(cluster, 'cutover', /insert request/, WAIT_MS);
  const request = { command: 'cutover', phases: [], options: {}, by: 'somebody' } as const;
  const cutover = cluster.start('cutover', (context) =>
    carryOut(context, request, { signal: stop.signal, onJournal: () => undefined }),
  );
  await cluster.world.until(() => requests(cluster) === 1, cluster.world.now + 1_000);
  await cluster.world.until(() => false, cluster.world.now + 500);
  stop.abort();
  expect(await ended(cluster, cutover)).toContain('it could not be seen whether the worker goes on with the command');
});

/** A command that is interrupted when one of its effects has come for the n-th time. */
const interruptedAt = (
  cluster: Cluster,
  command: RequestCommand,
  { effect, nth }: { readonly effect: RegExp; readonly nth: number },
): Running<RequestResult> => {
  const stop = new AbortController();
  let count = 0;
  cluster.onEffect = ({ process, label }, moment) => {
    if (moment === 'after' && process.holder.startsWith(command) && effect.test(label)) count += 1;
    if (count === nth) stop.abort();
    return 'go';
  };
  const request = { command, phases: [], options: { early: true }, by: 'somebody' };
  return cluster.start(command, (context) =>
    carryOut(context, request, { signal: stop.signal, onJournal: () => undefined }),
  );
};

const ENDING = /"ending":\{"orders"/;
const facts = (cluster: Cluster): string => JSON.stringify([...cluster.servers.source.store('sidecar:run').values()]);

test.each([
  { when: 'while it takes the lease', nth: 1, said: 'interrupted before the command was begun; nothing was done' },
  { when: 'before its end is begun', nth: 2, said: 'interrupted before the abort was begun; nothing was done' },
])('an abort that is interrupted $when does nothing', async ({ nth, said }) => {
  const cluster = begin();
  const abort = interruptedAt(cluster, 'abort', { effect: /source COMMIT.*sidecar:journal/, nth });
  expect(await ended(cluster, abort)).toContain(said);
  expect(facts(cluster)).not.toMatch(ENDING);
  expect(cluster.state('orders')).toBe('ready');
});

test('an end that is interrupted in the middle says so, and resume goes on with it', async () => {
  const cluster = begin();
  const abort = interruptedAt(cluster, 'abort', { effect: /source COMMIT.*sidecar:run/, nth: 1 });
  expect(await ended(cluster, abort)).toContain('the abort of phase orders has begun and not ended');
  cluster.onEffect = () => 'go';
  expect(await ended(cluster, cluster.startCommand('resume'))).toContain('nothing of ours remains');
});

test('a verify that is interrupted in its middle says so', async () => {
  const cluster = begin();
  const verify = interruptedAt(cluster, 'verify', { effect: /source COMMIT.*sidecar:journal/, nth: 2 });
  const said = await ended(cluster, verify);
  expect(said).toContain('"exitCode":4,"message":"interrupted in the middle of the verify"');
});

test('a command whose worker loses the source in its middle is told how to find out what stands', async () => {
  const cluster = begin();
  await runWorker(cluster);
  let hasCrashed = false;
  cluster.onEvent.push((event) => {
    if (hasCrashed || event.type !== 'step' || event.step !== 'checks') return;
    hasCrashed = true;
    cluster.crash('source', 1_500);
  });
  const said = await ended(cluster, cluster.startCommand('cutover'));
  expect(said).toContain('the source cannot be reached');
  expect(said).toContain(
    'see what stands: switchback status plan.yaml, and complete or undo what was begun: switchback',
  );
  expect(said).toContain('"exitCode":1');
});
