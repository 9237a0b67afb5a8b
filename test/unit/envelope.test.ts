import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { Envelope, type SealedObject } from '../../src/platform/objects/envelope.ts';
import type { Objects } from '../../src/platform/objects/objects.ts';
import { SealKey } from '../../src/platform/objects/seal-key.ts';
import { failureOf, piecesOf, wholeOf } from '../contract/objects.ts';

const HEX = 'a1'.repeat(32);
const KEY = SealKey.read(HEX, 'it');
const OTHER = SealKey.read(Buffer.alloc(32, 9).toString('base64'), 'it');

/** A place whose bytes a test can change. */
class Shelf implements Objects {
  readonly label = 'shelf';
  readonly held = new Map<string, Buffer>();

  async put(key: string, bytes: AsyncIterable<Uint8Array>) {
    const whole = await wholeOf(bytes);
    this.held.set(key, whole);
    return { key, bytes: whole.length };
  }

  async *get(key: string) {
    const whole = this.held.get(key) ?? Buffer.alloc(0);
    for (let at = 0; at < whole.length; at += 1_000_000) yield whole.subarray(at, at + 1_000_000);
  }

  async *list() {}

  async remove() {}
}

let shelf: Shelf;
beforeEach(() => {
  shelf = new Shelf();
});

const FORMS = [
  ['as it is', { key: null, zstd: false }],
  ['compressed', { key: null, zstd: true }],
  ['encrypted', { key: KEY, zstd: false }],
  ['compressed and encrypted', { key: KEY, zstd: true }],
] as const;
const CHUNK = 256 * 1024;
/** Compresses to a little more than it is, so that it fills chunks in every form. */
const NOISE = randomBytes(3 * CHUNK + 100);
const HEADER = 33;

describe.each(FORMS)('an object that is put %s', (_form, options) => {
  const put = (bytes: Buffer, key = 'a/one'): Promise<SealedObject> =>
    new Envelope(shelf, options).put(key, piecesOf(bytes));
  const open = () => new Envelope(shelf, options);
  const isSealed = options.key !== null || options.zstd;

  it.each([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7])(
    'is read as it was, of %i bytes',
    async (size) => {
      const bytes = NOISE.subarray(0, size);
      const record = JSON.parse(JSON.stringify(await put(bytes)));
      expect(record).toMatchObject({
        bytes: size,
        keyId: options.key?.id ?? null,
        form: isSealed ? 'sealed' : 'plain',
      });
      expect((await wholeOf(open().get(record))).equals(bytes)).toBe(true);
      await open().verify(record);
      expect(record.stored.bytes).toBe(shelf.held.get('a/one')?.length);
      if (isSealed) expect((await wholeOf(open().read('a/one'))).equals(bytes)).toBe(true);
    },
  );

  it('is refused when any of its bytes is another, or any are missing or more', async () => {
    const record = await put(NOISE);
    const whole = shelf.held.get('a/one') ?? Buffer.alloc(0);
    const damage: ((bytes: Buffer) => Buffer)[] = [
      (bytes) => bytes.subarray(0, -1),
      (bytes) => bytes.subarray(0, HEADER),
      (bytes) => bytes.subarray(0, 5),
      () => Buffer.alloc(0),
      (bytes) => Buffer.concat([bytes, Buffer.of(0)]),
      (bytes) => Buffer.concat([bytes, bytes.subarray(HEADER)]),
      // Whole chunks that are left out, or swapped.
      (bytes) => Buffer.concat([bytes.subarray(0, HEADER), bytes.subarray(HEADER + CHUNK + 20)]),
      (bytes) => bytes.subarray(0, HEADER + 2 * (CHUNK + 20)),
      // Cut off behind a chunk that is then said to be the last.
      (bytes) => {
        const short = Buffer.from(bytes.subarray(0, HEADER + CHUNK + 20));
        short[HEADER] = (short[HEADER] ?? 0) | 0x80;
        return short;
      },
      (bytes) => {
        const [first, second] = [0, 1].map((n) =>
          bytes.subarray(HEADER + n * (CHUNK + 20), HEADER + (n + 1) * (CHUNK + 20)),
        );
        return Buffer.concat([
          bytes.subarray(0, HEADER),
          second ?? '',
          first ?? '',
          bytes.subarray(HEADER + 2 * (CHUNK + 20)),
        ] as Buffer[]);
      },
    ];
    for (const [index, change] of damage.entries()) {
      shelf.held.set('a/one', change(whole));
      const refused = { kind: 'refused', message: expect.stringContaining('a/one is damaged') };
      expect(await failureOf(wholeOf(open().get(record))), `damage ${index}`).toMatchObject(refused);
      expect(await failureOf(open().verify(record)), `damage ${index}`).toMatchObject(refused);
      if (isSealed) expect(await failureOf(wholeOf(open().read('a/one'))), `damage ${index}`).toMatchObject(refused);
    }
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, by) => {
        const changed = Buffer.from(whole);
        changed[at] = (changed[at] ?? 0) ^ by;
        shelf.held.set('a/one', changed);
        expect(await failureOf(wholeOf(open().get(record)))).toMatchObject({ kind: 'refused' });
        if (isSealed) expect(await failureOf(wholeOf(open().read('a/one')))).toMatchObject({ kind: 'refused' });
      }),
      { numRuns: 40 },
    );
  });

  it('is refused in the place of another one', async () => {
    const [one] = [await put(NOISE, 'a/one'), await put(NOISE.subarray(1), 'a/two')];
    shelf.held.set('a/one', shelf.held.get('a/two') ?? Buffer.alloc(0));
    expect(await failureOf(wholeOf(open().get(one)))).toMatchObject({ kind: 'refused' });
    if (isSealed) expect(await failureOf(wholeOf(open().read('a/one')))).toMatchObject({ kind: 'refused' });
  });

  it('gives what its source throws, and lets it go', async () => {
    let closed = false;
    const source = async function* () {
      try {
        yield NOISE;
        throw new Error('the source broke');
      } finally {
        closed = true;
      }
    };
    expect((await failureOf(open().put('a/one', source()))).message).toBe('the source broke');
    expect(closed).toBe(true);
  });
});

