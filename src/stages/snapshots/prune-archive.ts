import type { ObjectEntry } from '../../platform/objects/objects.ts';
import type { Snapshot } from '../../snapshots/store.ts';
import type { RunContext } from '../context.ts';
import { baseOf } from './archived.ts';

/** Objects of a phase's archive that no snapshot which stays needs, the oldest first. */
export interface UnneededArchive {
  readonly phase: string;
  readonly objects: readonly ObjectEntry[];
}

/**
 * What of each phase's archive lies before everything that `kept` could be led on by. A snapshot that the archive does not reach
 * holds nothing back; where it reaches none of them, all of it stays: the next snapshot may be one that it does. Changes nothing.
 */
export const unneededArchive = async (
  context: RunContext,
  run: string | null,
  kept: readonly Snapshot[],
): Promise<readonly UnneededArchive[]> => {
  const { archive: objects, engine } = context;
  const { archives } = engine;
  if (objects === undefined || archives === undefined || run === null) return [];
  const found: UnneededArchive[] = [];
  for (const { name: phase } of context.plan.phases) {
    const place = { objects, run, phase };
    const lists: (readonly ObjectEntry[])[] = [];
    for (const { manifest } of kept) {
      if (manifest === null) continue;
      const base = baseOf(manifest, phase);
      const { missing } = await archives.since(place, base);
      if (missing === null) lists.push(await archives.unneeded(place, base));
    }
    // Each is the beginning of one chain, so the shortest is what all of them can do without.
    const [shortest] = lists.toSorted((a, b) => a.length - b.length);
    if (shortest !== undefined && shortest.length > 0) found.push({ phase, objects: shortest });
  }
  return found;
};
