import { existsSync, globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, describe, it } from 'vitest';
import { servicesDirectory } from '../../scripts/services/tree.ts';
import {
  type ProxyOptions,
  type ProxyProgram,
  proxyProblem,
  type RunningProxy,
  startProxy,
} from '../../src/demo/proxies.ts';

/** Makes a proxy from within a hook or a test; it is removed after the tests. */
export type MakeProxy = (options: Omit<ProxyOptions, 'program'>) => Promise<RunningProxy>;

/** A HAProxy that tests run on. */
export interface ProxyUnderTest {
  readonly makeProxy: MakeProxy;
  /** Whether it can keep clients waiting (haproxy/haproxy#2726). */
  readonly holds: boolean;
}

/** The program of the tree, run by the tree's own loader with its own libraries, which needs no chroot. */
const programOfTree = (): ProxyProgram | undefined => {
  const tree = servicesDirectory();
  const program = join(tree, 'usr/sbin/haproxy');
  const [loader] = globSync(join(tree, 'usr/lib/*/ld-linux-*.so.*'));
  return loader !== undefined && existsSync(program) ? [loader, '--library-path', dirname(loader), program] : undefined;
};

const describeOn = (name: string, program: ProxyProgram, tests: (makeProxy: MakeProxy) => void): void => {
  describe(name, () => {
    const proxies: RunningProxy[] = [];
    afterAll(async () => {
      await Promise.all(proxies.map((proxy) => proxy.stopAndRemove()));
    });
    tests(async (options) => {
      const proxy = await startProxy({ ...options, program });
      proxies.push(proxy);
      return proxy;
    });
  });
};

/**
 * Tests that need HAProxies: that of the distribution, and the newer one of the tree of another suite. Where one is missing
 * they are skipped, with a line that says so; under CI=true that is a failure.
 */
export const describeWithProxies = (name: string, tests: (proxy: ProxyUnderTest) => void): void => {
  const programs = [
    { where: 'the distribution', program: ['haproxy'] as const, holds: false },
    { where: 'the tree of services', program: programOfTree(), holds: true },
  ];
  for (const { where, program, holds } of programs) {
    const missing = program === undefined ? 'it has none' : proxyProblem(program);
    if (program !== undefined && missing === undefined) {
      describeOn(`${name}, HAProxy of ${where}`, program, (makeProxy) => tests({ makeProxy, holds }));
    } else if (process.env.CI === 'true') {
      it(`${name} needs HAProxy of ${where}`, () => {
        throw new Error(missing);
      });
    } else {
      process.stderr.write(`SKIPPED: no HAProxy of ${where}, so nothing is known of its router there: ${missing}\n`);
    }
  }
};
