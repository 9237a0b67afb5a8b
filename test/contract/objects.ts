import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { SwitchbackError } from '../../src/domain/errors.ts';
import type { ObjectEntry, Objects } from '../../src/platform/objects/objects.ts';

/** A place and what can happen to it. Faults last until `heal`. */
export interface ObjectsUnderTest {
  /** As another process, or the same one after a crash, would open it. */
  open(): Objects;
  /** From now on our rights allow nothing. */
  deny(): Promise<void>;
  /** From now on it does not answer, or its disk fails. */
  fail(): Promise<void>;
  /** From now on there is no room for anything large. */
  fill(): Promise<void>;
  heal(): Promise<void>;
  /** Everything in the place that is no object and that a listing does not show: parts, temporary files. */
  leftOvers(): Promise<readonly string[]>;
  remove(): Promise<void>;
}

/** What a promise was rejected with. */
export const failureOf = async (work: Promise<unknown>): Promise<SwitchbackError> =>
  (await work.then(
    () => new Error('it did not fail'),
    (failure: unknown) => failure,
  )) as SwitchbackError;

/** Bytes in pieces. */
export const piecesOf = async function* (...pieces: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) yield typeof piece === 'string' ? Buffer.from(piece) : piece;
};

/** All that an iterable gives. */
export const wholeOf = async (bytes: AsyncIterable<Uint8Array>): Promise<Buffer> => {
  const pieces: Uint8Array[] = [];
  for await (const piece of bytes) pieces.push(piece);
  return Buffer.concat(pieces);
};

/** What a listing gives. */
export const listed = async (listing: AsyncIterable<ObjectEntry>): Promise<readonly ObjectEntry[]> => {
  const entries: ObjectEntry[] = [];
  for await (const entry of listing) entries.push(entry);
  return entries;
};

const keysOf = async (objects: Objects, prefix = ''): Promise<readonly string[]> =>
  (await listed(objects.list(prefix))).map(({ key }) => key);

const MIB = Buffer.alloc(1024 * 1024, 'switchback');
const LARGE = 40;
/** Larger than what fits into one request. */
const large = async function* (): AsyncGenerator<Uint8Array> {
  for (let n = 0; n < LARGE; n++) yield MIB;
};
/** Ends with an error after having given more than fits into one request. */
const broken = async function* (): AsyncGenerator<Uint8Array> {
  for (let n = 0; n < 20; n++) yield MIB;
  throw new Error('the source broke');
};

const HOSTILE = ['', '/', '/etc/passwd', '..', 'a/../../b', './a', 'a//b', 'a/', '.hidden', 'a b', 'ä', 'a\0b', 'a\\b'];

