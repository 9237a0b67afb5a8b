import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Side } from '../../src/domain/position.ts';
import type { Router } from '../../src/routers/router.ts';

const BUDGET_MS = 20_000;

/** A router's durable state and the ways to reach it. */
export interface RouterUnderTest {
  /** A new router over the same state, as another process, or the same one after a crash, would open it. */
  open(): Router;
  /** Somebody else leads a phase elsewhere, past every router of ours. */
  edit(phase: string, primary: Side): Promise<void>;
  remove(): Promise<void>;
}

const versionsOf = async (router: Router, phases: readonly string[]): Promise<Record<string, string>> => {
  const versions: Record<string, string> = {};
  for (const phase of phases) versions[phase] = (await router.observe(phase)).version;
  return versions;
};

/** Observes, then repoints, as a switch does. */
const switchTo = async (
  router: Router,
  { phases, to, epoch }: { readonly phases: readonly string[]; readonly to: Side; readonly epoch: bigint },
): Promise<void> => router.repoint({ phases, to, epoch, expect: await versionsOf(router, phases) });

/** What a kind of router can do. */
interface Abilities {
  /** Whether it keeps clients waiting; one that does not lets them go on whatever it is told, and has no need of time for it. */
  readonly holds: boolean;
}

/**
 * What every router that can be observed promises, whatever it is made of. `make` gives one that was never told of any
 * phase and refuses whoever comes too late.
 */
export const routerContract = (
  name: string,
  make: () => Promise<RouterUnderTest>,
  { holds }: Abilities = { holds: true },
): void => {
  describe(`router ${name}`, () => {
    let state: RouterUnderTest;
    let router: Router;

    beforeEach(async () => {
      state = await make();
      router = state.open();
    });
    afterEach(() => state.remove());

    const primaryOf = async (phase: string): Promise<Side | null> => (await state.open().observe(phase)).primary;

    test('knows nothing of a phase that it was never told of', async () => {
      expect(await router.observe('orders')).toMatchObject({ primary: null, held: false });
    });

    test('repoints durably, and forth and back', async () => {
      for (const [index, to] of (['target', 'source', 'target'] as const).entries()) {
        await switchTo(router, { phases: ['orders'], to, epoch: BigInt(index + 1) });
        expect(await primaryOf('orders')).toBe(to);
      }
    });

    test('repeats a repoint without effect, whatever is expected', async () => {
      await switchTo(router, { phases: ['orders'], to: 'target', epoch: 1n });
      const before = await router.observe('orders');
      await router.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: { orders: 'stale' } });
      await state.open().repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: {} });
      expect(await router.observe('orders')).toEqual(before);
    });

    test('refuses a repoint when somebody else led the phase elsewhere since it was observed', async () => {
      await switchTo(router, { phases: ['catalog', 'orders'], to: 'source', epoch: 1n });
      const expected = await versionsOf(router, ['catalog', 'orders']);
      await state.edit('orders', 'target');
      await state.edit('orders', 'source');
      await switchTo(router, { phases: ['orders'], to: 'target', epoch: 2n });
      await switchTo(router, { phases: ['orders'], to: 'source', epoch: 3n });
      const late = router.repoint({ phases: ['catalog', 'orders'], to: 'target', epoch: 4n, expect: expected });
      await expect(late).rejects.toMatchObject({ kind: 'refused' });
      // No phase of a refused repoint was moved, not even the one that nobody had touched.
      expect([await primaryOf('catalog'), await primaryOf('orders')]).toEqual(['source', 'source']);
    });

    test('refuses a repoint after an edit of a phase that was never told', async () => {
      const expected = await versionsOf(router, ['orders']);
      await state.edit('orders', 'source');
      const late = router.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: expected });
      await expect(late).rejects.toMatchObject({ kind: 'refused' });
      expect(await primaryOf('orders')).toBe('source');
    });

    test('refuses an older epoch, and lets it be when it wants what is', async () => {
      const looked = await versionsOf(router, ['orders']);
      await switchTo(router, { phases: ['orders'], to: 'target', epoch: 7n });
      const before = await router.observe('orders');
      // The sleeper looked before it slept.
      const sleeper = state.open().repoint({ phases: ['orders'], to: 'source', epoch: 6n, expect: looked });
      await expect(sleeper).rejects.toMatchObject({ kind: 'refused' });
      await router.repoint({ phases: ['orders'], to: 'target', epoch: 6n, expect: {} });
      expect(await router.observe('orders')).toEqual(before);
    });

    test('holds and releases, any number of times, without touching the route', async () => {
      await switchTo(router, { phases: ['orders'], to: 'source', epoch: 1n });
      const { version } = await router.observe('orders');
      for (const held of [true, true, false, false]) {
        await (held ? router.hold(['orders'], BUDGET_MS) : router.release(['orders']));
        expect(await state.open().observe('orders')).toEqual({ primary: 'source', held: held && holds, version });
      }
    });

    test('holds nobody when there is no time left for it', async () => {
      const late = router.hold(['orders'], 0);
      // One that holds nobody may have to ask first whether it can.
      await (holds ? expect(late).rejects.toThrow(/no time was left/) : Promise.allSettled([late]));
      expect(await router.observe('orders')).toMatchObject({ held: false });
    });

    test('holds a phase that it was never told of', async () => {
      await router.hold(['orders'], BUDGET_MS);
      expect(await router.observe('orders')).toMatchObject({ primary: null, held: holds });
      await router.release(['orders']);
      expect(await router.observe('orders')).toMatchObject({ primary: null, held: false });
    });

    test('keeps a hold over a repoint; another process that comes after a crash releases it', async () => {
      const expected = await versionsOf(router, ['orders']);
      await router.hold(['orders'], BUDGET_MS);
      await router.repoint({ phases: ['orders'], to: 'target', epoch: 1n, expect: expected });
      const heir = state.open();
      expect(await heir.observe('orders')).toMatchObject({ primary: 'target', held: holds });
      await heir.release(['orders']);
      expect(await router.observe('orders')).toMatchObject({ primary: 'target', held: false });
    });

    test('does not let one phase disturb another', async () => {
      await switchTo(router, { phases: ['catalog', 'orders'], to: 'source', epoch: 1n });
      const before = await router.observe('catalog');
      await router.hold(['orders'], BUDGET_MS);
      await switchTo(router, { phases: ['orders'], to: 'target', epoch: 2n });
      expect(await router.observe('catalog')).toEqual(before);
    });

    test('loses nothing when several phases switch at the same time', async () => {
      const phases = ['a', 'b', 'c', 'd'];
      await Promise.all(
        phases.map(async (phase, index) => {
          const own = state.open();
          const expected = await versionsOf(own, [phase]);
          await own.hold([phase], BUDGET_MS);
          await own.repoint({ phases: [phase], to: index % 2 ? 'target' : 'source', epoch: 1n, expect: expected });
          if (index > 1) await own.release([phase]);
        }),
      );
      const seen = await Promise.all(phases.map((phase) => router.observe(phase)));
      expect(seen.map(({ primary, held }) => [primary, held])).toEqual([
        ['source', holds],
        ['target', holds],
        ['source', false],
        ['target', false],
      ]);
    });
  });
};
