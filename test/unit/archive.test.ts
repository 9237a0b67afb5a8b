import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { Direction, Position } from '../../src/domain/position.ts';
import { streamArchives } from '../../src/engines/stream/archive/archives.ts';
import { assertContinuous, chainOf, readChain } from '../../src/engines/stream/archive/chain.ts';
import { type Header, hashOf, type Item, itemOf, lineOf } from '../../src/engines/stream/archive/item.ts';
import { beginArchive, resumeArchive } from '../../src/engines/stream/archive/open.ts';
import { readMessages } from '../../src/engines/stream/archive/read.ts';
import { Tap } from '../../src/engines/stream/archive/tap.ts';
import { ArchiveWriter } from '../../src/engines/stream/archive/writer.ts';
import { decode, type Span } from '../../src/engines/stream/pgoutput.ts';
import { SpoolPlace } from '../../src/engines/stream/spool.ts';
import { DirectoryObjects } from '../../src/platform/objects/directory.ts';
import type { Objects } from '../../src/platform/objects/objects.ts';
import { Lsn } from '../../src/platform/postgres/lsn.ts';
import { tupleOf } from '../../src/rows/tuple.ts';
import { FailingObjects, KEYS, objectsIn, reading } from '../support/archives.ts';

const directories: string[] = [];
const directory = (): string => {
  const made = mkdtempSync(join(tmpdir(), 'switchback-chain-'));
  directories.push(made);
  return made;
};
afterEach(() => {
  for (const made of directories.splice(0)) rmSync(made, { recursive: true });
});

const u8 = (value: number): Buffer => Buffer.from([value]);
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
};
const spanOf = (type: string, ...parts: Buffer[]): Span => {
  const bytes = Buffer.concat([Buffer.from(type), ...parts]);
  return { bytes, start: 0, end: bytes.length };
};
const relation = (id: number, schema: string, name: string): Span =>
  spanOf(
    'R',
    u32(id),
    Buffer.from(`${schema}\0${name}\0d`),
    Buffer.from([0, 1, 1]),
    Buffer.from('id\0'),
    u32(20_000),
    u32(0),
  );
const insert = (id: number, text: string): Span =>
  spanOf('I', u32(id), Buffer.from('N'), tupleOf([Buffer.from(text)]).bytes);

const ONLY_WHEN_ASKED = { bytes: 2 ** 30, ageMs: 3_600_000, idleMs: 3_600_000 };
const place = (objects: Objects, run = 'r1') => ({ objects, run, phase: 'p' });
const budget = () => ({ budgetMs: 20_000, signal: new AbortController().signal });

/** What a lane writes with. */
const open = async (
  objects: Objects,
  at: bigint,
  more: { epoch?: bigint; direction?: Direction; run?: string; spool?: SpoolPlace } = {},
) => {
  const { epoch = 1n, direction = 'forward', run, spool = new SpoolPlace(tmpdir(), 0) } = more;
  const archive = { ...place(objects, run), epoch: () => epoch };
  const tail = await resumeArchive(archive, { direction, applied: Lsn.format(at) });
  const told: unknown[] = [];
  const writer = new ArchiveWriter({
    archive,
    direction,
    tail,
    limits: ONLY_WHEN_ASKED,
    place: spool,
    onDurable: () => undefined,
    onRoom: () => undefined,
    onFailure: (error) => void told.push(error),
    onPaced: (text) => void told.push(text),
  });
  const tap = new Tap({ sink: writer, marker: 'switchback.marker', from: writer.durable });
  for (const span of [
    spanOf('Y', u32(20_000), Buffer.from('public\0mood\0')),
    relation(7, 'public', 't'),
    relation(8, 'switchback', 'marker'),
  ]) {
    tap.take(decode(span), span, false);
  }
  return { tap, writer, told };
};

const begin = (tap: Tap, at: bigint): void => tap.begin(spanOf('B', u64(at), u64(0n), u32(1)), at);
const change = (tap: Tap, text: string, id = 7): void => tap.take(decode(insert(id, text)), insert(id, text), false);
const commit = (tap: Tap, at: bigint): void =>
  tap.commit(spanOf('C', u8(0), u64(at), u64(at + 1n), u64(at * 1_000_000n)), at + 1n);
