import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FlakyProxy } from '../../scripts/chaos/proxy.ts';
import { sleep } from '../../src/platform/clock.ts';

/** A proxy that changed bytes or their order would plant faults of its own: an echo must come back as it was sent. */
let server: Server;
let proxy: FlakyProxy;
const accepted: Socket[] = [];
let received = '';

beforeEach(async () => {
  received = '';
  server = createServer((socket) => {
    accepted.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      received += chunk.toString();
      socket.write(chunk);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await FlakyProxy.start((server.address() as AddressInfo).port);
});

afterEach(async () => {
  await proxy.close();
  for (const socket of accepted.splice(0)) socket.destroy();
  server.close();
});

interface Caller {
  readonly socket: Socket;
  heard: string;
  closed: boolean;
}

const call = async (): Promise<Caller> => {
  const socket = connect(proxy.port, '127.0.0.1');
  const caller: Caller = { socket, heard: '', closed: false };
  socket.on('error', () => undefined);
  socket.on('close', () => {
    caller.closed = true;
  });
  socket.on('data', (chunk) => {
    caller.heard += chunk.toString();
  });
  await once(socket, 'connect');
  return caller;
};

const NUMBERS = Array.from({ length: 400 }, (_, i) => `${i} `);

describe('the proxy', () => {
  it('keeps every byte in order while it is slow, changes its pace and is healed', async () => {
    const caller = await call();
    for (const [i, text] of NUMBERS.entries()) {
      if (i === 50) proxy.inject({ kind: 'delay', ms: 40 });
      if (i === 120) proxy.inject({ kind: 'delay', ms: 5 });
      if (i === 200) proxy.heal();
      if (i === 250) proxy.inject({ kind: 'delay', ms: 20 });
      caller.socket.write(text);
      await sleep(1);
    }
    proxy.heal();
    await expect.poll(() => caller.heard).toBe(NUMBERS.join(''));
    caller.socket.destroy();
  });

  it('loses nothing in silence, on old connections and new ones', async () => {
    const old = await call();
    old.socket.write('a');
    await expect.poll(() => old.heard).toBe('a');
    proxy.inject({ kind: 'silence' });
    const young = await call();
    old.socket.write('b');
    young.socket.write('c');
    await sleep(100);
    expect([old.heard, young.heard]).toEqual(['a', '']);
    proxy.heal();
    await expect.poll(() => [old.heard, young.heard]).toEqual(['ab', 'c']);
    for (const { socket } of [old, young]) socket.destroy();
  });

  it('mute: the server hears what it is sent, its answer never arrives, and healing resets the connection', async () => {
    const caller = await call();
    caller.socket.write('a');
    await expect.poll(() => caller.heard).toBe('a');
    proxy.inject({ kind: 'mute' });
    caller.socket.write('b');
    await expect.poll(() => received).toBe('ab');
    await sleep(50);
    proxy.heal();
    await expect.poll(() => caller.closed).toBe(true);
    expect(caller.heard).toBe('a');
  });

  it('cuts a connection after so many bytes, and lets the server have them', async () => {
    const caller = await call();
    proxy.inject({ kind: 'cut', bytes: 3 });
    caller.socket.write('abcdef');
    await expect.poll(() => caller.closed).toBe(true);
    expect(received).toBe('abc');
  });

  it.each([true, false])('resets a connection that asks for a COMMIT; heard by the server: %s', async (isHeard) => {
    const caller = await call();
    proxy.inject({ kind: 'commit', isHeard });
    caller.socket.write('BEGIN\0');
    await expect.poll(() => caller.heard).toBe('BEGIN\0');
    caller.socket.write('COMMIT\0');
    await expect.poll(() => caller.closed).toBe(true);
    expect([caller.heard, received]).toEqual(['BEGIN\0', isHeard ? 'BEGIN\0COMMIT\0' : 'BEGIN\0']);
  });

  it('half-open: the server is rid of it, the client hears nothing, and healing resets it', async () => {
    const caller = await call();
    caller.socket.write('a');
    await expect.poll(() => caller.heard).toBe('a');
    proxy.inject({ kind: 'half-open' });
    await expect.poll(() => accepted[0]?.destroyed).toBe(true);
    caller.socket.write('b');
    await sleep(100);
    expect(caller).toMatchObject({ heard: 'a', closed: false });
    proxy.heal();
    await expect.poll(() => caller.closed).toBe(true);
  });

  it('resets connections, and those to come until it is healed', async () => {
    const caller = await call();
    proxy.inject({ kind: 'reset' });
    await expect.poll(() => caller.closed).toBe(true);
    const refused = await call().catch(() => undefined);
    await expect.poll(() => refused?.closed ?? true).toBe(true);
    proxy.heal();
    const after = await call();
    after.socket.write('a');
    await expect.poll(() => after.heard).toBe('a');
    after.socket.destroy();
  });
});
