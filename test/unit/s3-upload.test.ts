import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
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
