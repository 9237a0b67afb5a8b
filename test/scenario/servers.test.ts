import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { startServer } from '../../src/demo/servers.ts';
import { sleep } from '../../src/platform/clock.ts';
import { runSql } from '../support/servers.ts';

const serversModule = fileURLToPath(new URL('../../src/demo/servers.ts', import.meta.url));

/** Asked of the server and not of its process id, which an unreaped process keeps. */
const answers = async (url: string): Promise<boolean> => {
  try {
    await runSql(url, 'SELECT 1');
    return true;
  } catch {
    return false;
  }
};

describe('an embedded server', () => {
  it.each([13, 18] as const)('of version %i keeps what was committed over a crash and a stop', async (version) => {
    const server = await startServer({ version, settings: { work_mem: '7MB', application_name: "it's" } });
    try {
      expect(server.version.split('.')[0]).toBe(String(version));
      const settings = `SELECT current_setting('work_mem') m, current_setting('wal_level') w, current_setting('fsync') f`;
      expect(await runSql(server.url, settings)).toEqual([{ m: '7MB', w: 'logical', f: 'on' }]);
      await runSql(server.url, 'CREATE TABLE t AS SELECT 1 AS a');
      const pidBefore = server.pid;
      await server.kill();
      expect(server.pid).toBeUndefined();
      await server.start();
      expect(server.pid).not.toBe(pidBefore);
      await runSql(server.url, 'INSERT INTO t VALUES (2)');
      await server.stop();
      await server.stop();
      await server.start();
      await server.start();
      expect(await runSql(server.url, 'SELECT sum(a)::int AS s FROM t')).toEqual([{ s: 3 }]);
    } finally {
      await server.stopAndRemove();
    }
    expect(existsSync(server.directory)).toBe(false);
  });

  it('says why it does not start', async () => {
    await expect(startServer({ version: 18, settings: { no_such_setting: '1' } })).rejects.toThrow('no_such_setting');
  });

  // A test that is killed, or a demo whose terminal is closed, must not leave a server behind for ever.
  it.each([
    ['ends with a process that is killed', '', false],
    ['stays when it was left running', 'server.leaveRunning();', true],
  ])('%s', async (_what, before, stays) => {
    const script = `
      const { startServer } = await import(${JSON.stringify(serversModule)});
      const server = await startServer({ version: 18 });
      ${before}
      const { pid, directory, url } = server;
      process.stdout.write(JSON.stringify({ pid, directory, url }), () => process.kill(process.pid, 'SIGKILL'));`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    await once(child, 'close');
    const { pid, directory, url } = JSON.parse(said) as { pid: number; directory: string; url: string };
    try {
      if (stays) await sleep(500);
      await expect.poll(() => answers(url)).toBe(stays);
    } finally {
      if (stays) process.kill(pid, 'SIGQUIT');
      await expect.poll(() => existsSync(join(directory, 'data', 'postmaster.pid'))).toBe(false);
      rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    }
  });
});
