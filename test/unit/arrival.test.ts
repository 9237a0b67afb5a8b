import { expect, it } from 'vitest';
import type { RunContext } from '../../src/stages/context.ts';
import { seeArrival } from '../../src/stages/switch/arrival.ts';
import type { Tenure } from '../../src/stages/tenure.ts';

/** The routers that are asked after a cutover of a phase whose clients have all left the source. */
const askedAfter = async (action: 'tell' | 'terminate'): Promise<readonly string[]> => {
  const asked: string[] = [];
  const routerOf = (name: string) => ({
    observe: async () => {
      asked.push(name);
      return { primary: 'source', held: false, version: '' };
    },
  });
  const context = {
    plan: {
      path: 'plan.yaml',
      phases: [{ name: 'orders', routers: ['pool'], readers: ['replica'] }],
      switch: { sessionsLeft: { waitMs: 0, action } },
    },
    source: { sql: { query: async () => ({ rows: [] }) }, clients: { list: async () => [] } },
    routers: new Map([
      ['pool', routerOf('pool')],
      ['replica', routerOf('replica')],
    ]),
    probes: () => ({ paths: [], withinMs: 0 }),
    emit: () => undefined,
  } as unknown as RunContext;
  const { signal } = new AbortController();
  await seeArrival({ context, tenure: {} as Tenure, direction: 'forward', phases: ['orders'], signal });
  return asked;
};

it('routers of readers are asked only where sessions that are left may be ended', async () => {
  expect(await askedAfter('terminate')).toEqual(['replica']);
  expect(await askedAfter('tell')).toEqual([]);
});
