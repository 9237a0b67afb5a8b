import { describe, expect, it } from 'vitest';
import { deposedError } from '../../src/domain/errors.ts';
import type { NewRequest } from '../../src/sidecar/requests.ts';
import type { RunContext } from '../../src/stages/context.ts';
import { type Executor, execute } from '../../src/stages/execute.ts';
import { releaseStray } from '../../src/stages/release-stray.ts';

/** A worker whose phases are never looked at; what it records is thrown away, or fails. */
const workerThat = (record: () => Promise<void>): Executor =>
  ({
    context: {
      plan: { path: 'plan.yaml' },
      source: { sql: { query: async () => ({ rows: [] }) } },
      emit: () => undefined,
    },
    tenure: { record },
    signal: new AbortController().signal,
    find: () => [],
    exclusively: async (_: unknown, work: () => Promise<unknown>) => await work(),
  }) as unknown as Executor;

const request = (parts: object): NewRequest =>
  ({ command: 'verify', phases: [], options: {}, by: 'somebody', ...parts }) as unknown as NewRequest;
const worker = workerThat(async () => undefined);

/** A request whose execution throws is taken again, for ever, and nobody else is served. */
describe('a request', () => {
  it('for a command of another version is refused', async () => {
    expect(await execute(worker, request({ command: 'rewind' }))).toMatchObject({
      exitCode: 4,
      message: expect.stringContaining('command rewind is not known'),
    });
  });

  it('ends whatever is thrown, but by a worker that was deposed', async () => {
    expect(await execute(worker, request({ options: undefined }))).toMatchObject({ exitCode: 1 });
    const deposed = workerThat(async () => {
      throw deposedError('the lease');
    });
    await expect(execute(deposed, request({}))).rejects.toMatchObject({ kind: 'deposed' });
  });
});

/** Each answers when all of them have been asked. */
const meeting = (count: number): (() => Promise<void>) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let come = 0;
  return async () => {
    come += 1;
    if (come === count) resolve();
    await promise;
  };
};

describe('clients that are held although no switch is under way', () => {
  it('are looked for at all routers at once, and let go on', async () => {
    const released: string[] = [];
    const meet = meeting(3);
    const routerOf = (name: string, held: boolean) => ({
      observe: async () => {
        await meet();
        return { primary: 'source', held, version: '' };
      },
      release: async (phases: readonly string[]) => void released.push(`${name}: ${phases.join(', ')}`),
    });
    const context = {
      plan: {
        phases: [
          { name: 'orders', routers: ['pool'], readers: ['replica'] },
          { name: 'stock', routers: ['proxy'], readers: [] },
          { name: 'moving', routers: ['proxy'], readers: [] },
        ],
      },
      routers: new Map([
        ['pool', routerOf('pool', false)],
        ['replica', routerOf('replica', true)],
        ['proxy', routerOf('proxy', true)],
      ]),
    } as unknown as RunContext;
    const following = { name: 'following', since: '' } as const;
    const moving = { name: 'switching', switchId: 'cutover-7', direction: 'forward' } as const;
    const phases = [
      { name: 'orders', state: following },
      { name: 'stock', state: following },
      { name: 'moving', state: moving },
    ];
    expect(await releaseStray(context, phases)).toEqual([
      'clients of phase orders were held by its router replica and go on',
      'clients of phase stock were held by its router and go on',
    ]);
    expect(released).toEqual(['replica: orders', 'proxy: stock']);
  });
});
