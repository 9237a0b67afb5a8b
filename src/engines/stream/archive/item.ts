import { createHash } from 'node:crypto';
import { SwitchbackError } from '../../../domain/errors.ts';
import type { Direction, Position } from '../../../domain/position.ts';
import type { ObjectEntry } from '../../../platform/objects/objects.ts';
import { Lsn } from '../../../platform/postgres/lsn.ts';
import type { ArchivePlace } from '../../archive.ts';

/** What every object of an archive begins with, as one line of JSON. A segment's messages follow; a link has none. */
export interface Header {
  /** Of the object. A higher one is of a newer Switchback. */
  readonly format: 1;
  /** A link begins a lane, where the other one ended; a segment holds transactions of the lane that began last. */
  readonly kind: 'link' | 'segment';
  readonly run: string;
  readonly phase: string;
  /** Place in the chain, from 1 on. */
  readonly seq: number;
  /** Of whoever wrote it; of two that follow the same one, that of the newer epoch is believed. */
  readonly epoch: string;
  readonly direction: Direction;
  /** Bounds of what it holds, as positions of the side that the lane reads. Of a link both are where the lane begins. */
  readonly from: Position;
  readonly until: Position;
  /** Of a link: what the lane of the other direction had brought. Null when the archive begins anew here. */
  readonly ended: Position | null;
  readonly transactions: number;
  readonly changes: number;
  /** When the newest of its transactions committed, in milliseconds since 1970 by its server's clock; 0 without any. */
  readonly newestMs: number;
  /** SHA-256 of what follows, in hex; null of a link. */
  readonly body: string | null;
  /** {@link hashOf} the one before; null of the first. */
  readonly previous: string | null;
}

/** An object of an archive as its key tells it. The key repeats its header, so that a listing is enough to count. */
export interface Item {
  readonly key: string;
  /** Of the object as it is stored. */
  readonly bytes: number;
  readonly kind: Header['kind'];
  readonly seq: number;
  readonly epoch: bigint;
  readonly direction: Direction;
  readonly from: bigint;
  readonly until: bigint;
  readonly ended: bigint | null;
  readonly transactions: number;
  readonly changes: number;
  readonly newestMs: number;
  readonly previous: string | null;
  readonly hash: string;
}

/** 192 bits name an object within its chain; all of SHA-256 would make keys longer than a file's name may be. */
const HASH_CHARACTERS = 32;
const SEQ_DIGITS = 10;
const NONE = 'n';
const KINDS = {
  lf: ['link', 'forward'],
  lr: ['link', 'reverse'],
  sf: ['segment', 'forward'],
  sr: ['segment', 'reverse'],
} as const;

/** The line that an object begins with. */
export const lineOf = (header: Header): string => `${JSON.stringify(header)}\n`;

/** Names an object in its key and in the next one's header: of its whole header, and by that of its body. */
export const hashOf = (header: Header): string =>
  createHash('sha256').update(lineOf(header)).digest('base64url').slice(0, HASH_CHARACTERS);

/** Prefix of all of a phase's objects. */
export const prefixOf = ({ run, phase }: Pick<ArchivePlace, 'run' | 'phase'>): string => `${run}/${phase}/`;

const hex = (lsn: bigint): string => lsn.toString(16);

/** The item that a header makes. */
export const itemOf = (header: Header): Omit<Item, 'bytes'> => {
  const { seq, epoch, kind, direction, transactions, changes, newestMs, previous } = header;
  const from = Lsn.parse(header.from);
  const until = Lsn.parse(header.until);
  const ended = header.ended === null ? null : Lsn.parse(header.ended);
  const hash = hashOf(header);
  const parts = [
    String(seq).padStart(SEQ_DIGITS, '0'),
    epoch,
    `${kind.charAt(0)}${direction.charAt(0)}`,
    hex(from),
    hex(until),
    ended === null ? NONE : hex(ended),
    transactions,
    changes,
    newestMs,
    previous ?? NONE,
    hash,
  ];
  const key = `${prefixOf(header)}${parts.join('.')}`;
  return {
    key,
    kind,
    seq,
    epoch: BigInt(epoch),
    direction,
    from,
    until,
    ended,
    transactions,
    changes,
    newestMs,
    previous,
    hash,
  };
};

const KEY =
  /^(\d{10,})\.(\d+)\.(lf|lr|sf|sr)\.([0-9a-f]+)\.([0-9a-f]+)\.(n|[0-9a-f]+)\.(\d+)\.(\d+)\.(\d+)\.(n|[\w-]{32})\.([\w-]{32})$/;

const lsnOf = (text: string): bigint => BigInt(`0x${text}`);

/** Reads a key of a phase's prefix. Throws kind `refused` for what no lane has written. */
export const readKey = ({ key, bytes }: ObjectEntry, place: ArchivePlace): Item => {
  const parts = KEY.exec(key.slice(prefixOf(place).length));
  if (parts === null) throw damaged(place, `${key} is no object of an archive`);
  const [
    ,
    seq = '',
    epoch = '',
    kd = 'sf',
    from = '',
    until = '',
    ended = '',
    transactions,
    changes,
    newestMs,
    previous = '',
    hash = '',
  ] = parts;
  const [kind, direction] = KINDS[kd as keyof typeof KINDS];
  return {
    key,
    bytes,
    kind,
    direction,
    seq: Number(seq),
    epoch: BigInt(epoch),
    from: lsnOf(from),
    until: lsnOf(until),
    ended: ended === NONE ? null : lsnOf(ended),
    transactions: Number(transactions),
    changes: Number(changes),
    newestMs: Number(newestMs),
    previous: previous === NONE ? null : previous,
    hash,
  };
};

/** An archive that cannot be used as it is: kind `refused`. */
export const damaged = (place: ArchivePlace, fact: string, cause?: unknown): SwitchbackError =>
  new SwitchbackError(
    'refused',
    `the archive of phase ${place.phase} in ${place.objects.label} is not whole: ${fact}`,
    {
      remedy: 'nothing was applied; put back what is missing there, from a copy of it, or go on without the archive',
      cause,
    },
  );