const transaction = (tap: Tap, at: bigint, ...texts: string[]): void => {
  begin(tap, at);
  for (const text of texts) change(tap, text);
  commit(tap, at);
};

/** Segments of two transactions each, from 100 on. */
const writeChain = async (objects: Objects, segments: number, run = 'r1'): Promise<void> => {
  const { tap, writer } = await open(objects, 100n, { run });
  for (let n = 0n; n < BigInt(segments); n++) {
    transaction(tap, 100n + n * 10n, `a${n}`, `b${n}`);
    transaction(tap, 105n + n * 10n, `c${n}`);
    await writer.reach(Lsn.format(106n + n * 10n), budget());
  }
  await writer.end();
};

const emptySegment = (seq: number, bounds: Pick<Header, 'from' | 'until'>, before: Item | undefined): Header => ({
  ...bounds,
  format: 1,
  kind: 'segment',
  run: 'r1',
  phase: 'p',
  seq,
  epoch: '1',
  direction: 'forward',
  ended: null,
  transactions: 0,
  changes: 0,
  newestMs: 0,
  body: null,
  previous: before?.hash ?? null,
});

/** An object that is nothing but a header. */
const putHeader = async (objects: Objects, header: Header): Promise<void> => {
  async function* line(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(lineOf(header));
  }
  await objects.put(itemOf(header).key, line());
};

const messagesOf = async (objects: Objects, item: Item): Promise<string> => {
  let types = '';
  for await (const spans of readMessages(place(objects), item)) {
    for (const { bytes, start } of spans) types += String.fromCharCode(bytes[start] ?? 0);
  }
  return types;
};

const fresh = (): Objects => new DirectoryObjects(directory());
const verify = async (objects: Objects) => await streamArchives.verify(place(objects), reading());

describe('segments', () => {
  test('each can be read alone, and holds nothing but transactions of the lane', async () => {
    const objects = fresh();
    await writeChain(objects, 2);
    const { tap, writer } = await open(objects, 0n);
    begin(tap, 130n);
    change(tap, 'marker', 8);
    commit(tap, 130n);
    transaction(tap, 140n);
    // Transactions that it has already come again.
    transaction(tap, 105n, 'again');
    await writer.reach('0/8D' as Position, budget());
    await writer.end();
    const { items } = await readChain(place(objects));
    expect(await Promise.all(items.map((item) => messagesOf(objects, item)))).toEqual([
      '',
      'BYRIICBIC',
      'BYRIICBIC',
      '',
    ]);
    expect(items.map((item) => item.until)).toEqual([100n, 106n, 116n, 141n]);
    expect(await verify(objects)).toMatchObject({ objects: 4, transactions: 4, changes: 6 });
    expect((await verify(objects)).newestAt).toBe('2000-01-01T00:01:55.000Z');
  });

  test('a lane that stops stores no object without a transaction, and goes on behind the last one', async () => {
    const objects = fresh();
    const { tap, writer } = await open(objects, 100n);
    transaction(tap, 100n, 'a');
    const reached = writer.reach('0/65' as Position, budget());
    transaction(tap, 110n);
    await writer.end();
    await reached;
    expect(await verify(objects)).toMatchObject({ objects: 2, transactions: 1 });
    const again = await open(objects, 0n);
    expect(again.writer.durable).toBe(101n);
    await again.writer.end();
  });

  test('a transaction is never divided, whenever a segment is asked for', async () => {
    const objects = fresh();
    const { tap, writer } = await open(objects, 100n);
    transaction(tap, 100n, 'a');
    begin(tap, 110n);
    change(tap, 'b');
    const reached = writer.reach('0/65' as Position, budget());
    change(tap, 'c');
    commit(tap, 110n);
    await reached;
    transaction(tap, 120n, 'd');
    begin(tap, 130n);
    change(tap, 'cut off');
    await writer.end();
    const { items } = await readChain(place(objects));
    expect(await Promise.all(items.map((item) => messagesOf(objects, item)))).toEqual(['', 'BYRICBIIC', 'BYRIC']);
    expect(await verify(objects)).toMatchObject({ transactions: 3, changes: 4 });
  });

  test('what cannot be stored is told, keeps the socket waiting and is stored in the end, once', async () => {
    const objects = new FailingObjects(fresh());
    const { tap, writer, told } = await open(objects, 100n);
    objects.isBroken = true;
    transaction(tap, 100n, 'a');
    const reached = writer.reach('0/65' as Position, budget());
    await expect.poll(() => objects.failures).toBeGreaterThan(2);
    expect(writer.isFull).toBe(true);
    expect(writer.durable).toBe(100n);
    objects.isBroken = false;
    await reached;
    expect(writer.isFull).toBe(false);
    expect(told).toEqual([expect.stringMatching(/cannot be written/), expect.stringMatching(/takes changes again/)]);
    await writer.end();
    expect(await verify(objects)).toMatchObject({ objects: 2, transactions: 1 });
  });
});

