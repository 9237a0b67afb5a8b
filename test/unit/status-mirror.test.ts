import { expect, it } from 'vitest';
import { SwitchbackError } from '../../src/domain/errors.ts';
import type { RunContext } from '../../src/stages/context.ts';
import { readStatusFromEither } from '../../src/stages/status.ts';

it('a mirror that an earlier version wrote has nothing left out that status shows', async () => {
  const phases = [{ name: 'orders', state: { name: 'following', since: '' }, stuck: null, next: [] }];
  const doc = JSON.stringify({ phases, lastSwitch: null, servers: { source: '', target: '' } });
  const silent = async (): Promise<never> => {
    throw new SwitchbackError('unreachable', 'the source does not answer');
  };
  const context = {
    source: { sql: { query: silent, transaction: silent } },
    target: { sql: { query: async () => ({ rows: [{ doc, at: '2026-11-27' }] }) } },
  } as unknown as RunContext;
  expect(await readStatusFromEither(context)).toMatchObject({
    answeredBy: 'target',
    mirroredAt: '2026-11-27',
    unended: null,
    phases: [{ name: 'orders', proof: [], readers: null }],
  });
});
