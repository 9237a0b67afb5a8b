import { expect, it } from 'vitest';
import type { RunContext } from '../../src/stages/context.ts';
import { seeToSessionsLeft } from '../../src/stages/sessions-left.ts';
import type { Tenure } from '../../src/stages/tenure.ts';

const SESSION = { user: 'app', address: 'local', application: 'shop', count: 1 };

const leftAfter = async (signal: AbortSignal) => {
  let isThere = true;
  const end = async () => {
    isThere = false;
    return { count: 1, refusals: [] };
  };
  const context = {
    plan: { switch: { sessionsLeft: { waitMs: signal.aborted ? 60_000 : 0, action: 'terminate' } } },
    source: { clients: { list: async () => (isThere ? [SESSION] : []), end } },
  } as unknown as RunContext;
  return await seeToSessionsLeft({ context, tenure: {} as Tenure }, { side: 'source', spared: null, signal });
};

it('sessions that are left are ended after their time, and not by whoever is interrupted before it', async () => {
  expect(await leftAfter(new AbortController().signal)).toMatchObject({ sessions: [], ended: 1, said: '' });
  expect(await leftAfter(AbortSignal.abort())).toMatchObject({
    sessions: [SESSION],
    ended: 0,
    said: 'not ended: interrupted',
  });
});
