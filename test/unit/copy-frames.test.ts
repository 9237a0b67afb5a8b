import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CopyFrames } from '../../src/engines/stream/copy-frames.ts';

const message = (type: string, payload: Uint8Array): Buffer => {
  const header = Buffer.from(`${type}0000`, 'latin1');
  header.writeUInt32BE(payload.length + 4, 1);
  return Buffer.concat([header, payload]);
};

/** Cuts bytes at these places. */
const split = (bytes: Buffer, at: readonly number[]): readonly Buffer[] => {
  const ends = [...at.map((n) => n % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
};

/** What is passed on, what comes after it, and whether a row was open after each piece. */
const run = (pieces: readonly Buffer[]) => {
  const frames = new CopyFrames();
  const passed: Buffer[] = [];
  const rest: Buffer[] = [];
  const open: boolean[] = [];
  for (const piece of pieces) {
    if (rest.length > 0) rest.push(piece);
    else {
      const left = frames.take(piece, (rows) => void passed.push(Buffer.from(rows)));
      if (left !== null) rest.push(left);
      open.push(frames.isWithinRow);
    }
  }
  return { passed: Buffer.concat(passed), rest: Buffer.concat(rest), bytes: frames.bytes, open };
};

const messages = fc.array(
  fc.record({
    type: fc.constantFrom('d', 'd', 'd', 'N', 'S', 'A'),
    payload: fc.uint8Array({ maxLength: 40 }),
  }),
  { maxLength: 20 },
);

describe('rows in what a server sends during COPY', () => {
  test('are passed on untouched and nothing else is, wherever the bytes are split', () => {
    const after = Buffer.concat([message('c', Buffer.alloc(0)), message('C', Buffer.from('COPY 3\0'))]);
    fc.assert(
      fc.property(messages, fc.array(fc.nat(2_000), { maxLength: 30 }), (sent, cuts) => {
        const begin = message('H', Buffer.from([1, 0, 0]));
        const all = Buffer.concat([begin, ...sent.map((m) => message(m.type, m.payload)), after]);
        const rows = sent.filter((m) => m.type === 'd');
        const found = run(split(all, cuts));
        expect(found.passed).toEqual(Buffer.concat(rows.map((m) => message('d', m.payload))));
        expect(found.rest).toEqual(after);
        expect(found.bytes).toBe(rows.reduce((sum, m) => sum + m.payload.length, 0));
        expect(found.open.at(-1) ?? false).toBe(false);
      }),
    );
  });

  test('split after every byte, a row is open from its first byte that was passed on to its last', () => {
    const all = Buffer.concat([message('d', Buffer.from('ab')), message('E', Buffer.from('no'))]);
    const found = run([...all].map((byte) => Buffer.from([byte])));
    expect(found.open).toEqual([true, true, true, true, true, true, false, false]);
    expect(found.rest.toString('latin1')[0]).toBe('E');
  });

  test('an error in the middle is the rest, with all that follows', () => {
    const error = Buffer.concat([message('E', Buffer.from('broken')), message('Z', Buffer.from('E'))]);
    const found = run([Buffer.concat([message('d', Buffer.from('row')), error])]);
    expect(found.passed).toEqual(message('d', Buffer.from('row')));
    expect(found.rest).toEqual(error);
  });
});