/** What every place of objects promises, with faults. */
export const objectsContract = (name: string, make: () => Promise<ObjectsUnderTest>): void => {
  describe(`objects in ${name}`, () => {
    let place: ObjectsUnderTest;
    let objects: Objects;
    beforeEach(async () => {
      place = await make();
      objects = place.open();
    });
    afterEach(async () => {
      await place.heal();
      await place.remove();
    });

    test('are whole when they are put, for whoever opens the place', async () => {
      expect(await objects.put('a/b/one', piecesOf('first ', 'second'))).toEqual({ key: 'a/b/one', bytes: 12 });
      expect(await objects.put('empty', piecesOf())).toEqual({ key: 'empty', bytes: 0 });
      expect(String(await wholeOf(place.open().get('a/b/one')))).toBe('first second');
      expect(String(await wholeOf(place.open().get('a/b/one', 6)))).toBe('second');
      expect(String(await wholeOf(place.open().get('a/b/one', 12)))).toBe('');
      expect(String(await wholeOf(place.open().get('a/b/one', 13)))).toBe('');
      expect(String(await wholeOf(place.open().get('empty')))).toBe('');
    });

    test('may be large, and are put again in whole', async () => {
      expect(await objects.put('large', large())).toEqual({ key: 'large', bytes: LARGE * MIB.length });
      const [tail] = [await wholeOf(objects.get('large', LARGE * MIB.length - 10))];
      expect(String(tail)).toBe(String(MIB.subarray(-10)));
      expect(await objects.put('large', large())).toEqual({ key: 'large', bytes: LARGE * MIB.length });
      expect((await wholeOf(objects.get('large'))).equals(Buffer.concat(Array(LARGE).fill(MIB)))).toBe(true);
      await objects.put('large', piecesOf('small now'));
      expect(String(await wholeOf(objects.get('large')))).toBe('small now');
      expect(await place.leftOvers()).toEqual([]);
    });

    test('are listed in the order of their keys as bytes, below a prefix', async () => {
      expect(await keysOf(objects)).toEqual([]);
      const keys = ['a', 'a-b/x', 'a.b', 'a/b/c', 'a/d', 'a0', 'b', 'Z'];
      for (const key of keys.filter((key) => key !== 'a')) await objects.put(key, piecesOf(key));
      const sorted = ['Z', 'a-b/x', 'a.b', 'a/b/c', 'a/d', 'a0', 'b'];
      expect(await keysOf(objects)).toEqual(sorted);
      expect(await keysOf(objects, 'a/')).toEqual(['a/b/c', 'a/d']);
      expect(await keysOf(objects, 'a/b/')).toEqual(['a/b/c']);
      expect(await keysOf(objects, 'c/')).toEqual([]);
      const [first] = await listed(objects.list('a/'));
      expect(first).toEqual({ key: 'a/b/c', bytes: 5 });
    });

    test('are gone when they are removed, also a second time', async () => {
      await objects.put('a/one', piecesOf('1'));
      await objects.put('a/two', piecesOf('2'));
      await objects.remove('a/one');
      await objects.remove('a/one');
      await objects.remove('never/there');
      expect(await keysOf(place.open())).toEqual(['a/two']);
      await objects.remove('a/two');
      expect(await keysOf(objects)).toEqual([]);
      await objects.put('a/one', piecesOf('again'));
      expect(await keysOf(objects)).toEqual(['a/one']);
      expect(await failureOf(wholeOf(objects.get('a/two')))).toMatchObject({
        kind: 'refused',
        message: expect.stringContaining('a/two'),
      });
    });

    test.each(HOSTILE)('have no key %j', async (key) => {
      const refused = { kind: 'refused', message: expect.stringContaining('is no key of objects') };
      expect(await failureOf(objects.put(key, piecesOf('x')))).toMatchObject(refused);
      expect(await failureOf(wholeOf(objects.get(key)))).toMatchObject(refused);
      expect(await failureOf(objects.remove(key))).toMatchObject(refused);
      if (key !== '' && key !== 'a/') {
        expect(await failureOf(keysOf(objects, key))).toMatchObject({ kind: 'refused' });
      }
      expect(await keysOf(objects)).toEqual([]);
    });

    test('are as they were when what is to be put breaks, and nothing is left of it', async () => {
      await objects.put('kept', piecesOf('as it was'));
      for (const key of ['kept', 'new']) {
        expect((await failureOf(objects.put(key, broken()))).message).toBe('the source broke');
      }
      expect(String(await wholeOf(objects.get('kept')))).toBe('as it was');
      expect(await keysOf(objects)).toEqual(['kept']);
      expect(await place.leftOvers()).toEqual([]);
    });

    test('are refused where our rights do not allow them, with what to do', async () => {
      await objects.put('kept', piecesOf('as it was'));
      await place.deny();
      for (const work of [() => objects.put('new', piecesOf('x')), () => wholeOf(objects.get('kept'))]) {
        const failure = await failureOf(work());
        expect(failure).toMatchObject({ kind: 'refused', message: expect.stringContaining('failed') });
        expect(failure.remedy).not.toBe('');
      }
      await place.heal();
      expect(await keysOf(objects)).toEqual(['kept']);
    });

    test('are not there for one who gets no answer, and are when it answers again', async () => {
      await objects.put('kept', piecesOf('as it was'));
      await place.fail();
      const unreachable = { kind: 'unreachable', remedy: expect.stringMatching(/./) };
      expect(await failureOf(objects.put('new', piecesOf('x')))).toMatchObject(unreachable);
      await place.heal();
      expect(await keysOf(objects)).toEqual(['kept']);
      expect(await objects.put('new', piecesOf('x'))).toEqual({ key: 'new', bytes: 1 });
    });

    test('that find no room are not there, nor a part of them', async () => {
      await objects.put('kept', piecesOf('as it was'));
      await place.fill();
      expect(await failureOf(objects.put('new', large()))).toMatchObject({
        kind: 'unreachable',
        remedy: expect.stringContaining('make room'),
      });
      await place.heal();
      expect(await keysOf(objects)).toEqual(['kept']);
      expect(await place.leftOvers()).toEqual([]);
    });
  });
};
