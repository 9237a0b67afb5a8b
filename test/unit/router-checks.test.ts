import { describe, expect, it } from 'vitest';
import { routerChecks } from '../../src/compose-routers.ts';
import { SwitchbackError } from '../../src/domain/errors.ts';
import type { Finding } from '../../src/domain/finding.ts';
import type { Router } from '../../src/routers/router.ts';
import type { PhaseScope } from '../../src/stages/context.ts';

/** `pool` leads the writers of both phases; `replica` the readers of orders, and the writers of stock. */
const plan = {
  phases: [
    { name: 'orders', routers: ['pool'], readers: ['replica'] },
    { name: 'stock', routers: ['pool', 'replica'], readers: [] },
  ],
  switch: { windowMs: 5_000 },
} as unknown as Parameters<typeof routerChecks>[0];

const scopeOf = (...names: readonly string[]) => ({
  phases: new Map(names.map((name) => [name, { name } as unknown as PhaseScope])),
});

const finding: Finding = { id: 'router/broken', severity: 'blocks', subject: 'it', fact: 'broken', remedy: 'mend it' };
const found = async (): Promise<readonly Finding[]> => [finding];
const failing = (kind: 'unreachable' | 'internal') => async (): Promise<never> => {
  throw new SwitchbackError(kind, 'no answer');
};
const check = async (replica: NonNullable<Router['findings']>, ...phases: readonly string[]) =>
  await routerChecks(
    plan,
    new Map([
      ['pool', { findings: async () => [] } as unknown as Router],
      ['replica', { findings: replica } as unknown as Router],
    ]),
    scopeOf(...phases),
  );

describe('what routers say before a switch', () => {
  it('only warns when it is said by one that leads readers alone', async () => {
    expect(await check(found, 'orders')).toEqual([{ ...finding, severity: 'warns' }]);
    expect(await check(failing('unreachable'), 'orders')).toMatchObject([
      { id: 'router/readers-mute', severity: 'warns', subject: 'router replica' },
    ]);
    await expect(check(failing('internal'), 'orders')).rejects.toMatchObject({ kind: 'internal' });
  });

  it('blocks when it is said by one that also leads writers of a phase that is asked about', async () => {
    expect(await check(found, 'orders', 'stock')).toEqual([finding]);
    await expect(check(failing('unreachable'), 'orders', 'stock')).rejects.toMatchObject({ kind: 'unreachable' });
  });
});
