import type { Socket } from 'node:net';
import pg from 'pg';
import { messageOf } from '../../../src/domain/errors.ts';
import type { Position } from '../../../src/domain/position.ts';
import { monotonicMs } from '../../../src/platform/clock.ts';
import { Lsn } from '../../../src/platform/postgres/lsn.ts';
import { quoteName, quoteText } from '../../../src/platform/postgres/quote.ts';
import type { DecodeOrder, DecodeTold } from './decode-process.ts';

const STATUS_EVERY_MS = 5_000;
const COPY_DATA = 0x64;
const ERROR = 0x45;
const XLOG_DATA = 0x77;
const COMMIT = 0x43;
/** Type, length, `w`, three 8-byte fields of the WAL data's header; then pgoutput's message. */
const MESSAGE_AT = 5 + 1 + 24;

/**
 * Walks the frames of a replication stream, counts what is in them and throws it away: the least that a reader can do and
 * still know where it is.
 */
class Frames {
  messages = 0;
  bytes = 0;
  /** End of the newest commit. */
  committed = 0n;
  failure: string | undefined;
  #rest = Buffer.alloc(0);

  take(chunk: Buffer): void {
    this.bytes += chunk.length;
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (at + 5 <= bytes.length) {
      const end = at + 1 + bytes.readUInt32BE(at + 1);
      if (end > bytes.length) break;
      this.#frame(bytes, at, end);
      at = end;
    }
    this.#rest = Buffer.from(bytes.subarray(at));
  }

  #frame(bytes: Buffer, at: number, end: number): void {
    if (bytes[at] === ERROR) this.failure = bytes.toString('utf8', at + 5, end).replaceAll('\0', ' ');
    if (bytes[at] !== COPY_DATA || bytes[at + 5] !== XLOG_DATA) return;
    this.messages += 1;
    if (bytes[at + MESSAGE_AT] === COMMIT) this.committed = bytes.readBigUInt64BE(at + MESSAGE_AT + 10);
  }
}

/** A standby status that confirms nothing, so that the server does not take us for gone. */
const keptAlive = (): Buffer => {
  const status = Buffer.alloc(5 + 34);
  status.write('d', 0);
  status.writeUInt32BE(4 + 34, 1);
  status.write('r', 5);
  return status;
};

const read = async (order: DecodeOrder): Promise<DecodeTold> => {
  const client = new pg.Client({
    connectionString: order.url,
    application_name: 'bench:decode',
    ...{ replication: 'database' },
  });
  client.on('error', () => undefined);
  await client.connect();
  const stream = (client as unknown as { connection: { stream: Socket } }).connection.stream;
  // The driver would make an object of every frame.
  stream.removeAllListeners('data');
  const frames = new Frames();
  const end = Lsn.parse(order.until as Position);
  const done = Promise.withResolvers<void>();
  stream.on('data', (chunk: Buffer) => {
    frames.take(chunk);
    if (frames.failure !== undefined) done.reject(new Error(frames.failure));
    if (frames.committed >= end) done.resolve();
  });
  stream.on('close', () => done.reject(new Error('the server ended the stream')));
  const status = setInterval(() => stream.write(keptAlive()), STATUS_EVERY_MS);
  const begun = monotonicMs();
  const options = `proto_version '1', publication_names ${quoteText(quoteName(order.publication))}`;
  const text = `START_REPLICATION SLOT ${quoteName(order.slot)} LOGICAL 0/0 (${options})\0`;
  const query = Buffer.alloc(5);
  query.write('Q', 0);
  query.writeUInt32BE(4 + Buffer.byteLength(text), 1);
  stream.write(Buffer.concat([query, Buffer.from(text)]));
  try {
    await done.promise;
    return { type: 'read', ms: monotonicMs() - begun, messages: frames.messages, bytes: frames.bytes };
  } finally {
    clearInterval(status);
    stream.destroy();
  }
};

process.once('message', (order: DecodeOrder) => {
  read(order)
    .catch((error: unknown): DecodeTold => ({ type: 'failed', message: messageOf(error) }))
    .then((told) => process.send?.(told, () => process.disconnect()));
});
