import { spawnSync } from 'node:child_process';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';

/** What a reader has to know of where it was measured. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
  /** Short hash of what was measured, with `+` when files were changed since; empty where there is no repository. */
  readonly commit: string;
  readonly date: string;
}

const said = (program: string, args: readonly string[]): string => {
  const here = fileURLToPath(new URL('.', import.meta.url));
  const { status, stdout } = spawnSync(program, args, { cwd: here, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : '';
};

/** Looks at the machine. */
export const readMachine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: availableParallelism(),
  memoryBytes: totalmem(),
  kernel: release(),
  node: process.versions.node,
  commit: said('git', ['rev-parse', '--short', 'HEAD']) + (said('git', ['status', '--porcelain']) === '' ? '' : '+'),
  date: new Date().toISOString().slice(0, 10),
});

/** The machine as one line. */
export const machineText = (machine: Machine): string =>
  `${machine.cpu}, ${machine.cores} cores, ${Math.round(machine.memoryBytes / 2 ** 30)} GiB, Linux ${machine.kernel}, ` +
  `Node ${machine.node}, commit ${machine.commit || 'unknown'}, ${machine.date}`;

/** Begins to look at all cores; the function that is returned says which share of their time was used since, 0 to 1. */
export const watchCores = (): (() => number) => {
  const read = () => {
    const times = cpus().map((core) => core.times);
    const idle = times.reduce((sum, time) => sum + time.idle, 0);
    return { idle, all: idle + times.reduce((sum, { user, nice, sys, irq }) => sum + user + nice + sys + irq, 0) };
  };
  const before = read();
  return () => {
    const now = read();
    return 1 - (now.idle - before.idle) / Math.max(1, now.all - before.all);
  };
};
