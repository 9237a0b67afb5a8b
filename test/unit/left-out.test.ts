import { describe, expect, it } from 'vitest';
import type { Position } from '../../src/domain/position.ts';
import type { SalvagedSwitch } from '../../src/sidecar/salvage.ts';
import { leftOutFrom } from '../../src/stages/rebuild/look.ts';

const until = '0/30' as Position;
const restored = { snapshot: 's', place: 'p', of: 'o', at: '', isReplayed: true, until };
const run = { id: 'r', planHash: '', facts: { restored } };
const switched = (direction: 'forward' | 'reverse', outcome: SalvagedSwitch['outcome']): SalvagedSwitch => ({
  id: `${direction}-9`,
  direction,
  phases: ['a'],
  epoch: 9n,
  document: null,
  outcome,
});

describe('what a source was restored without', () => {
  it.each([
    ['right after the adoption', [switched('forward', 'committed')]],
    ['while the failback is under way', [switched('forward', 'committed'), switched('reverse', null)]],
    ['when it was undone', [switched('forward', 'committed'), switched('reverse', 'aborted')]],
  ])('is not wanted %s', (_, switches) => {
    expect(leftOutFrom({ run, switches }, 'a')).toBe(until);
  });

  it('is of no meaning to a slot that a later cutover has made', () => {
    const switches = [
      switched('forward', 'committed'),
      switched('reverse', 'committed'),
      switched('forward', 'committed'),
    ];
    expect(leftOutFrom({ run, switches }, 'a')).toBeNull();
    expect(leftOutFrom({ run, switches }, 'b')).toBe(until);
  });

  it('is nothing where all was wanted', () => {
    const whole = { ...run, facts: { restored: { ...restored, until: null } } };
    expect(leftOutFrom({ run: whole, switches: [] }, 'a')).toBeNull();
    expect(leftOutFrom({ run: null, switches: [] }, 'a')).toBeNull();
  });
});