/** A disk that has no room for the first segment, and some again for the next one. */
class FullOnce extends SpoolPlace {
  #isFull = true;

  override async assertRoom(): Promise<void> {
    if (!this.#isFull) return;
    this.#isFull = false;
    throw new Error('no room');
  }
}

describe('a segment that is lost', () => {
  // S6: the slot would be confirmed past what is in no object.
  test.each(['stops', 'is asked for more'])('is the last one: a lane that %s stores nothing behind it', async (how) => {
    const objects = fresh();
    const { tap, writer, told } = await open(objects, 100n, { spool: new FullOnce(tmpdir(), 0) });
    transaction(tap, 100n, 'a');
    const reached = writer.reach('0/65' as Position, budget());
    transaction(tap, 110n, 'b');
    const later = how === 'stops' ? writer.end() : writer.reach('0/6F' as Position, budget());
    const rejected = { status: 'rejected', reason: { kind: 'busy' } };
    const other = how === 'stops' ? { status: 'fulfilled' } : rejected;
    expect(await Promise.allSettled([reached, later])).toMatchObject([rejected, other]);
    await writer.end();
    expect(told).toContainEqual(expect.objectContaining({ kind: 'busy' }));
    expect(writer.durable).toBe(100n);
    expect(await verify(objects)).toMatchObject({ objects: 1, transactions: 0 });
  });

  test('is told by whoever looks at the listing, and halts the lane', async () => {
    const objects = fresh();
    await writeChain(objects, 1);
    const { items } = await readChain(place(objects));
    const bounds = { from: '0/74' as Position, until: '0/7E' as Position };
    const header = emptySegment(3, bounds, items.at(-1));
    await putHeader(objects, header);
    const fact = expect.stringMatching(/does not begin where the one before it ended/);
    const base = { source: { atLeast: '0/64' as Position, atMost: '0/64' as Position }, reverse: null };
    expect(await streamArchives.since(place(objects), base)).toMatchObject({ missing: fact });
    await expect(streamArchives.summary(place(objects))).rejects.toMatchObject({ kind: 'refused', message: fact });
    const halted = { kind: 'halted', findings: [{ id: 'lane/archive-gap' }] };
    await expect(open(objects, 0n)).rejects.toMatchObject(halted);
  });
});

describe('a damaged archive is refused', () => {
  const files = (of: string): string[] =>
    readdirSync(join(of, 'r1/p'))
      .toSorted()
      .map((name) => join(of, 'r1/p', name));
  const at = (of: string, n: number): string => files(of)[n] ?? '';
  const rewrite = (path: string, change: (bytes: Buffer) => Uint8Array): void =>
    writeFileSync(path, change(readFileSync(path)));
  const flip = (bytes: Buffer, at: number): Buffer => bytes.fill((bytes[at] ?? 0) ^ 1, at, at + 1);
  const cases: readonly (readonly [string, (of: string) => unknown, RegExp])[] = [
    ['a byte of the middle', (of) => rewrite(at(of, 2), (b) => flip(b, b.length - 3)), /checksum|order|unknown|hold/],
    ['an end that is cut off', (of) => rewrite(at(of, 3), (b) => b.subarray(0, b.length - 2)), /is cut off/],
    ['a transaction that is cut off', (of) => rewrite(at(of, 3), (b) => b.subarray(0, b.length - 30)), /checksum/],
    ['an empty object', (of) => rewrite(at(of, 3), () => Buffer.alloc(0)), /is cut off/],
    ['a hole', (of) => rmSync(at(of, 2)), /is missing, and older objects are there/],
    [
      'two that changed places',
      (of) => {
        const [a, b] = [at(of, 1), at(of, 2)];
        renameSync(a, `${of}/x`);
        renameSync(b, a);
        renameSync(`${of}/x`, b);
      },
      /has the header of/,
    ],
    [
      'a number in a header',
      (of) =>
        rewrite(at(of, 1), (b) => Buffer.from(b.toString('latin1').replace('"changes":3', '"changes":2'), 'latin1')),
      /has the header of/,
    ],
    [
      'a newer format',
      (of) =>
        rewrite(at(of, 1), (b) => Buffer.from(b.toString('latin1').replace('"format":1', '"format":2'), 'latin1')),
      /newer Switchback/,
    ],
    [
      'an object of another run',
      (of) => {
        const [foreign = ''] = readdirSync(join(of, 'r2/p')).toSorted().slice(-1);
        cpSync(join(of, 'r2/p', foreign), join(of, 'r1/p', foreign.replace(/^0+3/, '0000000009')));
      },
      /is missing, and older objects are there/,
    ],
    [
      'an object of another run in a place of ours',
      (of) =>
        rewrite(at(of, 2), () => readFileSync(join(of, 'r2/p', readdirSync(join(of, 'r2/p')).toSorted()[2] ?? ''))),
      /of phase p of run r2/,
    ],
    ['something else', (of) => writeFileSync(join(of, 'r1/p/notes.txt'), 'x'), /no object of an archive/],
  ];

  test.each(cases)('%s', async (_, damage, fact) => {
    const of = directory();
    const objects = new DirectoryObjects(of);
    await writeChain(objects, 3);
    await writeChain(objects, 2, 'r2');
    expect(await verify(objects)).toMatchObject({ objects: 4, transactions: 6, changes: 9 });
    damage(of);
    await expect(verify(objects)).rejects.toMatchObject({ kind: 'refused', message: expect.stringMatching(fact) });
    // Nobody is there to be asked: it is refused before anything is opened.
    const into = { url: 'postgresql://127.0.0.1:1/none', label: 'x', tables: [], until: null } as never;
    await expect(streamArchives.replay(place(objects), into, reading())).rejects.toMatchObject({ kind: 'refused' });
  });

  test('under another key, and without one', async () => {
    const of = directory();
    await writeChain(objectsIn(of), 2);
    expect(await verify(objectsIn(of))).toMatchObject({ transactions: 4 });
    await expect(verify(objectsIn(of, KEYS[1]))).rejects.toMatchObject({ kind: 'refused' });
    await expect(verify(objectsIn(of, null))).rejects.toMatchObject({ kind: 'refused' });
    rewrite(at(of, 1), (bytes) => flip(bytes, 90));
    await expect(verify(objectsIn(of))).rejects.toMatchObject({ kind: 'refused' });
  });
});

describe('chains', () => {
  const item = (seq: number, more: Partial<Header> = {}, before?: Item): Item => {
    const header: Header = {
      format: 1,
      kind: seq === 1 ? 'link' : 'segment',
      run: 'r1',
      phase: 'p',
      seq,
      epoch: '1',
      direction: 'forward',
      from: Lsn.format(before?.until ?? 100n),
      until: Lsn.format((before?.until ?? 90n) + 10n),
      ended: null,
      transactions: 1,
      changes: 1,
      newestMs: 0,
      body: null,
      previous: before?.hash ?? null,
      ...more,
    };
    return { ...itemOf(header), bytes: lineOf(header).length };
  };
  const objects = fresh;
  const check = (items: readonly Item[]) => () => assertContinuous(place(objects()), chainOf(items));

  test('what a sleeper or a lost answer left beside the chain is no part of it', () => {
    const first = item(1);
    const mine = item(2, {}, first);
    const sleeper = item(2, { until: '0/FF' as Position }, first);
    const longer = item(3, {}, sleeper);
    const newer = item(2, { epoch: '2' }, first);
    expect(chainOf([first, mine, sleeper]).items).toEqual([first, sleeper]);
    expect(chainOf([longer, first, mine, sleeper]).items).toEqual([first, sleeper, longer]);
    expect(chainOf([longer, first, mine, newer, sleeper])).toEqual({ items: [first, newer], hole: null });
    expect(chainOf([])).toEqual({ items: [], hole: null });
  });

  test('objects that do not go on where the one before them ended', () => {
    const first = item(1);
    const second = item(2, {}, first);
    const link = (from: bigint, ended: bigint, before: Item): Item =>
      item(
        3,
        {
          kind: 'link',
          direction: 'reverse',
          from: Lsn.format(from),
          until: Lsn.format(from),
          ended: Lsn.format(ended),
        },
        before,
      );
    expect(check([first, second, link(7n, 110n, second)])).not.toThrow();
    expect(check([first, second, link(7n, 111n, second)])).toThrow(/after more than the other lane had brought/);
    const reverse = link(7n, 110n, second);
    const back = item(
      4,
      { kind: 'link', from: Lsn.format(105n), until: Lsn.format(105n), ended: Lsn.format(7n) },
      reverse,
    );
    expect(check([first, second, reverse, back])).toThrow(/begins before its lane had ended/);
    expect(check([first, second, item(3, { from: Lsn.format(111n) }, second)])).toThrow(
      /where the one before it ended/,
    );
    expect(check([first, second, item(3, { direction: 'reverse' }, second)])).toThrow(/where the one before it ended/);
    expect(check([first, second, item(3, { until: Lsn.format(1n) }, second)])).toThrow(/ends before it begins/);
    const newer = item(2, { epoch: '3' }, first);
    expect(check([first, newer, item(3, { epoch: '2' }, newer)])).toThrow(/older epoch/);
  });

  test('keys say all that headers say, and hashes are bound to them', async () => {
    const header = {
      ...({} as Header),
      format: 1,
      kind: 'link',
      run: 'r1',
      phase: 'p',
      seq: 1,
      epoch: '7',
      direction: 'reverse',
      from: '1/A',
      until: '1/A',
      ended: '2/B',
      transactions: 0,
      changes: 0,
      newestMs: 0,
      body: null,
      previous: null,
    } as Header;
    const store = fresh();
    const archive = { ...place(store), epoch: () => 7n };
    await beginArchive(archive, { direction: 'reverse', at: '1/A' as Position, ended: '2/B' as Position });
    const { items } = await readChain(place(store));
    expect(items).toEqual([{ ...itemOf(header), bytes: lineOf(header).length }]);
    expect(hashOf(header)).not.toBe(hashOf({ ...header, run: 'r2' }));
    const older = { ...archive, epoch: () => 6n };
    await expect(resumeArchive(older, { direction: 'reverse', applied: '1/A' as Position })).rejects.toMatchObject({
      kind: 'deposed',
    });
  });

  // The plan had no archive over the switch: what the lanes brought around it is in no object.
  test('a lane that nobody began there never declares that the other one had brought everything', async () => {
    const store = fresh();
    await writeChain(store, 3);
    const { tap, writer } = await open(store, 16n, { direction: 'reverse', epoch: 2n });
    transaction(tap, 20n, 'a');
    await writer.end();
    const { items } = await readChain(place(store));
    expect(items.at(-2)).toMatchObject({ kind: 'link', direction: 'reverse', from: 16n, ended: null });
    const since = async (atLeast: string, reverse: string | null) =>
      await streamArchives.since(place(store), {
        source: { atLeast: atLeast as Position, atMost: atLeast as Position },
        reverse: reverse as Position | null,
      });
    expect(await since('0/64', null)).toMatchObject({ missing: expect.stringMatching(/begins anew/) });
    expect(await since('0/7E', '0/8')).toMatchObject({ missing: expect.stringMatching(/begins anew/) });
    expect(await since('0/90', '0/10')).toMatchObject({ missing: null, transactions: { atLeast: 1, atMost: 1 } });
    // Its own objects are known from then on: it goes on with them.
    const again = await open(store, 999n, { direction: 'reverse', epoch: 2n });
    expect(again.writer.durable).toBe(21n);
    await again.writer.end();
  });

  test('a lane that reads the log of a restored server begins the archive anew, and is not halted by it', async () => {
    const store = fresh();
    await writeChain(store, 3);
    const archive = { ...place(store), epoch: () => 2n };
    await beginArchive(archive, { direction: 'reverse', at: '0/10' as Position, ended: '0/7E' as Position });
    await beginArchive(archive, { direction: 'forward', at: '0/5' as Position, ended: '0/10' as Position });
    const { tap, writer } = await open(store, 0n, { epoch: 2n });
    transaction(tap, 6n, 'a');
    await writer.end();
    expect((await verify(store)).stretches.at(-1)).toEqual({
      direction: 'forward',
      ended: null,
      from: '0/5',
      until: '0/7',
    });
    const since = async (atLeast: string, reverse: string | null) =>
      await streamArchives.since(place(store), {
        source: { atLeast: atLeast as Position, atMost: atLeast as Position },
        reverse: reverse as Position | null,
      });
    expect(await since('0/64', null)).toMatchObject({ missing: expect.stringMatching(/begins anew/) });
  });

  test('what is needed and what is missing, from a state on', async () => {
    const store = fresh();
    await writeChain(store, 3);
    const since = async (atLeast: string, atMost = atLeast, reverse: string | null = null) =>
      await streamArchives.since(place(store), {
        source: { atLeast: atLeast as Position, atMost: atMost as Position },
        reverse: reverse as Position | null,
      });
    const all = { missing: null, transactions: { atLeast: 6, atMost: 6 }, changes: { atLeast: 9, atMost: 9 } };
    expect(await since('0/64')).toMatchObject(all);
    expect(await since('0/63')).toMatchObject({ missing: expect.stringMatching('between 0/63 and 0/64') });
    // The state is within the second one: that is not counted further from outside.
    expect(await since('0/6C')).toMatchObject({ missing: null, transactions: { atLeast: 2, atMost: 4 } });
    expect(await since('0/7E')).toMatchObject({ missing: null, transactions: { atLeast: 0, atMost: 0 } });
    const archive = { ...place(store), epoch: () => 2n };
    await beginArchive(archive, { direction: 'reverse', at: '0/10' as Position, ended: '0/7E' as Position });
    const { tap, writer } = await open(store, 0n, { direction: 'reverse', epoch: 2n });
    transaction(tap, 20n, 'a');
    await writer.end();
    expect(await since('0/64')).toMatchObject({ missing: null, transactions: { atLeast: 7, atMost: 7 } });
    expect(await since('0/90')).toMatchObject({ missing: null, transactions: { atLeast: 1, atMost: 1 } });
    expect(await since('0/90', '0/90', '0/15')).toMatchObject({
      missing: null,
      transactions: { atLeast: 0, atMost: 0 },
    });
    const base = (atLeast: string, reverse: string | null) =>
      streamArchives.unneeded(place(store), {
        source: { atLeast: atLeast as Position, atMost: atLeast as Position },
        reverse: reverse as Position | null,
      });
    expect((await base('0/64', null)).length).toBe(1);
    expect((await base('0/90', null)).length).toBe(4);
    expect((await base('0/90', '0/10')).length).toBe(5);
    const [, ...rest] = await base('0/90', null);
    for (const { key } of rest) await store.remove(key);
    await expect(verify(store)).rejects.toMatchObject({ message: expect.stringMatching(/older objects are there/) });
    const halted = { kind: 'halted', findings: [{ id: 'lane/archive-gap' }] };
    await expect(open(store, 0n, { direction: 'reverse', epoch: 2n })).rejects.toMatchObject(halted);
    expect(await since('0/64')).toMatchObject({ missing: expect.stringMatching(/older objects are there/) });
  });

  test('what stands beside the chain goes with its neighbours, before any of them', async () => {
    const store = fresh();
    await writeChain(store, 3);
    const { items } = await readChain(place(store));
    const beside = emptySegment(2, { from: '0/64' as Position, until: '0/65' as Position }, items[0]);
    await putHeader(store, beside);
    const base = { source: { atLeast: '0/6B' as Position, atMost: '0/6B' as Position }, reverse: null };
    const unneeded = await streamArchives.unneeded(place(store), base);
    expect(unneeded.map(({ key }) => key)).toEqual([items[0]?.key, itemOf(beside).key, items[1]?.key]);
    for (const { key } of unneeded) {
      await store.remove(key);
      expect(await streamArchives.since(place(store), base)).toMatchObject({ missing: null });
    }
    expect((await readChain(place(store))).items).toEqual(items.slice(2));
    await (await open(store, 0n)).writer.end();
  });
});
