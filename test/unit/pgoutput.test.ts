import { describe, expect, test } from 'vitest';
import { decode as decodeSpan, type Message } from '../../src/engines/stream/pgoutput.ts';
import { tupleOf } from '../../src/rows/tuple.ts';

// Messages as a PostgreSQL 13 sends them, put together by hand from the documentation's formats.

/** Decodes a message that lies between others, as it does when it is read. */
const decode = (bytes: Buffer): Message =>
  decodeSpan({
    bytes: Buffer.concat([Buffer.from('B'), bytes, Buffer.alloc(99, 'n')]),
    start: 1,
    end: 1 + bytes.length,
  });

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
