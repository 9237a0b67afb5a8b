import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Position } from '../../src/domain/position.ts';
import type { SnapshotPosition } from '../../src/domain/snapshot.ts';
import { Lsn } from '../../src/platform/postgres/lsn.ts';
import type { Destination, RestoredPlace, Snapshot, SnapshotStore } from '../../src/snapshots/store.ts';
import { DIGESTS, freshId, specOf, waiting } from '../support/snapshots.ts';
import { failureOf } from './objects.ts';

/** A store with a source, and where places can be made. */
export interface StoreUnderTest {
  /** As another process, or the same one after a crash, would open it. */
  open(): SnapshotStore;
  /** Changes what the source holds. Absent where nothing stands behind the store. */
  write?(): Promise<void>;
  /** All that a database holds, as text. Absent where nothing stands behind the store. */
  contentOf?(url: string | null): Promise<string>;
  /** A place that nothing is at yet. */
  destination(name: string, purpose: Destination['purpose']): Destination;
  /** Makes something there that is not ours. */
  occupy(into: Destination): Promise<void>;
  /** Whether anything is at a place, also what is not whole yet. */
  exists(into: Destination): Promise<boolean>;
  /** Makes a snapshot that is not ours, and gives its id. */
  makeForeign(): Promise<string>;
  close(): Promise<void>;
}

/** What a store can do. */
export interface StoreAbilities {
  /** Whether it knows the snapshot's exact state, and hands over the name of an exported snapshot. */
  readonly exact: boolean;
}

/** What every store of snapshots promises. `kind` is what its manifests say. */
export const snapshotStoreContract = (
  kind: string,
  make: () => Promise<StoreUnderTest>,
  { exact }: StoreAbilities,
): void => {
  describe(`store ${kind}`, () => {
    let world: StoreUnderTest;
    let store: SnapshotStore;
    beforeEach(async () => {
      world = await make();
      store = world.open();
    });
    afterEach(() => world.close());
    const create = (id: string): Promise<Snapshot> => store.create(specOf(id, kind), waiting().options);
    const restore = (id: string, into: Destination): Promise<RestoredPlace> =>
      world.open().restore(id, into, waiting().options);

    test('finds nothing that keeps it from working here', async () => {
      expect((await store.findings()).filter(({ severity }) => severity === 'blocks')).toEqual([]);
      expect(await store.list()).toEqual([]);
    });

    test('keeps what the source held, and gives it back elsewhere, in a place that can be removed', async () => {
      const id = freshId();
      const before = await world.contentOf?.(null);
      const seen: [string | null, SnapshotPosition][] = [];
      const { told, options } = waiting();
      const spec = specOf(id, kind, async (exported, position) => {
        seen.push([exported, position]);
        await world.write?.();
      });
      const made = await store.create(spec, options);
      expect(told.length).toBeGreaterThan(0);
      const { manifest } = made;
      expect(made).toMatchObject({ id, state: 'available', detail: null });
      const { position } = manifest ?? { position: { atLeast: '0/0' as Position, atMost: '0/0' as Position } };
      const [[exported, at] = [null, position]] = seen;
      expect(seen).toHaveLength(1);
      // What is looked at without an exported snapshot must not be further than what the snapshot holds.
      if (exact) expect([typeof exported, at, position.atMost]).toEqual(['string', position, position.atLeast]);
      else {
        expect(exported).toBeNull();
        expect(Lsn.reached(position.atLeast, at.atLeast)).toBe(true);
        expect(Lsn.reached(position.atMost, position.atLeast)).toBe(true);
      }
      expect(manifest?.digests).toEqual(exact ? DIGESTS : null);
      expect(await world.open().list()).toEqual([made]);
      const into = world.destination('restore-1', 'restore');
      const place = await restore(id, into);
      expect(place.differences.filter(({ severity }) => severity === 'blocks')).toEqual([]);
      if (exact && world.contentOf) expect(await world.contentOf(place.url)).toBe(before);
      await place.remove(waiting().options);
      await place.remove(waiting().options);
      expect(await world.exists(into)).toBe(false);
    });

    test('makes one snapshot of an id, and one place of a name', async () => {
      const id = freshId();
      const made = await create(id);
      expect(await world.open().create(specOf(id, kind), waiting().options)).toEqual(made);
      expect(await store.list()).toEqual([made]);
      const into = world.destination('drill-1', 'drill');
      const place = await restore(id, into);
      const content = await world.contentOf?.(place.url);
      const again = await restore(id, into);
      expect([again.url, again.differences]).toEqual([place.url, place.differences]);
      expect(await world.contentOf?.(again.url)).toBe(content);
      await world.open().removePlace(id, into, waiting().options);
      await world.open().removePlace(id, into, waiting().options);
      expect(await world.exists(into)).toBe(false);
    });

    test('restores over nothing that is there', async () => {
      const id = freshId();
      await create(id);
      const into = world.destination('restore-2', 'restore');
      await world.occupy(into);
      expect(await failureOf(restore(id, into))).toMatchObject({ kind: 'refused', remedy: expect.stringMatching(/./) });
      expect(await failureOf(store.removePlace(id, into, waiting().options))).toMatchObject({ kind: 'refused' });
      expect(await world.exists(into)).toBe(true);
    });

    test('lists the newest first, and removes what is asked for alone', async () => {
      const [first, second] = [freshId(), freshId()];
      await create(first);
      await create(second);
      expect((await store.list()).map(({ id }) => id)).toEqual([second, first]);
      await store.remove(first, waiting().options);
      await store.remove(first, waiting().options);
      expect((await world.open().list()).map(({ id }) => id)).toEqual([second]);
      const into = world.destination('restore-3', 'restore');
      expect(await failureOf(restore(first, into))).toMatchObject({ kind: 'refused' });
      expect(await world.exists(into)).toBe(false);
    });

    test('neither restores nor removes what is not ours, and shows it', async () => {
      const id = await world.makeForeign();
      expect((await store.list()).find((snapshot) => snapshot.id === id)).toMatchObject({ manifest: null });
      const into = world.destination('restore-4', 'restore');
      expect(await failureOf(restore(id, into))).toMatchObject({ kind: 'refused' });
      expect(await failureOf(store.remove(id, waiting().options))).toMatchObject({ kind: 'refused' });
      expect(await failureOf(create(id))).toMatchObject({ kind: 'refused' });
      expect(await world.exists(into)).toBe(false);
    });

    test('goes on with a creation and a restore that were interrupted', async () => {
      const id = freshId();
      const stop = new AbortController();
      const spec = specOf(id, kind, async () => stop.abort());
      const interrupted = await failureOf(store.create(spec, waiting(stop.signal).options));
      expect(interrupted.name).toBe('AbortError');
      for (const snapshot of await store.list()) expect(snapshot.state).toBe('creating');
      const made = await create(id);
      expect(await store.list()).toEqual([made]);
      const into = world.destination('restore-5', 'restore');
      const now = new AbortController();
      const { options } = waiting(now.signal);
      const restoring = world.open().restore(id, into, { ...options, progress: () => now.abort() });
      expect((await failureOf(restoring)).name).toBe('AbortError');
      const place = await restore(id, into);
      await place.remove(waiting().options);
      expect(await world.exists(into)).toBe(false);
    });
  });
};
