import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it, vi } from 'vitest';
import { servicesDirectory } from '../../scripts/services/tree.ts';
import { after } from '../../src/platform/clock.ts';

const PROGRAM = 'usr/bin/moto_server';
const READY_WITHIN_MS = 60_000;

/** What keeps moto from running here; undefined when nothing does. */
const motoProblem = (): string | undefined => {
  const tree = servicesDirectory();
  if (!existsSync(join(tree, PROGRAM))) return `there is no ${join(tree, PROGRAM)}: npm run services`;
  return process.getuid?.() === 0 ? undefined : 'only root can run it in its tree';
};

/** Starts a moto on a port of its own choice; it says where on its standard error. */
const startMoto = async (): Promise<{ readonly url: string; readonly process: ChildProcess }> => {
  const argv = [servicesDirectory(), '/usr/bin/moto_server', '-H', '127.0.0.1', '-p', '0'];
  const started = spawn('chroot', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  const told = Promise.withResolvers<string>();
  const cancel = after(READY_WITHIN_MS, () => told.reject(new Error('moto does not answer')));
  let said = '';
  started.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
    const url = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(said)?.[1];
    if (url !== undefined) told.resolve(url);
  });
  started.once('exit', () => told.reject(new Error(`moto ended: ${said}`)));
  try {
    return { url: await told.promise, process: started };
  } catch (error) {
    started.kill('SIGKILL');
    throw error;
  } finally {
    cancel();
  }
};

/** What the SDK finds in the environment, so that it asks there and nowhere else, with credentials that are worth nothing. */
export const useEndpoint = (url: string): void => {
  vi.stubEnv('AWS_ENDPOINT_URL', url);
  vi.stubEnv('AWS_REGION', 'eu-central-1');
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
};

/**
 * Tests on moto, an independent imitation of AWS, as the distribution has it. Nothing of them says how AWS itself behaves
 * where moto differs. Where there is none they are skipped, with a line that says so; under CI=true that is a failure.
 */
export const describeWithMoto = (name: string, tests: () => void): void => {
  const missing = motoProblem();
  if (missing !== undefined && process.env.CI === 'true') {
    it(`${name} needs moto`, () => {
      throw new Error(missing);
    });
    return;
  }
  if (missing !== undefined) {
    process.stderr.write(`SKIPPED: no moto here, so nothing is known about the routers of AWS: ${missing}\n`);
  }
  describe.skipIf(missing !== undefined)(name, () => {
    let moto: ChildProcess | undefined;
    beforeAll(async () => {
      const started = await startMoto();
      moto = started.process;
      useEndpoint(started.url);
    });
    afterAll(async () => {
      vi.unstubAllEnvs();
      if (moto === undefined) return;
      const ended = once(moto, 'exit');
      moto.kill('SIGKILL');
      await ended;
    });
    tests();
  });
};
