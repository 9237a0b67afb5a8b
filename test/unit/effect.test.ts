import { describe, expect, it, vi } from 'vitest';
import { deposedError, SwitchbackError } from '../../src/domain/errors.ts';
import { untilKnown } from '../../src/stages/effect.ts';

// Time stands still for what waits, and passes for what asks how late it is.
const clock = vi.hoisted(() => ({ now: 0 }));
vi.mock('../../src/platform/clock.ts', () => ({
  monotonicMs: () => clock.now,
  sleep: async (ms: number): Promise<void> => {
    clock.now += ms;
  },
}));

const unknown = new SwitchbackError('unknown', 'the answer was lost');
const unreachable = new SwitchbackError('unreachable', 'nobody answers');
const deposed = deposedError('epoch 2 is no longer the newest');

/** Gives one answer after the other, throwing those that are errors; the last one for ever. */
const script = <T>(...answers: readonly (T | Error)[]) => {
  let at = 0;
  const asked = vi.fn(async (): Promise<T> => {
    const answer = answers[Math.min(at, answers.length - 1)] as T | Error;
    at += 1;
    if (answer instanceof Error) throw answer;
    return answer;
  });
  return asked;
};

describe('an act whose outcome is not known', () => {
  it('is done once when the first look finds it', async () => {
    const act = script<undefined>(unknown);
    expect(await untilKnown({ probe: script<string | null>('there'), act })).toBe('there');
    expect(act).toHaveBeenCalledTimes(1);
  });

  it('is done again when it is not there', async () => {
    const act = script<string | undefined>(unknown, 'made');
    expect(await untilKnown({ probe: script<string | null>(null), act })).toBe('made');
  });

  it('was not refused by itself: what comes through after the look is found by another', async () => {
    const act = script<undefined>(unknown, deposed);
    const probe = script<string | null>(null, 'there');
    expect(await untilKnown({ probe, act })).toBe('there');
    expect(act).toHaveBeenCalledTimes(2);
  });

  it('was refused when another look does not find it either, and that look is repeated until it is answered', async () => {
    const probe = script<string | null>(null, unreachable, unreachable, null);
    const act = script<undefined>(unknown, deposed);
    await expect(untilKnown({ probe, act })).rejects.toBe(deposed);
    expect(act).toHaveBeenCalledTimes(2);
    expect(probe).toHaveBeenCalledTimes(4);
  });

  it('ends when looking is refused', async () => {
    const refused = new SwitchbackError('refused', 'the sidecar is damaged');
    const probe = script<string | null>(refused);
    await expect(untilKnown({ probe, act: script<undefined>(unknown) })).rejects.toBe(refused);
    expect(probe.mock.calls.length).toBeLessThan(4);
  });

  it('is looked for at least once, however long the act itself took', async () => {
    const act = async (): Promise<undefined> => {
      clock.now += 60_000;
      throw unknown;
    };
    expect(await untilKnown({ probe: script<string | null>('there'), act })).toBe('there');
  });

  it('parks when nobody answers', async () => {
    const effect = { probe: script<string | null>(unreachable), act: script<undefined>(unknown) };
    await expect(untilKnown(effect)).rejects.toMatchObject({ kind: 'parked' });
  });
});

it('an act that fails for certain is not looked for', async () => {
  const probe = script<string | null>('there');
  await expect(untilKnown({ probe, act: script<undefined>(deposed) })).rejects.toBe(deposed);
  await expect(untilKnown({ probe, act: script<undefined>(unreachable) })).rejects.toBe(unreachable);
  expect(probe).not.toHaveBeenCalled();
});