describe('a key', () => {
  it('is 32 bytes in hex or base64, and is told by its id alone', () => {
    expect(KEY.id).toBe(SealKey.read(Buffer.from(HEX, 'hex').toString('base64'), 'it').id);
    expect(KEY.id).toMatch(/^[0-9a-f]{16}$/);
    expect(KEY.id).not.toBe(OTHER.id);
    expect(JSON.stringify(KEY)).toBe(JSON.stringify({ id: KEY.id }));
    for (const text of ['', 'secret', HEX.slice(2), `${HEX}00`, ` ${HEX}`, Buffer.alloc(31).toString('base64')]) {
      const message = '`snapshots.key` is no key: it has to be 32 bytes, as 64 hexadecimal digits or in base64';
      expect(() => SealKey.read(text, '`snapshots.key`')).toThrow(expect.objectContaining({ kind: 'usage', message }));
    }
  });

  it('that is another one is told as that, before anything is read', async () => {
    const record = await new Envelope(shelf, { key: KEY, zstd: false }).put('a/one', piecesOf('x'));
    for (const [key, ours] of [
      [OTHER, `the plan's key is ${OTHER.id}`],
      [null, 'the plan names none'],
    ] as const) {
      const envelope = new Envelope(shelf, { key, zstd: false });
      const refused = { kind: 'refused', message: `a/one is encrypted with key ${KEY.id}, and ${ours}` };
      expect(await failureOf(wholeOf(envelope.get(record)))).toMatchObject(refused);
      expect(await failureOf(wholeOf(envelope.read('a/one')))).toMatchObject(refused);
      await envelope.verify(record);
    }
  });

  it('does not show in what is stored, nor does the content', async () => {
    const content = 'the same text, again and again. '.repeat(1_000);
    const record = await new Envelope(shelf, { key: KEY, zstd: true }).put('a/one', piecesOf(content));
    const stored = shelf.held.get('a/one') ?? Buffer.alloc(0);
    expect(stored.includes('again')).toBe(false);
    expect(stored.includes(Buffer.from(HEX, 'hex'))).toBe(false);
    expect(record.stored.bytes).toBeLessThan(content.length / 10);
    const first = Buffer.from(stored);
    await new Envelope(shelf, { key: KEY, zstd: true }).put('a/one', piecesOf(content));
    expect(shelf.held.get('a/one')?.subarray(HEADER).equals(first.subarray(HEADER))).toBe(false);
  });

  it('reads what was put without one before there was a key, where a record of it was kept', async () => {
    const record = await new Envelope(shelf, { key: null, zstd: true }).put('a/one', piecesOf('x'));
    const keyed = new Envelope(shelf, { key: KEY, zstd: true });
    expect(String(await wholeOf(keyed.get(record)))).toBe('x');
    const unproven = { kind: 'refused', message: 'a/one is not encrypted, although the plan names a key' };
    expect(await failureOf(wholeOf(keyed.read('a/one')))).toMatchObject(unproven);
  });
});
