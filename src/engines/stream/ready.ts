import { after } from '../../platform/clock.ts';
import { Applier } from './apply.ts';
import type { LaneContext } from './context.ts';
import { readWrittenTables, type WrittenTables } from './written-tables.ts';

/** What a lane needs of the side that it writes to before it can follow. */
export interface Ready {
  readonly written: WrittenTables;
  /** Its session. Whoever has it closes it. */
  readonly applier: Applier;
}

/** Longer than what lies between the making of a slot and the window's end, unless something went wrong. */
const KEPT_MS = 60_000;

/** Reads the tables and opens the session. Throws kind `unreachable` or `refused`. */
export const getReady = async (context: LaneContext): Promise<Ready> => {
  const written = await readWrittenTables(context.to, context.spec.tables);
  return { written, applier: await Applier.open(context) };
};

/**
 * What lanes of slots that were just reserved will need in a moment, when clients are waiting. It is no more than a follower
 * would get by itself: one that finds nothing here, or a session that has broken, begins without it.
 */
export class ReadyLanes {
  readonly #kept = new Map<string, { readonly ready: Ready; readonly forget: () => void }>();

  /** Gets a lane ready. Throws as {@link getReady}: what fails now would fail in the window. */
  async keep(context: LaneContext): Promise<void> {
    const { slot } = context.spec;
    const ready = await getReady(context);
    await this.drop(slot);
    this.#kept.set(slot, { ready, forget: after(KEPT_MS, () => void this.drop(slot)) });
  }

  /** What is kept for a slot, which is the caller's from now on; null when there is nothing. */
  take(slot: string): Ready | null {
    const kept = this.#kept.get(slot);
    kept?.forget();
    this.#kept.delete(slot);
    return kept?.ready ?? null;
  }

  /** Ends what is kept for a slot. */
  async drop(slot: string): Promise<void> {
    await this.take(slot)?.applier.close();
  }
}
