import { expect, test } from 'vitest';
import type { Digest } from '../../src/databases/digests.ts';
import { isKind } from '../../src/domain/errors.ts';
import { windowSteps } from '../../src/stages/switch/steps.ts';
import type { Switch } from '../../src/stages/switch/types.ts';

/**
 * Phases are proven at once. When one of them differs, the undo lets every lane go on; a lane that the step stopped only
 * afterwards would then stand still for good, so nothing of the step may be under way any more when it has failed.
 */
const TABLE = { schema: 'public', name: 'item', key: { index: 'item_pkey', columns: ['id'] } };

const makeSwitch = (options: { readonly isKnown: readonly boolean[]; readonly digest: Promise<Digest> }) => {
  const stopped: string[] = [];
  const phases = options.isKnown.map((complete, at) => ({
    name: `phase ${at + 1}`,
    scope: { tables: [TABLE] },
    runner: {
      direction: 'forward',
      touched: { complete, peek: () => [{ table: 'public.item', keys: [['1']] }] },
      stop: async () => void stopped.push(`phase ${at + 1}`),
    },
  }));
  const digests = { ofKeys: () => options.digest };
  const context = { source: { digests }, target: { digests }, plan: { path: 'plan.yaml' } };
  const tools = { context, signal: new AbortController().signal };
  return { stopped, s: { phases, tools, left: () => 1_000 } as unknown as Switch };
};

const prove = windowSteps({ asRestored: null }).find(({ name }) => name === 'prove');

test('all lanes are stopped when every phase is proven', async () => {
  const { s, stopped } = makeSwitch({ isKnown: [true, true], digest: Promise.resolve({ rows: '1', sum: '7' }) });
  expect(await prove?.act(s)).toBe('2 changed keys equal on both sides');
  expect(stopped.sort()).toEqual(['phase 1', 'phase 2']);
});

test('a phase that cannot be proven waits for the others, and no lane is stopped', async () => {
  const { promise: digest, resolve } = Promise.withResolvers<Digest>();
  const { s, stopped } = makeSwitch({ isKnown: [false, true], digest });
  let failure: unknown;
  const acting = prove?.act(s).catch((error: unknown) => {
    failure = error;
  });
  await new Promise((done) => setTimeout(done, 20));
  expect(failure).toBeUndefined();
  resolve({ rows: '1', sum: '7' });
  await acting;
  expect(isKind(failure, 'aborted')).toBe(true);
  expect(stopped).toEqual([]);
});
