import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { Receiver } from '../../src/engines/stream/receiver.ts';
import { SpoolPlace } from '../../src/engines/stream/spool.ts';
import { tupleOf } from '../../src/rows/tuple.ts';

const u8 = (value: number): Buffer => Buffer.from([value]);
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const u64 = (value: number): Buffer => Buffer.concat([u32(0), u32(value)]);
const message = (type: string, ...parts: Buffer[]): Buffer => Buffer.concat([Buffer.from(type), ...parts]);

/** Changes of our own marker are not applied, so they need no table: only their transactions show. */
const relation = (...xid: Buffer[]): Buffer =>
  message(
    'R',
    ...xid,
    u32(5),
    Buffer.from('switchback\0marker\0d'),
    Buffer.from([0, 2]),
    ...['lane', 'seq'].flatMap((name) => [u8(1), Buffer.from(`${name}\0`), u32(25), u32(0xffffffff)]),
  );
const marker = (seq: number, ...xid: Buffer[]): Buffer =>
  message('I', ...xid, u32(5), Buffer.from('N'), tupleOf([Buffer.from('all/forward'), Buffer.from(`${seq}`)]).bytes);

const plain = (seq: number): readonly Buffer[] => [
  message('B', u64(seq), u64(0), u32(seq)),
  relation(),
  marker(seq),
  message('C', u8(0), u64(seq), u64(seq + 1), u64(0)),
];
const segment = (xid: number): readonly Buffer[] => [
  message('S', u32(xid), u8(1)),
  relation(u32(xid)),
  ...Array.from({ length: 20_000 }, () => marker(xid, u32(xid))),
  message('E'),
];
const commit = (xid: number, at: number): Buffer => message('c', u32(xid), u8(0), u64(at), u64(at + 1), u64(0));

const receiver = () => {
  const failures: unknown[] = [];
  const tables = { tables: new Map(), written: new Map(), side: 'target', marker: 'switchback.marker' };
  const place = new SpoolPlace(tmpdir());
  const onFailure = (error: unknown): void => void failures.push(error);
  const it = new Receiver({ lane: 'all/forward', tables, place, onRoom: () => undefined, onFailure });
  return { it, failures };
};

/** Where the transactions were committed that are handed out, in that order, until nothing more comes. */
const commitsOf = async (it: Receiver): Promise<readonly bigint[]> => {
  const commits: bigint[] = [];
  for (;;) {
    const batch = await it.queue.take(new AbortController().signal);
    if (batch === null) return commits;
    commits.push(...batch.endings.map(({ commitLsn }) => commitLsn));
  }
};

// All of this may come in one piece from the socket, which hears that it has to wait only afterwards.
test('what comes behind the commit of a streamed transaction waits until that has been read back', async () => {
  const { it, failures } = receiver();
  const frames = [...plain(1), ...segment(100), ...plain(2), ...segment(200), ...segment(300)];
  frames.push(
    commit(200, 3),
    ...plain(4),
    commit(100, 5),
    ...plain(6),
    commit(999, 7),
    message('A', u32(300), u32(300)),
  );
  for (const frame of frames) it.receive({ bytes: frame, start: 0, end: frame.length });
  expect(it.isFull).toBe(true);
  await expect.poll(() => it.isFull).toBe(false);
  it.end();
  expect(await commitsOf(it)).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n]);
  expect(failures).toEqual([]);
  await it.close();
});

test('a transaction that is read back when the stream breaks is handed out before the failure, and nothing after it', async () => {
  const { it } = receiver();
  for (const frame of [...segment(100), commit(100, 3), ...plain(4)])
    it.receive({ bytes: frame, start: 0, end: frame.length });
  it.end(new Error('broken'));
  const batch = await it.queue.take(new AbortController().signal);
  expect(batch?.endings.map(({ commitLsn }) => commitLsn)).toEqual([3n]);
  await expect(it.queue.take(new AbortController().signal)).rejects.toThrow('broken');
  await it.close();
});

test('a change of a relation that nobody described is a failure, also when it is read back', async () => {
  const { it, failures } = receiver();
  const start = message('S', u32(100), u8(1));
  for (const frame of [start, marker(1, u32(100)), message('E'), commit(100, 3), ...plain(4)])
    it.receive({ bytes: frame, start: 0, end: frame.length });
  await expect.poll(() => failures).toHaveLength(1);
  expect(String(failures[0])).toContain('was not described: 5');
  await it.close();
});
