import { describe, expect, test } from 'vitest';
import {
  decode as decodeSpan,
  decodeStreamed as decodeStreamedSpan,
  isStreamStop,
  type Message,
  type Span,
  streamedXid,
} from '../../src/engines/stream/pgoutput.ts';
import { tupleOf } from '../../src/rows/tuple.ts';

// Messages as a PostgreSQL 13 sends them, put together by hand from the documentation's formats.

/** A message that lies between others, as it does when it is read. */
const spanOf = (bytes: Buffer): Span => ({
  bytes: Buffer.concat([Buffer.from('B'), bytes, Buffer.alloc(99, 'n')]),
  start: 1,
  end: 1 + bytes.length,
});
const decode = (bytes: Buffer): Message => decodeSpan(spanOf(bytes));
const decodeStreamed = (bytes: Buffer): Message => decodeStreamedSpan(spanOf(bytes));

const u8 = (value: number): Buffer => Buffer.from([value]);
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value | 0);
  return bytes;
};
const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
};
const name = (text: string): Buffer => Buffer.from(`${text}\0`);
const message = (type: string, ...parts: Buffer[]): Buffer => Buffer.concat([Buffer.from(type), ...parts]);
const text = (value: string): Buffer => Buffer.from(value);

const KEY = tupleOf([text('1'), null]);
const OLD = tupleOf([text('1'), text('old')]);
const NEW = tupleOf([text('2'), 'unchanged']);

describe('pgoutput', () => {
  test('begin and commit carry where the commit record begins and ends', () => {
    const begin = message('B', u64(0x1_0000_0010n), u64(7n), u32(99));
    const commit = message('C', u8(0), u64(0x1_0000_0010n), u64(0x1_0000_0050n), u64(7n));
    expect(decode(begin)).toEqual({ type: 'begin', commitLsn: 0x1_0000_0010n });
    expect(decode(commit)).toEqual({ type: 'commit', endLsn: 0x1_0000_0050n });
  });

  test('a relation with hostile names, an identity flag and a negative modifier', () => {
    const bytes = message(
      'R',
      u32(4_000_000_000),
      name(''),
      name('Tisch "ü"'),
      text('f'),
      u16(2),
      u8(1),
      name('id'),
      u32(20),
      u32(-1),
      u8(0),
      name('größe'),
      u32(1700),
      u32(655366),
    );
    expect(decode(bytes)).toEqual({
      type: 'relation',
      relation: {
        id: 4_000_000_000,
        schema: '',
        name: 'Tisch "ü"',
        identity: 'f',
        columns: [
          { name: 'id', isIdentity: true, typeId: 20, typeModifier: -1 },
          { name: 'größe', isIdentity: false, typeId: 1700, typeModifier: 655366 },
        ],
      },
    });
  });

  test('a type', () => {
    expect(decode(message('Y', u32(16_400), name('public'), name('mood')))).toEqual({
      type: 'type',
      id: 16_400,
      schema: 'public',
      name: 'mood',
    });
  });

  test('an insert', () => {
    const decoded = decode(message('I', u32(5), text('N'), OLD.bytes));
    expect(decoded).toMatchObject({ type: 'insert', relationId: 5 });
    expect(decoded.type === 'insert' && decoded.after.values()).toEqual([text('1'), text('old')]);
  });

  test.each([
    ['without an old row', [], null, false],
    ['with an old key', [text('K'), KEY.bytes], [text('1'), null], false],
    ['with an old row', [text('O'), OLD.bytes], [text('1'), text('old')], true],
  ])('an update %s', (_, old, before, isWhole) => {
    const decoded = decode(message('U', u32(5), ...old, text('N'), NEW.bytes));
    if (decoded.type !== 'update') throw new Error(decoded.type);
    expect(decoded.relationId).toBe(5);
    expect(decoded.before?.values() ?? null).toEqual(before);
    expect(decoded.isWhole).toBe(isWhole);
    expect(decoded.after.values()).toEqual([text('2'), 'unchanged']);
  });

  test('a delete, by key and by row', () => {
    for (const [kind, tuple] of [['K', KEY] as const, ['O', OLD] as const]) {
      const decoded = decode(message('D', u32(6), text(kind), tuple.bytes));
      expect(decoded).toMatchObject({ type: 'delete', relationId: 6 });
      expect(decoded.type === 'delete' && decoded.before.values()).toEqual(tuple.values());
    }
  });

  test.each([
    [0, false],
    [1, false],
    [2, true],
    [3, true],
  ])('a truncate with options %i', (options, restartIdentity) => {
    const bytes = message('T', u32(2), u8(options), u32(7), u32(8));
    expect(decode(bytes)).toEqual({ type: 'truncate', relationIds: [7, 8], restartIdentity });
  });

  test('what is not of the protocol is an error, never skipped', () => {
    expect(() => decode(message('b', u32(1)))).toThrow(RangeError);
    expect(() => decode(message('I', u32(5), text('K'), KEY.bytes))).toThrow(RangeError);
    expect(() => decode(message('D', u32(5), text('N'), KEY.bytes))).toThrow(RangeError);
    expect(() => decode(message('U', u32(5), text('X'), KEY.bytes))).toThrow(RangeError);
    expect(() => decode(message('I', u32(5), text('N'), KEY.bytes.subarray(0, 4)))).toThrow(RangeError);
  });
});

