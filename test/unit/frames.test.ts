import { Socket } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Frames, tapFrames } from '../../src/engines/stream/frames.ts';

/** A frame of the protocol: a type, a length that counts itself, a body. */
const frame = (type: string, body: Buffer): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(4 + body.length);
  return Buffer.concat([Buffer.from(type), length, body]);
};
const message = (bytes: Buffer): Buffer => frame('d', Buffer.concat([Buffer.from('w'), Buffer.alloc(24, 0x64), bytes]));
const keepalive = frame('d', Buffer.concat([Buffer.from('k'), Buffer.alloc(17)]));

// Reads end anywhere, within a header too, and sizes lie on both sides of a block's. What was handed out must stay as it was
// while more comes: tuples refer to it.
test('hands out whole frames in their order, wherever the reads end, and never writes to them again', () => {
  const size = fc.oneof(
    { weight: 20, arbitrary: fc.nat(300) },
    { weight: 2, arbitrary: fc.integer({ min: 60_000, max: 70_000 }) },
    { weight: 1, arbitrary: fc.integer({ min: 250_000, max: 600_000 }) },
  );
  const sent = fc.array(fc.oneof({ weight: 5, arbitrary: size }, { weight: 1, arbitrary: fc.constant(null) }), {
    maxLength: 30,
  });
  const reads = fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 65_536 })), {
    minLength: 1,
  });
  fc.assert(
    fc.property(sent, reads, (sizes, lengths) => {
      const bodies = sizes.map((bytes, i) => (bytes === null ? null : Buffer.alloc(bytes, i + 1)));
      const bytes = Buffer.concat(bodies.map((body) => (body === null ? keepalive : message(body))));
      const got: (Buffer | null)[] = [];
      const frames = new Frames({
        message: (span) => got.push(span.bytes.subarray(span.start, span.end)),
        other: (other) => got.push(other.equals(keepalive) ? null : other),
      });
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const end = at + (lengths[i % lengths.length] ?? 1);
        frames.feed(Buffer.from(bytes.subarray(at, end)));
        at = end;
      }
      expect(got.length).toBe(bodies.length);
      expect(got.every((body, i) => (body === null ? bodies[i] === null : bodies[i]?.equals(body) === true))).toBe(
        true,
      );
    }),
    { numRuns: 60 },
  );
});

test.each([0, 3, 2 ** 30 + 1, 2 ** 32 - 1])(
  'a length that no frame has (%i) ends the connection, not the process',
  async (length) => {
    const socket = new Socket();
    const failed = new Promise((resolve) => socket.on('error', resolve));
    const got: unknown[] = [];
    tapFrames(socket, (span) => got.push(span));
    const bytes = Buffer.concat([message(Buffer.from('one')), Buffer.from('d????w')]);
    bytes.writeUInt32BE(length, bytes.length - 5);
    socket.emit('data', bytes);
    expect(await failed).toMatchObject({ message: `a frame cannot have ${length} bytes` });
    expect(got).toHaveLength(1);
  },
);
