import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { promelaOf } from '../../scripts/promela.ts';
import type { SwitchStep } from '../../src/domain/protocol.ts';

const run = promisify(execFile);

/** More than this a run may not take, in megabytes. */
const MEMORY_MB = 3_500;

/** One run of the model checker. */
export interface Check {
  /** `-D` definitions of cutover.pml, e.g. `WRITES=2`. */
  readonly define: readonly string[];
  /** The steps in their order; a mutant may have another one. */
  readonly steps: readonly SwitchStep[];
  /** The liveness claim to check, under weak fairness; without one, assertions and end states. */
  readonly claim?: string;
}

/** What it found. */
export interface Verdict {
  readonly errors: number;
  readonly states: number;
  readonly seconds: number;
  /** The assertion that failed, or `acceptance cycle`; null when nothing did. */
  readonly violated: string | null;
  /** False when the search ended before every state was seen, for memory or for depth. */
  readonly complete: boolean;
}

const isOnPath = (program: string): boolean =>
  (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

/** The programs that a check needs and this machine does not have. */
export const missingPrograms = (): readonly string[] => ['spin', 'cc'].filter((program) => !isOnPath(program));

const numberAfter = (pattern: RegExp, text: string): number => {
  const found = pattern.exec(text)?.[1];
  if (found === undefined) throw new Error(`Spin said nothing of ${pattern}:\n${text}`);
  return Number(found);
};

const read = (text: string): Verdict => {
  const violated = /pan:\d+: (?:assertion violated (.*) \(at depth|(acceptance cycle)|(invalid end state))/.exec(text);
  return {
    errors: numberAfter(/errors: (\d+)/, text),
    states: numberAfter(/^\s*(\d+) states, stored/m, text),
    seconds: numberAfter(/elapsed time ([\d.e+-]+) seconds/, text),
    violated: violated === null ? null : (violated[1] ?? violated[2] ?? violated[3] ?? ''),
    complete: !/Search not completed|out of memory|max search depth too small|MEMLIM/.test(text),
  };
};

/** Makes the checker for a model with Spin and the C compiler, and runs it. */
export const runCheck = async (check: Check): Promise<Verdict> => {
  const folder = await mkdtemp(join(tmpdir(), 'switchback-model-'));
  try {
    await copyFile(fileURLToPath(new URL('cutover.pml', import.meta.url)), join(folder, 'cutover.pml'));
    await writeFile(join(folder, 'protocol.pml'), promelaOf(check.steps));
    const at = { cwd: folder, maxBuffer: 64 * 1024 * 1024 };
    await run('spin', [...check.define.map((one) => `-D${one}`), '-a', 'cutover.pml'], at);
    const kind = check.claim === undefined ? ['-DSAFETY', '-DNOCLAIM'] : ['-DNFAIR=4'];
    await run('cc', ['-w', '-O2', '-DCOLLAPSE', `-DMEMLIM=${MEMORY_MB}`, ...kind, '-o', 'pan', 'pan.c'], at);
    const claim = check.claim === undefined ? [] : ['-a', '-f', '-N', check.claim];
    const { stdout } = await run(join(folder, 'pan'), ['-m200000', '-w24', ...claim], at);
    return read(stdout);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};