// What a PostgreSQL 18 sent of one transaction (0x2f1) that inserted, was rolled back to a savepoint after an update (0x2f2),
// deleted and emptied its table (0x2f3), with debug_logical_replication_streaming = immediate.
const STREAMED = {
  start: '53000002f101',
  type: '59000002f1000040017075626c6963006d6f6f6400',
  relation:
    '52000002f1000040057075626c69630074006400030169640000000017ffffffff00760000000019ffffffff006d0000004001ffffffff',
  insert: '49000002f1000040054e00037400000001317400000001617400000002736f',
  stop: '45',
  update: '55000002f2000040054b00037400000001316e6e4e00037400000001327400000001617400000002736f',
  abort: '41000002f1000002f2',
  delete: '44000002f3000040054b00037400000001316e6e',
  truncate: '54000002f3000000010000004005',
  commit: '63000002f1000000000001778cd00000000001778e4800030438fc501b28',
};
const bytesOf = (name: keyof typeof STREAMED): Buffer => Buffer.from(STREAMED[name], 'hex');

describe('pgoutput, within a transaction that has not ended', () => {
  test('segments, what is rolled back, and the commit', () => {
    expect(decode(bytesOf('start'))).toEqual({ type: 'stream-start', xid: 0x2f1 });
    expect(decode(bytesOf('stop'))).toEqual({ type: 'stream-stop' });
    expect(decode(bytesOf('abort'))).toEqual({ type: 'stream-abort', xid: 0x2f1, subXid: 0x2f2 });
    expect(decode(bytesOf('commit'))).toEqual({
      type: 'stream-commit',
      xid: 0x2f1,
      commitLsn: 0x1778cd0n,
      endLsn: 0x1778e48n,
    });
    expect(isStreamStop(spanOf(bytesOf('stop')))).toBe(true);
    expect(isStreamStop(spanOf(bytesOf('insert')))).toBe(false);
  });

  test('each change says which subtransaction made it, and is as it would be outside', () => {
    const names = ['type', 'relation', 'insert', 'update', 'delete', 'truncate'] as const;
    for (const name of names) {
      const bytes = bytesOf(name);
      const outside = decode(Buffer.concat([bytes.subarray(0, 1), bytes.subarray(5)]));
      const described = (message: Message): string =>
        JSON.stringify(message, (key, value) => (key === 'after' || key === 'before' ? value?.values() : value));
      expect(described(decodeStreamed(bytes))).toBe(described(outside));
    }
    expect(names.map((name) => streamedXid(bytesOf(name)))).toEqual([0x2f1, 0x2f1, 0x2f1, 0x2f2, 0x2f3, 0x2f3]);
    expect(streamedXid(message('O', u64(1n), name('elsewhere')))).toBeNull();
    const update = decodeStreamed(bytesOf('update'));
    if (update.type !== 'update') throw new Error(update.type);
    expect(update).toMatchObject({ relationId: 0x4005, isWhole: false });
    expect(update.before?.values()).toEqual([text('1'), null, null]);
    expect(update.after.values()).toEqual([text('2'), text('a'), text('so')]);
    expect(decodeStreamed(bytesOf('truncate'))).toEqual({
      type: 'truncate',
      relationIds: [0x4005],
      restartIdentity: false,
    });
  });
});
