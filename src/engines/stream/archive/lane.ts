import { displayName } from '../../../domain/table.ts';
import { Lsn } from '../../../platform/postgres/lsn.ts';
import type { LaneArchive, LaneProgress } from '../../engine.ts';
import { type LaneContext, SHARED_MARKER } from '../context.ts';
import { archiveGap, resumeArchive } from './open.ts';
import { Tap } from './tap.ts';
import { ArchiveWriter, type ArchiveWriterOptions } from './writer.ts';

/** What one run of a lane archives with: messages go in at the tap, and the writer says how far they are durable. */
export interface LaneArchiving {
  readonly tap: Tap;
  readonly writer: ArchiveWriter;
}

/** What a run needs to archive besides its lane. */
export type ArchivingOptions = Pick<
  ArchiveWriterOptions,
  'limits' | 'place' | 'onDurable' | 'onRoom' | 'onFailure' | 'onPaced'
> & { readonly archive: LaneArchive; readonly progress: LaneProgress };

/**
 * Goes on with a lane's archive. Throws kind `halted`, finding `lane/archive-gap`, when the slot cannot bring any more what comes
 * next in it (a lane that followed without its archive, or an archive that lost its end), or when it has a hole.
 */
export const openArchiving = async (
  { spec, from, marker = SHARED_MARKER }: LaneContext,
  { archive, progress, ...options }: ArchivingOptions,
): Promise<LaneArchiving> => {
  const { direction, slot } = spec;
  const tail = await resumeArchive(archive, { direction, applied: progress.position });
  const writer = new ArchiveWriter({ ...options, archive, direction, tail });
  const archived = Lsn.format(writer.durable);
  const { rows } = await from.query(
    'SELECT confirmed_flush_lsn::text AS confirmed FROM pg_replication_slots WHERE slot_name = $1',
    [slot],
  );
  const confirmed = rows[0]?.confirmed ?? null;
  if (confirmed === null || Lsn.parse(confirmed) <= writer.durable) {
    return { tap: new Tap({ sink: writer, marker: displayName(marker), from: writer.durable }), writer };
  }
  await writer.end();
  const fact = `ends at ${archived}, and slot ${slot} on the ${from.label} brings only what comes after ${confirmed}`;
  throw archiveGap(archive, direction, fact);
};
