import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { PART_BYTES, partsFor } from '../../src/platform/objects/parts.ts';
import { S3Objects } from '../../src/platform/objects/s3.ts';
import { failureOf, piecesOf } from '../contract/objects.ts';

/** Answers as S3 does to what is put, when the test lets it; whoever asks for parts has no right to. */
let server: Server;
let seen: string[];
let hold: Promise<void>;

beforeEach(async () => {
  seen = [];
  hold = Promise.resolve();
  server = createServer(async (request: IncomingMessage, response) => {
    await text(request);
    seen.push(`${request.method} ${request.url?.split('?')[1] ?? ''}`);
    await hold;
    if (request.method === 'PUT') response.writeHead(200, { etag: '"1"' }).end();
    else response.writeHead(403).end('<Error><Code>AccessDenied</Code></Error>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  vi.stubEnv('AWS_ENDPOINT_URL', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
});

afterEach(async () => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const objects = () => new S3Objects({ bucket: 'shop', prefix: '', region: 'eu-central-1' });

it('an object that fits into one request has longer than a question has: a line may be slow', async () => {
  const answer = Promise.withResolvers<void>();
  hold = answer.promise;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const put = objects().put('one', piecesOf('x'));
  await vi.waitFor(() => expect(seen).toHaveLength(1));
  await vi.advanceTimersByTimeAsync(100_000);
  answer.resolve();
  expect(await put).toEqual({ key: 'one', bytes: 1 });
});

const GIB = 1024 ** 3;

it('an object is cut so that S3 takes all of its parts, and no more of it is held than has to be', () => {
  for (const size of [0, GIB, 156 * GIB, 157 * GIB, 1024 * GIB, 5 * 1000 ** 4]) {
    const { bytes, atOnce } = partsFor('writing it', size);
    expect(bytes).toBeGreaterThanOrEqual(PART_BYTES);
    expect(bytes * 10_000).toBeGreaterThan(size * 1.001);
    expect(bytes * atOnce).toBeLessThanOrEqual(Math.max(3 * PART_BYTES, bytes));
  }
});

it('an object that is announced as large goes in larger parts, and one that is too large is refused before any is sent', async () => {
  const twenty = () => piecesOf(...Array<Buffer>(20).fill(Buffer.alloc(1024 * 1024)));
  await objects().put('one', twenty(), 200 * GIB);
  // It would be in two of 16 MiB.
  expect(seen.filter((line) => line.startsWith('P'))).toEqual(['PUT x-id=PutObject']);
  seen = [];
  expect(await failureOf(objects().put('one', twenty(), 6 * 1024 * GIB))).toMatchObject({
    kind: 'refused',
    message: expect.stringContaining('more than S3 takes'),
  });
  expect(seen).toEqual([]);
});
