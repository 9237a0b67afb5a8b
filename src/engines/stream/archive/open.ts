import { deposedError, SwitchbackError } from '../../../domain/errors.ts';
import { type Direction, opposite, type Position } from '../../../domain/position.ts';
import { Lsn } from '../../../platform/postgres/lsn.ts';
import type { ArchivePlace } from '../../archive.ts';
import type { LaneArchive } from '../../engine.ts';
import { halted } from '../halt.ts';
import { flawOf, lastOf, readChain } from './chain.ts';
import { type Header, type Item, itemOf, lineOf } from './item.ts';

/** Where a lane begins. */
interface Beginning {
  readonly direction: Direction;
  readonly at: Position;
  /** What the lane of the other direction has brought; null when the archive begins anew. */
  readonly ended: Position | null;
}

/** Stores an object under the key that its header makes. Repeating it is harmless: it has the same bytes. */
export const putItem = async (
  { objects }: ArchivePlace,
  item: Omit<Item, 'bytes'>,
  object: () => AsyncIterable<Uint8Array>,
): Promise<Item> => {
  const { bytes } = await objects.put(item.key, object());
  return { ...item, bytes };
};

/**
 * Records that a lane begins at a position, and where the other one ended. Throws kind `busy` when what that has brought is
 * not all in the archive: a chain over it would hide a hole. One that begins before its own end reads the log of another server,
 * such as a restored one: the archive begins anew there, because positions of two servers say nothing of each other.
 */
export const beginArchive = async (archive: LaneArchive, beginning: Beginning): Promise<void> => {
  const { items } = await readChain(archive);
  const other = lastOf(items, opposite(beginning.direction));
  const { ended } = beginning;
  if (ended !== null && other !== undefined && other.until < Lsn.parse(ended)) {
    const text = `the archive of phase ${archive.phase} in ${archive.objects.label} has what is before ${Lsn.format(other.until)}, not all before ${ended}`;
    throw new SwitchbackError('busy', text, {
      remedy: 'wait until its lane has archived it; see: switchback status PLAN',
    });
  }
  const own = lastOf(items, beginning.direction);
  const isOtherLog = own !== undefined && Lsn.parse(beginning.at) < own.until;
  await putLink(archive, isOtherLog ? { ...beginning, ended: null } : beginning, items.at(-1));
};

/** Halts a lane whose archive would not be whole, and says how it begins anew. */
export const archiveGap = (archive: LaneArchive, direction: Direction, fact: string): SwitchbackError =>
  halted({
    id: 'lane/archive-gap',
    subject: `${archive.phase}/${direction}`,
    fact: `its archive in ${archive.objects.label} ${fact}; a replay would miss what is between`,
    remedy: `move the objects below ${archive.run}/${archive.phase}/ there somewhere else, so that the archive begins anew, then: switchback resume PLAN PHASE; and take a snapshot to replay on: switchback snapshot create PLAN`,
  });

/**
 * The newest object of the chain for a lane that goes on. Kind `halted` when something is missing before it. One that nobody
 * began there begins at what is applied, and the archive anew: the plan had none when the lane began, and what the other lane
 * brought from the end of its own objects until then is in none of them. One whose switch was undone goes on where it was.
 */
export const resumeArchive = async (
  archive: LaneArchive,
  { direction, applied }: { readonly direction: Direction; readonly applied: Position },
): Promise<Item> => {
  const chain = await readChain(archive);
  const flaw = flawOf(chain);
  if (flaw !== null) throw archiveGap(archive, direction, `has a hole: ${flaw}`);
  const { items } = chain;
  const tail = items.at(-1);
  assertNewest(archive, tail);
  if (tail?.direction === direction) return tail;
  const own = lastOf(items, direction);
  if (tail === undefined || own === undefined) {
    return await putLink(archive, { direction, at: applied, ended: null }, tail);
  }
  return await putLink(archive, { direction, at: Lsn.format(own.until), ended: Lsn.format(tail.until) }, tail);
};

const putLink = async (
  archive: LaneArchive,
  { direction, at, ended }: Beginning,
  tail: Item | undefined,
): Promise<Item> => {
  assertNewest(archive, tail);
  const { run, phase } = archive;
  const header: Header = {
    format: 1,
    kind: 'link',
    run,
    phase,
    seq: (tail?.seq ?? 0) + 1,
    epoch: String(archive.epoch()),
    direction,
    from: at,
    until: at,
    ended,
    transactions: 0,
    changes: 0,
    newestMs: 0,
    body: null,
    previous: tail?.hash ?? null,
  };
  return await putItem(archive, itemOf(header), () => only(lineOf(header)));
};

/** What an older worker puts behind a newer one's is no part of the chain. */
const assertNewest = (archive: LaneArchive, tail: Item | undefined): void => {
  if (tail === undefined || tail.epoch <= archive.epoch()) return;
  throw deposedError(`the archive in ${archive.objects.label} has been written to as of epoch ${tail.epoch}`);
};

async function* only(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
