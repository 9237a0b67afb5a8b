import { mkdtemp, readdir, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SpoolPlace } from '../../src/engines/stream/spool.ts';
import { type StreamedTransaction, StreamedTransactions } from '../../src/engines/stream/streamed.ts';
import { randomFrom, testSeed } from '../support/random.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'switchback-streamed-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

/** A message as it comes within a segment: a type, the number of the subtransaction, and something to know it by. */
const messageOf = (xid: number, text: string): Buffer => {
  const number = Buffer.alloc(4);
  number.writeUInt32BE(xid >>> 0);
  return Buffer.concat([Buffer.from('I'), number, Buffer.from(text)]);
};

const textsOf = async (transaction: StreamedTransaction | undefined): Promise<string[]> => {
  const texts: string[] = [];
  for await (const spans of transaction?.blocks() ?? []) {
    for (const { bytes, start, end } of spans) texts.push(bytes.toString('utf8', start + 5, end));
  }
  await transaction?.close();
  return texts;
};

const streamed = (place = new SpoolPlace(directory)): { it: StreamedTransactions; failed: Promise<unknown> } => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  return {
    it: new StreamedTransactions({ place, onRoom: () => undefined, onFailure: (error) => resolve(error) }),
    failed: promise,
  };
};

/** Temporary files of this process that have no name any more. */
const nameless = async (): Promise<string[]> => {
  const links = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''));
  return (await Promise.all(links)).filter((path) => path.startsWith(directory));
};

interface Level {
  xid: number | null;
  readonly savepoint: number;
}

/**
 * One session with savepoints, as a server numbers them: a subtransaction gets its number when it first writes, after those
 * around it, and what is rolled back is told only when some of it has been sent.
 */
class Session {
  readonly #levels: Level[];
  readonly #xid: () => number;
  readonly top: number;
  /** What would be there if it committed now, with the number that wrote it and those around it. */
  kept: { readonly text: string; readonly around: readonly (Level | undefined)[] }[] = [];
  unsent: { readonly xid: number; readonly text: string }[] = [];
  readonly #sent = new Map<number, readonly Level[]>();
  #count = 0;

  constructor(next: () => number) {
    this.#xid = next;
    this.top = next();
    this.#levels = [{ xid: this.top, savepoint: 0 }];
  }

