import { afterAll, describe, it } from 'vitest';
import { proxyOfTree } from '../../scripts/services/haproxy.ts';
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

const PROGRAMS = [
  { where: 'the distribution', program: ['haproxy'] as const, holds: false },
  { where: 'the tree of services', program: proxyOfTree(), holds: true },
];

/** What keeps tests from running on a program; under CI=true a test that fails says so, else a line does. */
const isThere = (name: string, { where, program }: (typeof PROGRAMS)[number]): boolean => {
  const missing = program === undefined ? 'it has none' : proxyProblem(program);
  if (missing === undefined) return true;
  const isFailure = process.env.CI === 'true';
  it.skipIf(!isFailure)(`${name} needs HAProxy of ${where}`, () => {
    throw new Error(missing);
  });
  if (!isFailure) {
    process.stderr.write(`SKIPPED: no HAProxy of ${where}, so nothing is known of its router there: ${missing}\n`);
  }
  return false;
};

/** Makes proxies, and removes them after the tests of this group. */
const makerOf = (program: ProxyProgram | undefined): MakeProxy => {
  const proxies: RunningProxy[] = [];
  afterAll(async () => {
    await Promise.all(proxies.map((proxy) => proxy.stopAndRemove()));
  });
  return async (options) => {
    const proxy = await startProxy(program === undefined ? options : { ...options, program });
    proxies.push(proxy);
    return proxy;
  };
};

/**
 * Tests that need HAProxies, once on that of the distribution and once on the newer one of the tree of another suite. Where
 * one is missing they are skipped, with a line that says so; under CI=true that is a failure.
 */
export const describeWithProxies = (name: string, tests: (proxy: ProxyUnderTest) => void): void => {
  for (const one of PROGRAMS) {
    if (!isThere(name, one)) continue;
    describe(`${name}, HAProxy of ${one.where}`, () => tests({ makeProxy: makerOf(one.program), holds: one.holds }));
  }
};

/** Tests that need one HAProxy of each, side by side: as {@link describeWithProxies}. */
export const describeWithMixedProxies = (name: string, tests: (proxies: readonly ProxyUnderTest[]) => void): void => {
  if (!PROGRAMS.map((one) => isThere(name, one)).every((there) => there)) return;
  describe(name, () => tests(PROGRAMS.map(({ program, holds }) => ({ makeProxy: makerOf(program), holds }))));
};
