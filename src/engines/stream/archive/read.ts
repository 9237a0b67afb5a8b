import { createHash } from 'node:crypto';
import { messageOf, SwitchbackError } from '../../../domain/errors.ts';
import type { ArchivePlace } from '../../archive.ts';
import { decode, type Span } from '../pgoutput.ts';
import { damaged, type Header, type Item, itemOf } from './item.ts';
import { LENGTH_BYTES } from './segment.ts';

/** A header has names and numbers only. */
const HEADER_BYTES = 65_536;
const NEWLINE = 0x0a;

/**
 * The messages of an object, a piece at a time; their bytes are the caller's. Throws kind `refused` when it is not what its key
 * and its header say, at its end at the latest: what it gave before has to be thrown away then.
 */
export async function* readMessages(place: ArchivePlace, item: Item): AsyncGenerator<readonly Span[]> {
  const hash = createHash('sha256');
  const pieces = new Pieces();
  let header: Header | null = null;
  for await (const piece of place.objects.get(item.key)) {
    pieces.add(piece);
    if (header === null) {
      const line = pieces.line();
      if (line === null) continue;
      header = readHeader(place, item, line);
      hash.update(pieces.rest);
    } else {
      hash.update(piece);
    }
    const spans = pieces.messages();
    if (spans.length > 0) yield spans;
  }
  if (header === null || pieces.rest.length > 0) throw damaged(place, `${item.key} is cut off`);
  if (header.kind === 'segment' && hash.digest('hex') !== header.body) {
    throw damaged(place, `${item.key} has another checksum than its header says`);
  }
}

/** Puts together what came in pieces that end anywhere. */
class Pieces {
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  /** Fewer bytes hold no whole message. */
  #needed = LENGTH_BYTES;

  add(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  /** What has come and was not taken. */
  get rest(): Buffer {
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [all];
    return all;
  }

  /** Takes the first line; null while it is not whole. */
  line(): string | null {
    const { rest } = this;
    const end = rest.indexOf(NEWLINE);
    if (end < 0 && rest.length < HEADER_BYTES) return null;
    this.#keep(rest.subarray(end + 1));
    return rest.toString('utf8', 0, end);
  }

  /** Takes the messages that are whole. */
  messages(): readonly Span[] {
    if (this.#bytes < this.#needed) return [];
    const { rest: bytes } = this;
    const spans: Span[] = [];
    let at = 0;
    while (at + LENGTH_BYTES <= bytes.length) {
      const start = at + LENGTH_BYTES;
      const end = start + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      spans.push({ bytes, start, end });
      at = end;
    }
    this.#keep(bytes.subarray(at));
    return spans;
  }

  #keep(rest: Buffer): void {
    this.#pieces = [rest];
    this.#bytes = rest.length;
    this.#needed = LENGTH_BYTES + (rest.length < LENGTH_BYTES ? 0 : rest.readUInt32BE(0));
  }
}

/** Reads an object and throws kind `refused` unless all of it is what it says and in order. */
export const verifyItem = async (place: ArchivePlace, item: Item): Promise<void> => {
  const seen = new Seen(item);
  try {
    for await (const spans of readMessages(place, item)) for (const span of spans) seen.take(span);
    seen.end();
  } catch (error) {
    if (error instanceof SwitchbackError) throw error;
    throw damaged(place, `${item.key}: ${messageOf(error)}`, error);
  }
};

/** Counts what a segment holds and throws RangeError where that is not in order. */
class Seen {
  readonly #item: Item;
  #last: bigint;
  #isWithin = false;
  #transactions = 0;
  #changes = 0;

  constructor(item: Item) {
    this.#item = item;
    this.#last = item.from;
  }

  take(span: Span): void {
    const message = decode(span);
    switch (message.type) {
      case 'begin':
        if (this.#isWithin || message.commitLsn < this.#last) throw new RangeError('its transactions are out of order');
        this.#isWithin = true;
        break;
      case 'commit':
        if (!this.#isWithin || message.endLsn < this.#last) throw new RangeError('its transactions are out of order');
        this.#isWithin = false;
        this.#last = message.endLsn;
        this.#transactions += 1;
        break;
      case 'insert':
      case 'update':
      case 'delete':
      case 'truncate':
        this.#changes += 1;
        break;
      default:
    }
  }

  end(): void {
    const { transactions, changes, until } = this.#item;
    const isAsSaid = this.#transactions === transactions && this.#changes === changes && this.#last <= until;
    if (this.#isWithin || !isAsSaid) throw new RangeError('it does not hold what its header says');
  }
}

const readHeader = (place: ArchivePlace, item: Item, line: string): Header => {
  let header: Header;
  try {
    header = JSON.parse(line) as Header;
  } catch (error) {
    throw damaged(place, `${item.key} does not begin with a header`, error);
  }
  if (header.format !== 1) {
    throw damaged(place, `${item.key} is of format ${header.format}, written by a newer Switchback than this one`);
  }
  if (header.run !== place.run || header.phase !== place.phase) {
    throw damaged(
      place,
      `${item.key} is of phase ${header.phase} of run ${header.run}, not of ${place.phase} of ${place.run}`,
    );
  }
  if (itemOf(header).key !== item.key) throw damaged(place, `${item.key} has the header of ${itemOf(header).key}`);
  return header;
};