  write(size: number): void {
    for (const level of this.#levels) level.xid ??= this.#xid();
    const xid = this.#levels.at(-1)?.xid ?? 0;
    this.#count += 1;
    const text = `${this.top}:${this.#count}:${'x'.repeat(size)}`;
    this.kept.push({ text, around: [...this.#levels] });
    this.unsent.push({ xid, text });
  }

  savepoint(): void {
    this.#levels.push({ xid: null, savepoint: this.#levels.length });
  }

  release(): void {
    if (this.#levels.length > 1) this.#levels.pop();
  }

  send(): readonly { readonly xid: number; readonly text: string }[] {
    const sent = this.unsent;
    for (const { xid, text } of sent) {
      const around = this.kept.find((change) => change.text === text)?.around ?? [];
      this.#sent.set(xid, around as readonly Level[]);
    }
    this.unsent = [];
    return sent;
  }

  /** Rolls back to a savepoint, which begins anew; the numbers of which the other end has to hear, the outer one last. */
  rollBack(depth: number): readonly number[] {
    const gone = this.#levels[depth];
    if (depth === 0 || gone === undefined) return [];
    this.#levels.length = depth;
    this.#levels.push({ xid: null, savepoint: depth });
    const lost = new Set(this.kept.filter(({ around }) => around.includes(gone)).map(({ text }) => text));
    this.kept = this.kept.filter(({ text }) => !lost.has(text));
    this.unsent = this.unsent.filter(({ text }) => !lost.has(text));
    const told = [...this.#sent].filter(([, around]) => around.includes(gone)).map(([xid]) => xid);
    for (const xid of told) this.#sent.delete(xid);
    const within = told.filter((xid) => xid !== gone.xid).sort((a, b) => (a - b) | 0);
    return told.includes(gone.xid ?? -1) ? [...within, gone.xid ?? -1] : within;
  }
}

describe('streamed transactions', () => {
  test('come back whole and in order, whatever their segments and sizes, and leave no file', async () => {
    const { it } = streamed();
    const texts = new Map<number, string[]>([7, 8, 9].map((xid) => [xid, []]));
    for (let round = 0; round < 300; round++) {
      const xid = 7 + (round % 3);
      it.start(xid);
      for (let i = 0; i < 10; i++) {
        const text = `${round}.${i} ${'ü'.repeat(round % 50 === 49 ? 400_000 : round * 3)}`;
        texts.get(xid)?.push(text);
        it.add(messageOf(xid, text));
      }
      it.stop();
    }
    expect(await textsOf(it.take(8))).toEqual(texts.get(8));
    it.abort(9, 9);
    expect(it.take(9)).toBeUndefined();
    expect(await textsOf(it.take(7))).toEqual(texts.get(7));
    expect(await readdir(directory)).toEqual([]);
    await it.close();
    await expect.poll(nameless).toEqual([]);
  });

  test('what names no subtransaction is nothing to apply, and a transaction without changes makes no file', async () => {
    const { it } = streamed();
    it.start(7);
    it.add(Buffer.from('O12345678elsewhere\0'));
    it.stop();
    it.abort(7, 8);
    expect(it.take(7)).toBeUndefined();
    expect(await nameless()).toEqual([]);
  });

  test('close takes along what is still open', async () => {
    const { it } = streamed();
    it.start(7);
    it.add(messageOf(7, 'x'));
    it.stop();
    await expect.poll(nameless).toHaveLength(1);
    await it.close();
    expect(await nameless()).toEqual([]);
  });

  test('savepoints that are released, rolled back and nested in each other, at any moment of any segment', async () => {
    const seed = testSeed();
    const random = randomFrom(seed);
    const below = (n: number): number => Math.floor(random() * n);
    for (let round = 0; round < 300; round++) {
      // Numbers that wrap around in the middle.
      let last = 2 ** 32 - below(40);
      const next = (): number => last++ >>> 0;
      const { it } = streamed();
      const sessions = [new Session(next), new Session(next)];
      for (let step = 0; step < 60; step++) {
        const session = sessions[below(2)] ?? new Session(next);
        const act = random();
        if (act < 0.4) session.write(below(200));
        else if (act < 0.55) session.savepoint();
        else if (act < 0.65) session.release();
        else if (act < 0.8) for (const xid of session.rollBack(1 + below(4))) it.abort(session.top, xid);
        else {
          it.start(session.top);
          for (const { xid, text } of session.send()) it.add(messageOf(xid, text));
          it.stop();
        }
      }
      for (const session of sessions) {
        it.start(session.top);
        for (const { xid, text } of session.send()) it.add(messageOf(xid, text));
        it.stop();
        expect(await textsOf(it.take(session.top)), `seed ${seed}, round ${round}`).toEqual(
          session.kept.map(({ text }) => text),
        );
      }
      await it.close();
    }
  });

  test('hundreds of thousands of savepoints that are rolled back cost no memory', async () => {
    const { it } = streamed();
    const before = process.memoryUsage();
    it.start(1);
    for (let i = 1; i <= 1_000_000; i++) {
      it.add(messageOf(i, ''));
      if (i % 1_000 !== 0) continue;
      it.stop();
      for (let xid = i - 400; xid <= i; xid++) it.abort(1, xid);
      it.start(1);
    }
    it.stop();
    const after = process.memoryUsage();
    expect((await textsOf(it.take(1))).length).toBe(599_000);
    expect((after.rss - before.rss) / 2 ** 20).toBeLessThan(100);
  });
});

describe('a place that cannot hold them', () => {
  const fill = (it: StreamedTransactions): void => {
    it.start(7);
    it.add(messageOf(7, 'x'));
    it.stop();
  };

  test.each([
    ['that is not there', () => new SpoolPlace(join(directory, 'nowhere')), /nowhere cannot hold .* \(ENOENT/],
    ['that has no room left', () => new SpoolPlace(directory, 1), /\(less than 100% of that disk is free\)/],
    ['that is a file', () => new SpoolPlace('/dev/null'), /\/dev\/null cannot hold .*; from now on the server/],
  ])('%s is given up', async (_, make, message) => {
    const place = make();
    const { it, failed } = streamed(place);
    expect(place.isUsable).toBe(true);
    fill(it);
    expect(await failed).toMatchObject({ kind: 'busy', message: expect.stringMatching(message) });
    expect(place.isUsable).toBe(false);
    await expect(textsOf(it.take(7))).rejects.toMatchObject({ kind: 'busy' });
    await it.close();
    expect(await readdir(directory)).toEqual([]);
  });
});
