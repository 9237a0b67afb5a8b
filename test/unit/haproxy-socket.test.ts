import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { Instance, leadsTo } from '../../src/routers/haproxy/instance.ts';
import { resolveSide } from '../../src/routers/haproxy/sides.ts';

/** Answers of a process that real ones give at moments that no test can choose: one that dies, or does an earlier command late. */
const folder = mkdtempSync(join(tmpdir(), 'switchback-haproxy-'));
const config = join(folder, 'haproxy.cfg');
const socket = join(folder, 'socket');
const asked: string[] = [];
let answerTo: (command: string) => string = () => '\n';
const server = createServer((connection) => {
  connection.once('data', (data) => {
    const command = data.toString().trim();
    asked.push(command);
    connection.end(answerTo(command));
  });
});

beforeAll(async () => {
  writeFileSync(config, 'frontend in\n    maxconn 40\n');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
});
beforeEach(() => {
  asked.length = 0;
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

const instance = new Instance({ socket, config });

test.each([
  ['', 'unreachable', 'it ended without an answer'],
  ['Value out of range.\n\n', 'refused', 'Value out of range'],
  ['Integer value expected.\n\n', 'refused', 'Integer value expected'],
])('a command that is answered by %j was not done', async (answer, kind, message) => {
  answerTo = () => answer;
  await expect(instance.socket.setLimit('in', 1)).rejects.toMatchObject({
    kind,
    message: expect.stringContaining(message),
  });
});

test('a release comes behind a hold that is still to be carried out, although nobody is seen to be held', async () => {
  answerTo = (command) =>
    command === 'show info' ? 'Version: 3.2.1\nMaxconn: 500\n\n' : '# pxname,svname,slim\nin,FRONTEND,40\n\n';
  await instance.release('in');
  expect(asked.at(-1)).toBe('set maxconn frontend in 40');
});

test('an address is the same in any spelling', async () => {
  const columns = '# be_name srv_name srv_addr srv_op_state srv_admin_state srv_port';
  answerTo = () => `1\n${columns}\nshop db fd00::5 2 0 5432\n\n`;
  const shown = await instance.socket.server({ backend: 'shop', server: 'db' });
  expect(leadsTo(shown, await resolveSide({ host: 'FD00:0::5', port: '5432' }))).toBe(true);
});
