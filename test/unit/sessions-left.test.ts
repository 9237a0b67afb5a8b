import { expect, it } from 'vitest';
import type { RunContext } from '../../src/stages/context.ts';
import { seeToSessionsLeft } from '../../src/stages/sessions-left.ts';
import type { Tenure } from '../../src/stages/tenure.ts';

const SESSION = { user: 'app', address: 'local', application: 'shop', count: 1 };

/** `waitMs` is the plan's; `isAwaited` when another command waits for the worker. */
const leftAfter = async ({ waitMs = 0, signal = new AbortController().signal, isAwaited = false }) => {
  let isThere = true;
  const end = async () => {
    isThere = false;
    return { count: 1, refusals: [] };
  };
  const context = {
    plan: { switch: { sessionsLeft: { waitMs, action: 'terminate' } } },
    source: {
      sql: { query: async () => ({ rows: isAwaited ? [{}] : [] }) },
      clients: { list: async () => (isThere ? [SESSION] : []), end },
    },
  } as unknown as RunContext;
  return await seeToSessionsLeft({ context, tenure: {} as Tenure }, { side: 'source', spared: null, signal });
};

it('sessions that are left are ended after their time, also when another command waits by then', async () => {
  for (const isAwaited of [false, true])
    expect(await leftAfter({ waitMs: 0, isAwaited })).toMatchObject({ sessions: [], ended: 1, said: '' });
});

it.each([
  ['interrupted', { signal: AbortSignal.abort() }],
  ['another command waits for the worker', { isAwaited: true }],
])('sessions that are left are not ended before their time: %s', async (why, cut) => {
  const left = await leftAfter({ waitMs: 60_000, ...cut });
  expect(left).toMatchObject({ sessions: [SESSION], ended: 0, said: `not ended: ${why}` });
});
