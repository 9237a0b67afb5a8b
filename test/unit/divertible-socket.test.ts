import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DivertibleSocket } from '../../src/platform/postgres/divertible-socket.ts';

let server: Server;
/** The other end. */
let peer: Socket;
let socket: DivertibleSocket;

beforeEach(async () => {
  server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  socket = new DivertibleSocket();
  socket.connect((server.address() as AddressInfo).port, '127.0.0.1');
  [peer] = (await once(server, 'connection')) as [Socket];
  peer.on('error', () => undefined);
});

afterEach(() => {
  socket.destroy();
  peer.destroy();
  server.close();
});

/** What comes, as it is at that time; `kept` are the bytes themselves, which later reads may change. */
const listen = (): { text: string; readonly kept: Buffer[] } => {
  const heard = { text: '', kept: [] as Buffer[] };
  socket.on('data', (bytes: Buffer) => {
    heard.text += bytes.toString('latin1');
    heard.kept.push(bytes);
  });
  return heard;
};

const take = (): { text: string; readonly kept: Buffer[] } => {
  const taken = { text: '', kept: [] as Buffer[] };
  socket.divert((bytes) => {
    taken.text += bytes.toString('latin1');
    taken.kept.push(bytes);
  });
  return taken;
};

/** Sends, and waits until it has come. */
const send = async (text: string, to: { readonly text: string }): Promise<void> => {
  peer.write(text);
  await expect.poll(() => to.text.endsWith(text)).toBe(true);
};

describe('a socket whose bytes can be had past its listeners', () => {
  test('gives them to its listeners by itself, who may keep them', async () => {
    const heard = listen();
    await send('one', heard);
    await send('two', heard);
    expect(heard.kept.map(String)).toEqual(['one', 'two']);
  });

  test('gives them to the taker, and then to the listeners again, each byte once', async () => {
    const heard = listen();
    await send('before', heard);
    const taken = take();
    await send('rows', taken);
    socket.divert(null);
    await send('after', heard);
    expect([heard.text, taken.text]).toEqual(['beforeafter', 'rows']);
  });

  test('reads into one buffer, and leaves it to a taker who says so', async () => {
    const taken = take();
    await send('first', taken);
    await send('again', taken);
    expect(taken.kept.map(String)).toEqual(['again', 'again']);
    expect(taken.kept[0]?.buffer).toBe(taken.kept[1]?.buffer);
    socket.divert((bytes) => {
      taken.text += bytes.toString('latin1');
      taken.kept.push(bytes);
      socket.divert(null);
      socket.spare();
    });
    const heard = listen();
    await send('kept!', taken);
    await send('other', heard);
    expect(taken.kept.map(String).at(-1)).toBe('kept!');
  });

  test('reads nothing while it is paused', async () => {
    const taken = take();
    await send('kept!', taken);
    socket.pause();
    peer.write('other');
    for (let turn = 0; turn < 20; turn++) await setImmediate();
    expect(taken.kept.map(String)).toEqual(['kept!']);
    socket.resume();
    await expect.poll(() => taken.text).toBe('kept!other');
  });

  test('paused and resumed and paused again in one turn, it still reads nothing', async () => {
    const taken = take();
    await send('kept!', taken);
    socket.pause();
    peer.write('other');
    await setImmediate();
    socket.resume();
    socket.pause();
    for (let turn = 0; turn < 20; turn++) await setImmediate();
    expect([taken.text, socket.destroyed]).toEqual(['kept!', false]);
  });

  test('reads no more than a listener takes', async () => {
    socket.on('readable', () => undefined);
    const sent = 'x'.repeat(64 * 2 ** 20);
    peer.write(sent);
    await expect.poll(() => socket.readableLength).toBeGreaterThan(0);
    for (let turn = 0; turn < 50; turn++) await setImmediate();
    expect(socket.readableLength).toBeLessThan(2 ** 20);
    let length = 0;
    for await (const bytes of socket) {
      length += (bytes as Buffer).length;
      if (length === sent.length) break;
    }
    expect(length).toBe(sent.length);
  });

  test('tells of a lost connection as any other', async () => {
    const taken = take();
    await send('last', taken);
    const failed = once(socket, 'error');
    peer.resetAndDestroy();
    await expect(failed).resolves.toMatchObject([{ code: 'ECONNRESET' }]);
  });

  test('ends as any other', async () => {
    const taken = take();
    await send('last', taken);
    const ended = once(socket, 'end');
    socket.resume();
    peer.end();
    await ended;
    expect(taken.text).toBe('last');
  });
});
