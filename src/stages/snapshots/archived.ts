import { isKind, messageOf } from '../../domain/errors.ts';
import type { Direction, Position } from '../../domain/position.ts';
import type { Manifest } from '../../domain/snapshot.ts';
import type { ArchiveBase, Count } from '../../engines/archive.ts';
import { laneName } from '../../sidecar/lanes.ts';
import type { RunContext } from '../context.ts';

/** What the archive of a phase has. */
export interface ArchivedPhase {
  readonly phase: string;
  /** Everything up to here, of the side that the last lane reads; null while there is nothing. */
  readonly end: { readonly direction: Direction; readonly position: Position } | null;
  /** When the newest archived transaction committed, by its server's clock; null where it is not asked or there is none. */
  readonly newestAt: string | null;
  /** After a snapshot, where one was asked about: changes, and what of them is missing. */
  readonly since: { readonly changes: Count; readonly missing: string | null } | null;
  /** Why it could not be read, or null. */
  readonly trouble: string | null;
}

const NOTHING = { end: null, newestAt: null, since: null, trouble: null } as const;

/**
 * Where the archive of each phase ends, as its place says now; with a snapshot's manifest also what there is after that. Empty where
 * the plan has none. What cannot be read is told in its phase.
 */
export const readArchived = async (
  context: RunContext,
  run: string,
  after: Manifest | null = null,
): Promise<readonly ArchivedPhase[]> => {
  const { archive: objects, engine } = context;
  const { archives } = engine;
  if (objects === undefined || archives === undefined) return [];
  const read = async (phase: string): Promise<ArchivedPhase> => {
    const place = { objects, run, phase };
    try {
      if (after !== null) {
        const { changes, missing, end } = await archives.since(place, baseOf(after, phase));
        return { ...NOTHING, phase, end, since: { changes, missing } };
      }
      const { stretches, newestAt } = await archives.summary(place);
      const last = stretches.at(-1);
      const end = last === undefined ? null : { direction: last.direction, position: last.until };
      return { ...NOTHING, phase, end, newestAt };
    } catch (error) {
      if (!isKind(error, 'refused') && !isKind(error, 'unreachable')) throw error;
      return { ...NOTHING, phase, trouble: messageOf(error) };
    }
  };
  return await Promise.all(context.plan.phases.map(({ name }) => read(name)));
};

const baseOf = ({ position, lanes }: Manifest, phase: string): ArchiveBase => ({
  source: position,
  reverse: lanes[laneName(phase, 'reverse')]?.position ?? null,
});
