import { describe, expect, it } from 'vitest';
import type { Direction, Position } from '../../src/domain/position.ts';
import type { Manifest } from '../../src/domain/snapshot.ts';
import type { Stretch } from '../../src/engines/archive.ts';
import type { RunContext } from '../../src/stages/context.ts';
import { assertReached } from '../../src/stages/snapshots/reach.ts';

const at = (position: string) => position as Position;
const stretch = (direction: Direction, until: string): Stretch => ({
  direction,
  ended: null,
  from: at('10'),
  until: at(until),
});
const manifest = { id: 's', run: 'r' } as Manifest;

/** A run whose phases have this in their archives; positions are numbers. */
const contextOf = (archives: Readonly<Record<string, readonly Stretch[]>>): RunContext =>
  ({
    plan: { path: 'plan.yaml', phases: Object.keys(archives).map((name) => ({ name })) },
    archive: {},
    engine: { archives: { summary: async ({ phase }: { phase: string }) => ({ stretches: archives[phase] ?? [] }) } },
    traces: { covers: (position: Position, other: Position) => Number(position) >= Number(other) },
  }) as unknown as RunContext;

const ask = (archives: Parameters<typeof contextOf>[0], until: string): Promise<void> =>
  assertReached(contextOf(archives), manifest, at(until));

describe('a replay', () => {
  it('is refused onto a snapshot of before the run, which no archive follows', async () => {
    const refusal = {
      kind: 'refused',
      message: 'snapshot s was made before a run was begun, and an archive begins with one',
    };
    const before = { ...manifest, run: '' };
    await expect(assertReached(contextOf({ a: [] }), before, null)).rejects.toMatchObject(refusal);
    await assertReached(contextOf({ a: [] }), manifest, null);
  });
});

describe('a replay up to a position', () => {
  it('is begun where the archive has it', async () => {
    await ask({ a: [stretch('forward', '20'), stretch('reverse', '40')] }, '40');
    await ask({ a: [stretch('reverse', '40'), stretch('forward', '90')], b: [] }, '30');
  });

  it.each([
    ['ends before it', [stretch('reverse', '40'), stretch('forward', '90')], 'ends at 40'],
    ['has only what the source wrote', [stretch('forward', '90')], 'has nothing of the target yet'],
  ])('is refused before anything is restored where the archive %s', async (_, stretches, why) => {
    const refusal = { kind: 'refused', message: `--until 50 is not reached: the archive of phase a ${why}` };
    await expect(ask({ a: stretches }, '50')).rejects.toMatchObject(refusal);
  });
});
